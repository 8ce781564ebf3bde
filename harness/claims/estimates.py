"""Estimates of a selection of runs at a mark, as claims take them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from harness.analysis import curves, selection
from harness.analysis.selection import Stored
from harness.claims.evidence import Evidence, Values
from harness.claims.file import Claim, Judged
from harness.claims.wording import runs_in_words

R = TypeVar("R")


def parts(runs: Sequence[R], options: Sequence[str], stored: Callable[[R], Stored]) -> Iterator[tuple[str, list[R]]]:
    """Yield runs apart by the values of options, with words for each part; `stored` gets at a run's content."""
    keys = [tuple(selection.option(stored(run)[0].spec, name) for name in options) for run in runs]
    for key in dict.fromkeys(keys):
        yield words(options, key), [run for run, own in zip(runs, keys, strict=True) if own == key]


def parts_of(runs: Sequence[Stored], options: Sequence[str]) -> Iterator[tuple[str, list[Stored]]]:
    """Yield stored runs apart by the values of options, with words for each part."""
    return parts(runs, options, lambda stored: stored)


def words(options: Sequence[str], values: Sequence[Any]) -> str:
    """Return the values of options in short: names alone where they tell what they are."""
    named = {name: value for name, value in zip(options, values, strict=True) if value is not None}
    return " ".join(str(value) if name in ("algo", "dataset") else f"{name}={value}" for name, value in named.items())


class Taken(NamedTuple):
    """Estimates of a selection of runs at a mark.

    Attributes:
        values: by what they are paired over.
        mark: where they are, samples.
        trouble: why the claim fails before it is judged: a run that has none although it should.
        note: what else there is to say: runs whose budget ends before.
    """

    values: Values
    mark: float = math.nan
    trouble: str = ""
    note: str = ""


def take(
    claim: Judged,
    evidence: Evidence,
    runs: Sequence[Stored],
    mark: float | str,
    key: Callable[[Stored], Any],
    beside: Sequence[Stored] = (),
) -> Taken:
    """Return the estimates at a mark, all over the same points as those `beside`.

    Raises:
        BadInput: two runs that would count as one, or ends at different marks.
    """
    rows = {stored[0].run: row for stored in runs if (row := curves.row_at(stored, mark)) is not None}
    short = 0
    for record, own in runs:
        if record.run not in rows and record.status == "done":
            short += 1
        elif record.run not in rows:
            reason = f": {record.reason}" if record.reason else f" after {len(own)} rows"
            return Taken({}, trouble=f"run {record.run} is {record.status}{reason}")
    if not rows:
        said = "" if isinstance(mark, str) else f": the nearest marks are {curves.nearest(runs, mark)}"
        return Taken({}, trouble=f"no run has a row at {mark_in_words(mark)}{said}")
    others = [(stored, row) for stored in beside if (row := curves.row_at(stored, mark)) is not None]
    chosen = [stored for stored in runs if stored[0].run in rows]
    marks = {curves.mark(stored[0], rows[stored[0].run]) for stored in chosen}
    if isinstance(mark, str) and len(ends_ := marks | {curves.mark(stored[0], row) for stored, row in others}) > 1:
        said = " and ".join(f"{n:,.0f}" for n in sorted(ends_)[:3])
        raise evidence.refusal(claim, f"runs end at {said} samples, so their ends do not compare: give a mark as at")
    points = curves.common_points([*rows.values(), *(row for _, row in others)])
    out: Values = {}
    whose: dict[Any, Stored] = {}
    for stored in chosen:
        record = stored[0]
        value, place = curves.value(rows[record.run], claim.estimator, claim.split, points), key(stored)
        if value is None:
            why = f"run {record.run} has no finite estimate by {claim.estimator} on {claim.split} at {mark_in_words(mark)}"
            return Taken({}, trouble=why)
        if place in whose:
            found = selection.first_difference(whose[place][0], record)
            what = f"{found[0]} {found[1]} and {found[2]}" if found else "nothing"
            raise evidence.refusal(
                claim,
                f"{whose[place][0].run} and {record.run} would count as one, and differ in {what}: say which with where",
            )
        out[place], whose[place] = value, stored
    note = f", {runs_in_words(short)} shorter" if short else ""
    return Taken(out, max(marks), note=note)


def mark_in_words(mark: float | str) -> str:
    """Return a mark in words."""
    return "the end" if isinstance(mark, str) else f"{mark:,.0f} samples"


def described(words: str, mark: float | str) -> str:
    """Return what a verdict is about: which runs, at which mark."""
    return f"{words} at {mark_in_words(mark)}".strip()


def seed_of(stored: Stored) -> Any:
    """Return the seed of a stored run."""
    return stored[0].spec["seed"]


KIND = ("algo", "dataset", "nz", "n-train")
"""Options by which runs of one kind, which differ in their seeds alone, are told apart."""


def require_pairs(claim: Claim, evidence: Evidence, n: int, about: str) -> None:
    """Raise BadInput where there are not two pairs to tell an interval from."""
    if n < type(claim).needs:
        count = "no seed that both sides have" if n == 0 else "one seed alone"
        raise evidence.refusal(
            claim, f"{about} there is {count}, and an interval needs two: add seeds to the experiment"
        )
