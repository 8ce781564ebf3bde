"""What became of runs that were published or imported, for people."""

from collections import Counter
from collections.abc import Sequence

from harness.report.text import counted, print_table
from harness.safe_text import show
from harness.sharing.union import Outcome

TAKEN = ("new", "longer")


def print_outcomes(outcomes: Sequence[Outcome], done: str) -> None:
    """Print a line for each run of which there is more to say than that it was there already, and how many of each there are."""
    told = [one for one in outcomes if one.what != "there" or one.why]
    if told:
        print_table(("run", "is", ""), [(one.run, one.what, one.why) for one in told])
        show("")
    numbers = Counter[str](one.what for one in outcomes)
    taken = sum(numbers.pop(what, 0) for what in TAKEN)
    rest = ", ".join(f"{n:,} {'there already' if what == 'there' else what}" for what, n in numbers.items())
    show(f"{counted(taken, 'run')} {done}" + (f"; {rest}" if rest else ""))
