"""Checkpoints that are sealed, and hold what no run has: one sentence that names the file, and nothing is cast or trained."""

import copy
import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty import Survived
from support import Result

from harness.files import seal, unseal
from harness.store import checkpoint as checkpoints
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]
State = dict[str, Any]


@pytest.fixture
def run(harness: Harness, tmp_path: Path) -> Run:
    words = ["--algo", "aevb", "--dataset", toy.__file__, "--nz", 2, "--hidden", 4, "--batch-size", 20]
    assert harness("run", *words, "--samples", 300, "--eval-points", 20).code == 0
    (run,) = Store(tmp_path / "results").runs()
    return run


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def with_(**changes: Any) -> Callable[[State], State]:
    """Return a change of some entries."""
    return lambda state: state | {n: change(state[n]) if callable(change) else change for n, change in changes.items()}


def first_tensor(change: Callable[[torch.Tensor], Any]) -> Callable[[State], State]:
    """Return a change of the first tensor in the algorithm's state."""

    def in_(value: Any) -> tuple[Any, bool]:
        if isinstance(value, torch.Tensor):
            return change(value), True
        for key, item in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            new, done = in_(item)
            if done:
                value[key] = new
                return value, True
        return value, False

    return lambda state: state | {"algorithm": in_(state["algorithm"])[0]}


SEALED: dict[str, Callable[[State], State]] = {
    "theta of another shape": with_(theta=lambda t: t[:-1]),
    "theta that would broadcast": with_(theta=lambda t: t[:1]),
    "theta in two dimensions": with_(theta=lambda t: t.view(1, -1)),
    "theta of other numbers": with_(theta=lambda t: t.double()),
    "theta of whole numbers": with_(theta=lambda t: t.long()),
    "complex theta": with_(theta=lambda t: t.to(torch.complex64)),
    "no theta": with_(theta=None),
    "theta of words": with_(theta="theta"),
    "empty theta": with_(theta=lambda t: t[:0]),
    "phi of another shape": with_(phi=lambda t: t[1:]),
    "phi of other numbers": with_(phi=lambda t: t.half()),
    "no generators": with_(rng={}),
    "generators of numbers": with_(rng={"minibatch order": 3, "binarisation": 4}),
    "generators of other types": with_(rng=lambda rng: {n: t.float() for n, t in rng.items()}),
    "generators that are short": with_(rng=lambda rng: {n: t[:9] for n, t in rng.items()}),
    "a negative ledger": with_(ledger=lambda ledger: ledger | {"samples": -10}),
    "a ledger of words": with_(ledger=lambda ledger: ledger | {"samples": "many"}),
    "a ledger with more": with_(ledger=lambda ledger: ledger | {"__class__": 1}),
    "a ledger of fractions": with_(ledger=lambda ledger: ledger | {"samples": 10.5}),
    "a ledger without end": with_(ledger=lambda ledger: ledger | {"samples": 10**400}),
    "no ledger": lambda state: {n: v for n, v in state.items() if n != "ledger"},
    "negative seconds": with_(seconds=lambda seconds: dict.fromkeys(seconds, -1.0)),
    "seconds that are no numbers": with_(seconds=lambda seconds: dict.fromkeys(seconds, float("nan"))),
    "no algorithm": with_(algorithm=None),
    "an algorithm of another structure": with_(algorithm={"adam": [1, 2, 3]}),
    "an algorithm with more": with_(algorithm=lambda state: state | {"__class__": "evil"}),
    "an algorithm without": with_(algorithm=lambda state: dict(list(state.items())[:-1])),
    "an algorithm of other numbers": first_tensor(lambda t: t.double()),
    "a missing trace": lambda state: {n: v for n, v in state.items() if n != "trace"},
    "a trace that is longer": with_(trace=lambda trace: trace | {"bytes": 10**9}),
    "a trace of words": with_(trace=lambda trace: trace | {"bytes": "all"}),
    "steps of words": with_(info_steps="ten"),
    "a row of words that is due": with_(due=["a", "b", "c"]),
    "deeply nested": with_(info=nested(250)),
}  # fmt: skip

FORMER: dict[str, Callable[[State], State]] = {
    "a sparse theta": with_(theta=lambda t: t.to_sparse()),
    "a compressed theta": with_(theta=lambda t: t.view(1, -1).to_sparse_csr()),
    "a theta without numbers": with_(theta=lambda t: t.to("meta")),
    "a quantised theta": with_(theta=lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
    "a theta of another class": with_(theta=lambda t: torch.nn.Parameter(t)),
    "a theta of a size without end": with_(theta=torch.zeros(1).expand(10**12)),
    "a sparse generator": with_(rng=lambda rng: {n: t.to_sparse() for n, t in rng.items()}),
    "a size for a number": with_(info_steps=torch.Size([1])),
}


def commands(run: Run) -> list[list[object]]:
    return [["extend", run.id, "--samples", 900], ["evaluate", run.id, "--estimator", "lower-bound", "--points", 5]]


def refused(harness: Harness, run: Run, words: list[object], case: str) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = harness(*words)
    assert done.code == 2, (case, words, done)
    assert done.err.count("\n") == 1, (case, done.err)
    assert "checkpoint" in done.err, (case, done.err)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before, case


def test_sealed_states_that_no_run_has(harness: Harness, run: Run, survived: Survived) -> None:
    path = run.path / checkpoints.NAME
    whole = path.read_bytes()
    for case, change in SEALED.items():
        path.write_bytes(checkpoints.encode(change(copy.deepcopy(checkpoints.decode(whole)))))
        refused(harness, run, commands(run)[0], case)
        evaluated = harness(*commands(run)[1])
        assert evaluated.code in (0, 2), (case, evaluated.err)  # the state of an algorithm is not needed
        if evaluated.code == 0:
            (run.path / "evaluations.json").unlink()
    path.write_bytes(whole)
    assert harness(*commands(run)[0]).code == 0
    survived("a sealed checkpoint that no run has", len(SEALED), len(SEALED))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of making such tensors
def test_former_archives_of_tensors_that_no_run_has(harness: Harness, run: Run, survived: Survived) -> None:
    state = run.checkpoint()
    (run.path / checkpoints.NAME).unlink()
    for case, change in FORMER.items():
        assert state is not None
        buffer = io.BytesIO()
        torch.save(change(copy.deepcopy(state)), buffer)
        archive = buffer.getvalue()
        (run.path / checkpoints.FORMER_NAME).write_bytes(archive + hashlib.sha256(archive).digest())
        for words in commands(run):
            refused(harness, run, words, case)
    survived("a sealed checkpoint that no run has", len(FORMER), len(FORMER))


def test_an_interrupted_run_begins_anew_when_its_checkpoint_is_moved_away(harness: Harness, run: Run) -> None:
    record = unseal((run.path / "run.json").read_bytes())
    record.pop("checksum", None)
    (run.path / "run.json").write_bytes(seal(record | {"status": "interrupted"}))
    path = run.path / checkpoints.NAME
    rows = run.rows()
    path.write_bytes(checkpoints.encode(SEALED["theta of another shape"](checkpoints.decode(path.read_bytes()))))
    refused(harness, run, ["resume", run.id], "resume")
    path.unlink()
    assert harness("resume", run.id).code == 0
    assert [row["estimates"] for row in run.rows()] == [row["estimates"] for row in rows]


@pytest.mark.parametrize("depth", [80, 600, 900, 100_000])
def test_settings_that_lie_deep_in_one_another(depth: int, harness: Harness, run: Run, tmp_path: Path) -> None:
    text = (run.path / "run.json").read_text()
    record = unseal(text.encode())
    record["spec"]["model"]["settings"]["deep"] = "HERE"
    sealed = seal(record).decode().rpartition(',\n "checksum"')[0].replace('"HERE"', "[" * depth + "]" * depth)
    digest = hashlib.sha256(sealed.encode()).hexdigest()
    (run.path / "run.json").write_text(f'{sealed},\n "checksum": "{digest}"\n}}')
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    for words in (
        ["show", run.id], ["show", run.id, "--json"], ["list"], ["list", "algo=aevb"], ["plot", run.id],
        ["compare", run.id, run.id],
        ["export", "--format", "csv", "--out", tmp_path / "out"], ["export", "--format", "json", "--out", tmp_path / "a.json"],
        ["gc", "--dry-run"], ["rm", run.id, "--dry-run"], ["doctor", "--store"], ["resume", run.id], *commands(run),
    ):  # fmt: skip
        done = harness(*words)
        assert done.code in (0, 1, 2, 3), (words, done.err)
        assert json.dumps(done.err).count("fault of the harness") == 0
