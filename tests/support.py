"""What several test modules share."""

import contextlib
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.analysis.stored_run import StoredRun
from harness.runs.pool import Last
from harness.specs import named
from harness.specs.budget import COUNTERS
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

PLUGINS = Path(__file__).parent / "plugins"


class Judged(NamedTuple):
    """What an estimator is asked about."""

    dataset: Any
    model: Any
    recognition: Any


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def require_frequencies(draws: Tensor, log_p: Tensor, every: Tensor) -> None:
    """Chi-squared of draws over all states, which are many; fails by chance once in a million (6 standard deviations)."""
    code = 2.0 ** torch.arange(every.shape[1], dtype=torch.float64)
    order = (every @ code).argsort()
    counts = torch.bincount((draws.double() @ code).long(), minlength=len(every)).double()
    expected = len(draws) * log_p[order].exp()
    chi2 = ((counts - expected).square() / expected).sum()
    freedom = len(every) - 1
    assert (chi2 - freedom) / (2 * freedom) ** 0.5 < 6


def user_names(path: Path) -> str:
    """Return a plugin file's path, which counts as named by the user from here on."""
    named.note(path)
    return str(path)


def environment(**extra: str) -> dict[str, str]:
    """Return the environment for a subprocess."""
    return {**os.environ, **extra}


def traces(store: Store, group: str) -> dict[str, bytes]:
    """Return the traces of runs that are done, as they are written, without the seconds that they took."""
    done = [run for run in store.runs(group) if run.read().status == "done"]
    return {run.id: re.sub(rb'_seconds": [^,}]+', b"_seconds", (run.path / "trace.jsonl").read_bytes()) for run in done}


def free_port() -> int:
    """Return the number of a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def what_was_learned(store: Store, group: str) -> dict[str, Any]:
    """Return every run's rows, without the seconds that they took."""
    out: dict[str, Any] = {}
    for run in store.runs(group):
        record, rows = run.content()
        assert record.status == "done", (run.id, record.status, record.reason)
        assert record.summary == (rows[-1]["estimates"] if rows else []), run.id
        for row in rows:
            row["ledger"] = {name: n for name, n in row["ledger"].items() if not name.endswith("seconds")}
        out[run.id] = rows
    return out


def processes(marker: bytes) -> list[int]:
    """Return the ids of all processes that were started with this in their environment: a driver and all its workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def tell_process(connection: Any, goes_on: bool, after: str = "") -> Last:
    """Return the process that this runs in, as a worker does; or end it by a signal."""
    if after:
        os.kill(os.getpid(), getattr(signal, after))
    return Last(os.getpid(), goes_on)


def kill(pids: Iterable[int]) -> None:
    """Kill processes, as far as they are there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def rewrite(run: Run, record: Record) -> None:
    """Replace the run.json of a run that no process owns."""
    run.claim()
    run.write(record)
    run.release()


def copied(folder: Path) -> Path:
    """Return a copy of the package that can be imported from its folder."""
    root, skip = Path(__file__).parent.parent, shutil.ignore_patterns("__pycache__")
    package = folder / "harness"
    shutil.copytree(root / "harness", package, ignore=skip)
    for part in ("algorithms", "datasets"):
        shutil.copytree(root / part, package / part, ignore=skip)
    return package


MARKS = (1e4, 1e5, 1e6)


def stored(
    algorithm: str = "aevb",
    seed: int = 0,
    test: Sequence[float] = (-200.0, -150.0, -130.0),
    nz: int = 3,
    lr: float = 0.02,
    status: str = "done",
    sha256: str = "a" * 64,
) -> StoredRun:
    """Return a run with these bounds on the test set at its marks; on the training set they are one nat better."""
    spec = {
        "algorithm": {"name": algorithm, "settings": {"lr": lr}, "file": None, "sha256": None},
        "model": {"name": "mlp", "settings": {"nz": nz, "activation": "tanh"}, "file": None, "sha256": None},
        "dataset": {"name": "mnist", "settings": {}, "file": None, "sha256": None},
        "n_train": None, "seed": seed, "threads": 1, "device": "cpu", "schedule": "constant", "average": None,
        "evaluation": {"first_mark": 10_000, "estimators": [], "splits": ["train", "test"], "keep": "last"},
    }  # fmt: skip
    provenance = {
        "code": {"version": "0", "commit": "c0ffee", "source_sha256": "s"}, "dataset": {"sha256": sha256},
        "machine": {"cpu": "a processor"}, "threads": 1, "calibration_seconds": 0.01, "packages": {}, "flush_denormal": True,
        "samples": 0,
    }  # fmt: skip
    record = Record(
        f"{algorithm}-nz{nz}-s{seed}-{lr}", spec, {"samples": 10**6}, status=status, provenance=[provenance]
    )
    rows = []
    for k, (mark, value) in enumerate(zip(MARKS, test, strict=False)):
        last = k == len(test) - 1
        estimates = [
            {
                "estimator": "lower-bound",
                "settings": {},
                "diagnostics": {},
                "direction": "lower",
                "split": split,
                "points": points,
                "mean": mean,
                "se_points": 1.0,
                "se_estimator": 0.0,
            }
            for split, mean in (("train", value + 1), ("test", value))
            for points in ((2000, 10_000) if last else (2000,))
        ]
        ledger = dict.fromkeys(COUNTERS, 0.0) | {
            "samples": mark,
            "cpu_seconds": mark / 1e3 * (1 + seed),
            "wall_seconds": 1.0,
        }
        rows.append({"marks": {"samples": mark}, "end": last, "ledger": ledger, "info": {}, "estimates": estimates})
    return StoredRun(record, rows)


def seeds(*values: float, algorithm: str = "aevb", **more: Any) -> list[StoredRun]:
    """Return a run a value, which it ends with on the test set."""
    return [stored(algorithm, seed, (-200.0, -150.0, value), **more) for seed, value in enumerate(values)]


def put(store: Store, runs: Iterable[StoredRun], group: str = "mine") -> None:
    """Write runs into a store."""
    for one in runs:
        record, rows = one.record, one.rows
        run = store.run(record.run.lower(), group)
        record.run = run.id
        record.ledger = rows[-1]["ledger"]
        run.claim()
        run.begin(record, None)
        for row in rows:
            run.append(record, row)
        run.write(record)
        run.release()
