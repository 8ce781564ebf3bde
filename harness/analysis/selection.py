"""Stored runs, and those of them that have some options."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from harness.errors import BadInput
from harness.specs.experiment import Experiment
from harness.specs.options import STORED, same, stored_value
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

Stored = tuple[Record, Sequence[dict[str, Any]]]

Where = Mapping[str, Any]


def load(runs: Iterable[Run]) -> list[Stored]:
    """Return records with their rows."""
    return [run.content() for run in runs]


def group(store: Store, experiment: Experiment, say: Callable[[str], None]) -> list[Stored]:
    """Return an experiment's runs, those that are damaged aside.

    Args:
        store: where.
        experiment: whose.
        say: told of each that is damaged.

    Raises:
        BadInput: the store has none.
    """
    found: list[Stored] = []
    for run in store.runs(experiment.name):
        try:
            found.append(run.content())
        except BadInput as error:
            say(str(error))
    if not found:
        raise BadInput(
            f"there are no runs of {experiment.name} in {str(store.root)!r}: make them with `harness sweep {experiment.called}`"
        )
    return found


def option(spec: Mapping[str, Any], name: str) -> Any:
    """Return the value that a run's specification has for an option of `harness run`; None if it has none."""
    if name in STORED:
        return stored_value(spec, name)
    field = name.replace("-", "_")
    for part in ("algorithm", "model", "dataset"):
        if field in spec[part]["settings"]:
            return spec[part]["settings"][field]
    return None


def select(runs: Iterable[Stored], where: Where) -> list[Stored]:
    """Return the runs that have these options."""
    return [stored for stored in runs if all(same(option(stored[0].spec, n), v) for n, v in where.items())]


def wanted(runs: Iterable[Stored], conditions: Mapping[str, Collection[str]]) -> list[Stored]:
    """Return the runs that have one of the wanted values of each option."""
    return [
        stored
        for stored in runs
        if all(any(same(option(stored[0].spec, n), v) for v in values) for n, values in conditions.items())
    ]


def options(runs: Iterable[Stored]) -> set[str]:
    """Return the options by which some of these runs can be told apart."""
    known = set(STORED)
    for record, _ in runs:
        for part in ("algorithm", "model", "dataset"):
            known |= {name.replace("_", "-") for name in record.spec[part]["settings"]}
    return known


PANEL = ("dataset", "nz", "n-train")
"""Options by which runs that are compared stand in one panel."""


def panel(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run's panel."""
    return {name: option(spec, name) for name in PANEL}


def require_alike(runs: Sequence[Stored], where: str) -> None:
    """Raise BadInput, naming the difference, unless runs differ in algorithm and seed alone, and those of one algorithm in seed.

    Only then do curves in one panel compare algorithms.
    """
    firsts: dict[str, Record] = {}
    for record, _ in runs:
        name = record.spec["algorithm"]["name"]
        first = next(iter(firsts.values()), None)
        for other in (firsts.get(name), first):
            if other is not None and (found := first_difference(other, record)):
                what, one, two = found
                raise BadInput(
                    f"{where} would mix runs that differ in more than algorithm and seed: {other.run} has {what} {one} and "
                    f"{record.run} has {two}; move the folders of one kind into a group of another name"
                )
        firsts.setdefault(name, record)


_COMMON = ("model", "dataset", "n_train", "threads", "device", "evaluation")


def first_difference(one: Record, two: Record, except_for: Collection[str] = ()) -> tuple[str, Any, Any] | None:
    """Return what differs between two runs besides the seed, and the two values; None if nothing does.

    Of runs by different algorithms the algorithms' settings may differ.

    Args:
        one: a run.
        two: another.
        except_for: settings that may differ, as options of `harness run`.
    """
    alike = one.spec["algorithm"]["name"] == two.spec["algorithm"]["name"]
    allowed = {name.replace("-", "_") for name in except_for}
    for part in (*_COMMON, "algorithm") if alike else _COMMON:
        own, other = flat(part, one.spec.get(part)), flat(part, two.spec.get(part))
        for name in sorted(own.keys() | other.keys()):
            excused = name.endswith(".file") or name.rpartition(".")[2] in allowed
            if own.get(name) != other.get(name) and not excused:
                return name, own.get(name), other.get(name)
    hashes = [record.provenance[-1]["dataset"]["sha256"][:12] if record.provenance else None for record in (one, two)]
    if None not in hashes and hashes[0] != hashes[1]:
        return "data with SHA-256", hashes[0], hashes[1]
    return None


def flat(name: str, value: Any) -> dict[str, Any]:
    """Return the leaves of nested data, each under a dotted name."""
    if isinstance(value, dict):
        items = [(name if key == "settings" else f"{name}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"{name}.{i}", item) for i, item in enumerate(value)]
    else:
        return {name: value}
    return {leaf: content for key, item in items for leaf, content in flat(key, item).items()}
