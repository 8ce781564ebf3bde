"""Verdicts in words."""

from collections.abc import Iterable, Sequence
from typing import Any

from harness.analysis.statistics import MAX_SEEDS, Difference
from harness.claims import level
from harness.claims.evidence import Verdict
from harness.report.text import print_table, with_error
from harness.safe_text import show


def runs_in_words(n: int) -> str:
    """Return how many runs there are, in words."""
    return "1 run" if n == 1 else f"{n} runs"


def pairs_in_words(found: Difference) -> str:
    """Return the pairs or seeds that a difference is taken over, in words."""
    return f"{found.n} pairs" if found.paired else f"unpaired, {found.n} seeds or more on each side"


def seeds_in_words(seeds: Iterable[Any]) -> str:
    """Return seeds, such as seed 4, or seeds 3 and 4."""
    words = [str(seed).removeprefix("seed ") for seed in seeds]
    return f"seed {words[0]}" if len(words) == 1 else f"seeds {', '.join(words[:-1])} and {words[-1]}"


def unmatched_in_words(one: Iterable[Any], other: Iterable[Any], called: str, other_called: str) -> str:
    """Say which seeds only one of two sides has; empty if none."""
    one, other = list(one), list(other)
    alone = [
        f"{seeds_in_words(sorted(missing))} {'is' if len(missing) == 1 else 'are'} of {whose} alone"
        for missing, whose in ((set(one) - set(other), called), (set(other) - set(one), other_called))
        if missing
    ]
    return " and ".join(alone)


def more_seeds_in_words(found: Difference, border: float, level: float) -> str:
    """Return how many more seeds would settle it, in words."""
    more = found.more_seeds(border, level)
    return f"; needs about {more} more seeds" if more is not None else f"; needs more than {MAX_SEEDS} seeds"


def verdict_row(verdict: "Verdict") -> dict[str, Any]:
    """Return a verdict as plain data."""
    claim = verdict.claim
    facts = {
        "claim": claim.title(),
        "kind": claim.kind,
        "where": dict(claim.where),
        "holds": getattr(claim, "holds", None),
    }
    found = verdict._asdict() | {"about": verdict.subject}
    facts |= {name: found[name] for name in ("about", "observed", "error", "required", "says", "why", "collapsed")}
    tests = [
        {"shows": shows, "level": level, "adjusted_p": one.p, "tests": one.tests} for shows, level, one in verdict.tests
    ]
    return facts | {"tests": tests}


def observed(verdict: "Verdict") -> str:
    """Return what was observed, ± its standard error (se)."""
    if verdict.observed is None:
        return ""
    return with_error(verdict.observed, verdict.error, unknown=2 if abs(verdict.observed) >= 10 else 3)


def why(verdict: "Verdict") -> str:
    """Return why, with the adjusted p-value of the test that decides it."""
    said = "".join(f"; p {_p_in_words(one.p)} of {one.tests}" for _, _, one in verdict.tests[-1:])
    return verdict.why + said


def _p_in_words(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def verdict_cells(verdicts: Sequence["Verdict"]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and cells of a table of verdicts; ± is a standard error (se)."""
    rows: list[tuple[str, ...]] = [
        (v.claim.title(), v.subject, observed(v), v.required, v.says, why(v)) for v in verdicts
    ]
    return ("claim", "runs", "observed ± se", "required", "verdict", "why"), rows


def print_verdicts(verdicts: Sequence["Verdict"]) -> None:
    """Print a line for each verdict, and how many there are of each kind."""
    print_table(*verdict_cells(verdicts))
    counts = {says: sum(v.says == says for v in verdicts) for says in dict.fromkeys(v.says for v in verdicts)}
    words = {
        "holds": "hold",
        "fails": "fail" if counts.get("fails") != 1 else "fails",
        "better": "better than required",
    }
    counted = ", ".join(f"{n} {words.get(says, says)}" for says, n in counts.items())
    show("", counted, *level.in_words(verdicts))


def sentence(verdict: Verdict) -> str:
    """Return a verdict as one line."""
    error = "" if verdict.observed is None or verdict.error is None else " (± standard error)"
    seen = "" if verdict.observed is None else f", observed {observed(verdict)}{error}"
    required = f" ({verdict.required} required{seen})" if verdict.required else ""
    return f"{verdict.subject or verdict.claim.title()} {verdict.says}: {why(verdict)}{required}"
