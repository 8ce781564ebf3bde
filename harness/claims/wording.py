"""Verdicts in words."""

from collections.abc import Sequence
from typing import Any

from harness.analysis.statistics import MAX_SEEDS, Difference
from harness.claims.evidence import Verdict
from harness.report.text import print_table, with_error


def runs_in_words(n: int) -> str:
    """Return how many runs there are, in words."""
    return "1 run" if n == 1 else f"{n} runs"


def pairs_in_words(found: Difference) -> str:
    """Return the pairs or seeds that a difference is taken over, in words."""
    return f"{found.n} pairs" if found.paired else f"unpaired, {found.n} seeds or more on each side"


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
    return facts | {name: found[name] for name in ("about", "observed", "error", "required", "says", "why")}


def observed(verdict: "Verdict") -> str:
    """Return what was observed, ± its standard error (se)."""
    if verdict.observed is None:
        return ""
    return with_error(verdict.observed, verdict.error, unknown=2 if abs(verdict.observed) >= 10 else 3)


def verdict_cells(verdicts: Sequence["Verdict"]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and cells of a table of verdicts; ± is a standard error (se)."""
    rows: list[tuple[str, ...]] = [
        (v.claim.title(), v.subject, observed(v), v.required, v.says, v.why) for v in verdicts
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
    print("\n" + ", ".join(f"{n} {words.get(says, says)}" for says, n in counts.items()))


def sentence(verdict: Verdict) -> str:
    """Return a verdict as one line."""
    error = "" if verdict.observed is None or verdict.error is None else " (± standard error)"
    seen = "" if verdict.observed is None else f", observed {observed(verdict)}{error}"
    required = f" ({verdict.required} required{seen})" if verdict.required else ""
    return f"{verdict.subject or verdict.claim.title()} {verdict.says}: {verdict.why}{required}"
