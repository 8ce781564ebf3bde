"""The level of a whole file of claims: tests over seeds are judged together, by Holm's procedure.

With a level for each claim, a file with many claims fails by chance: a rate of 1.2 % is 25 % over 24 panels. So a claim that is
judged by a test over seeds stays open until all of the file are there. Those that fail where a loss or a seed apart is shown
are one family, and those that hold where an order is shown are another.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from harness.analysis.losses import Adjusted, holm
from harness.claims.evidence import Verdict

LEVEL = 0.98  # of claims that state none

Shows = Literal["loss", "order"]


class Open(NamedTuple):
    """A verdict that waits for the tests of the whole file.

    Attributes:
        p: the p-value of its test.
        level: 1 - the chance at which it may err by itself.
        shows: what the test shows where it rejects.
        settle: returns the verdict; for an order perhaps one that waits for the tests of losses.
    """

    p: float
    level: float
    shows: Shows
    settle: Callable[[Adjusted], "Verdict | Open"]


def settled(found: Iterable[Verdict | Open]) -> list[Verdict]:
    """Return all verdicts, the open ones judged among one another."""
    out = dict(enumerate(found))
    tests: dict[int, list[tuple[str, float, Adjusted]]] = {k: [] for k in out}
    for family in ("order", "loss"):
        members = [(k, one) for k, one in out.items() if isinstance(one, Open) and one.shows == family]
        for (k, one), adjusted in zip(members, holm([(one.p, one.level) for _, one in members]), strict=True):
            tests[k].append((one.shows, one.level, adjusted))
            out[k] = one.settle(adjusted)
    return [one._replace(tests=tuple(tests[k])) for k, one in out.items() if isinstance(one, Verdict)]


def rejects(adjusted: Adjusted, level: float) -> bool:
    """Say whether a test rejects at the level of the file."""
    return adjusted.p <= 1 - level


def own_level(adjusted: Adjusted, level: float) -> float:
    """Return the level at which a test by itself is judged, so that the file keeps its own."""
    return 1 - (1 - level) / adjusted.left


def in_words(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a sentence for each family of tests: how many there are, and the level that they keep together."""
    said = {"loss": ("losses", "alarm"), "order": ("orders", "order")}
    out = []
    for family, (what, wrong) in said.items():
        tests = [test for verdict in verdicts for test in verdict.tests if test[0] == family]
        if tests:
            chance = f"{1 - min(level for _, level, _ in tests):.2g}"
            number = "1 test" if len(tests) == 1 else f"{len(tests)} tests"
            out.append(
                f"{number} for {what} over seeds; the chance of any false {wrong} is at most {chance} (Holm's procedure)"
            )
    return out
