"""Runs of one kind: those that differ in their seeds, in what lies in the user's files, or in when they were made."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.analysis.selection import flat
from harness.analysis.stored_run import StoredRun
from harness.files import to_json
from harness.specs.where import PLUGINS

NOT_OF_A_KIND = ("seed", "threads", "evaluation")


def kinds(runs: Iterable[StoredRun]) -> dict[str, list[StoredRun]]:
    """Return runs by kind: algorithm, model, data set and size, and the settings and budgets in which others so called differ."""
    by_content: dict[str, list[StoredRun]] = {}
    for run in runs:
        by_content.setdefault(to_json(_content(run)), []).append(run)
    by_name: dict[str, list[list[StoredRun]]] = {}
    for members in by_content.values():
        by_name.setdefault(_name(members[0]), []).append(members)
    found: dict[str, list[StoredRun]] = {}
    for name, alike in by_name.items():
        leaves = [flat("", _content(members[0])) for members in alike]
        differing = sorted({n for one in leaves for n in one if any(one.get(n) != other.get(n) for other in leaves)})
        for members, own in zip(alike, leaves, strict=True):
            more = [f"{n.rpartition('.')[2].replace('_', '-')}={own[n]}" for n in differing if own.get(n) is not None]
            found[" ".join([name, *more])] = members
    return found


def _name(run: StoredRun) -> str:
    size = run.option("nz") if run.option("nz") is not None else run.option("layers")
    parts = [run.algorithm, run.spec["model"]["name"], run.spec["dataset"]["name"]]
    parts += [] if size is None else [f"nz={size}"]
    return " ".join(map(str, [*parts, *([] if run.spec["n_train"] is None else [f"n-train={run.spec['n_train']}"])]))


def _content(run: StoredRun) -> Mapping[str, Any]:
    """Return what runs of a kind have in common."""
    spec = {name: value for name, value in run.spec.items() if name not in NOT_OF_A_KIND}
    for part in PLUGINS.values():
        spec[part] = {name: value for name, value in spec[part].items() if name not in ("file", "sha256")}
    return {**spec, "budget": dict(run.record.budget)}  # runs that end elsewhere are compared with none
