"""The content of a run.json."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 3
"""What has changed:

2: run.json's checksum is over its bytes, not over a canonical form; a session says where it began; evaluations are one file.
3: today's names (see `harness.store.names`); checkpoints are safetensors, not archives of `torch.save`.
"""

STATUSES = ("running", "done", "diverged", "failed", "interrupted")

NAME = r"^[a-z0-9][a-z0-9._-]{0,100}\Z"
"""What runs and groups may be called."""


@dataclass
class Record:
    """The content of a run.json.

    Attributes:
        run: the run's id.
        spec: its specification, as plain data.
        budget: limits by counter.
        status: one of `STATUSES`.
        reason: why it diverged or failed, else None.
        ledger: counters and seconds at the last save.
        overshoot: by how much each limit that ended the run was passed.
        summary: the estimates of the last row.
        trace: rows, bytes and SHA-256 of the trace at the last save.
        provenance: for every session, what it ran on, from how many `samples` on, the `memory` that it took, and
            `warnings` of data that do not suit the model.
    """

    run: str
    spec: dict[str, Any]
    budget: dict[str, float]
    status: str = "running"
    reason: str | None = None
    ledger: dict[str, float] = field(default_factory=dict)
    overshoot: dict[str, float] = field(default_factory=dict)
    summary: list[dict[str, Any]] = field(default_factory=list)
    trace: dict[str, Any] = field(default_factory=lambda: empty_trace())
    provenance: list[dict[str, Any]] = field(default_factory=list)
    schema: int = SCHEMA


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in words what may make one session of a run compute other numbers than another; empty if nothing does."""

    def facts(one: dict[str, Any]) -> dict[str, Any]:
        packages = {name: one["packages"].get(name) for name in ("torch", "numpy")}
        rest = {"threads": one["threads"], "processor": one["machine"]["cpu"], "GPU": one["machine"].get("gpu")}
        rest["primitives"] = one.get("primitives", "PyTorch alone")  # of sessions before there were compiled ones
        return packages | rest | {"flushing denormals": one["flush_denormal"], "source": one["code"]["source_sha256"]}

    was, is_ = facts(before), facts(now)
    return ", ".join(f"{name} {is_[name]} instead of {was[name]}" for name in is_ if is_[name] != was[name])


def empty_trace() -> dict[str, Any]:
    """Return what is known of a trace that has no row."""
    return {"rows": 0, "bytes": 0, "sha256": hashlib.sha256().hexdigest()}


BOUNDS = ("lower-bound", "mean-field")
"""Estimators of the lower bound of a family of posteriors, which need not be near log p(x): of the run's own q comes first."""


def final_estimates(record: Record) -> list[dict[str, Any]]:
    """Return a run's last estimates, of each estimator and split the one over most points."""
    return over_most_points(record.summary)


def over_most_points(estimates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each estimator and split the estimate over most points."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for estimate in estimates:
        key = estimate["estimator"], estimate["split"]
        if key not in best or estimate["points"] > best[key]["points"]:
            best[key] = estimate
    return list(best.values())
