"""Stores as they are found: of older and newer versions, read-only, unreadable, with links out of them, on other software."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Survived, experiment
from support import Result, environment, rewrite

from harness import files
from harness.runs import machine, provenance, runner
from harness.specs.budget import Budget
from harness.store import run as harness_run
from harness.store.checkpoint import digest
from harness.store.record import SCHEMA
from harness.store.run import Run
from harness.store.store import Store

Harness = Callable[..., Result]

DATA = Path(__file__).parent.parent / "data"


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def with_room(harness: Harness, tiny_run: list[str], tmp_path: Path) -> Run:
    """A run that is done."""
    assert harness(*tiny_run).code == 0
    (run,) = Store(tmp_path / "results").runs()
    return run


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_stores_of_every_schema_are_read_and_not_rewritten(
    schema: int, harness: Harness, tmp_path: Path, survived: Survived
) -> None:
    golden = DATA / f"store-schema-{schema}"
    store = Store(tmp_path / "store")
    shutil.copytree(golden, store.root / "runs")
    done, interrupted, diverged = store.runs()
    assert [run.read().status for run in (done, interrupted, diverged)] == ["done", "interrupted", "diverged"]
    assert done.read().schema == SCHEMA
    assert [session["samples"] for session in done.read().provenance] == [0]
    assert [len(run.rows()) for run in (done, diverged)] == [4, 1]
    assert diverged.rows()[0]["info"]["log_p_xz"] != diverged.rows()[0]["info"]["log_p_xz"]  # NaN
    assert [row["estimate"]["estimator"] for row in done.evaluations()] == ["exact", "ais"]
    assert all(run.checkpoint() for run in store.runs())
    commands = [
        ["list"], ["show", done.id], ["doctor", "--store"], ["plot", done.id, "--y", "exact", "--out", tmp_path / "a.png"],
        ["export", "--format", "csv", "--out", tmp_path / "csv"], ["gc", "--dry-run"],
    ]  # fmt: skip
    for words in commands:
        assert harness(*words, "--results", store.root).code == 0, words
    assert content(store.root / "runs") == content(golden)
    survived(f"a command on a store of schema {schema}", len(commands), len(commands))


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_an_interrupted_run_of_every_schema_goes_on(schema: int, harness: Harness, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(DATA / f"store-schema-{schema}", store.root / "runs")
    _, run, _ = store.runs()
    record, rows = run.content()
    assert record.ledger["samples"] > 100_000
    went_on = harness("extend", run.id, "--samples", int(record.ledger["samples"]) + 20_000, "--results", store.root)
    if "was trained on other data" in went_on.err:
        pytest.skip("this machine draws other numbers for the toy dataset")
    assert went_on.code == 0, went_on.err
    assert run.rows()[: len(rows)] == rows
    assert run.read().status == "done"


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing catches it to write anything."""


@pytest.mark.parametrize("moment", ["before the new one is whole", "before the former one is gone"])
@pytest.mark.parametrize("schema", [1, 2])
def test_a_kill_while_a_former_checkpoint_is_replaced_loses_nothing(
    schema: int, moment: str, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: Survived
) -> None:
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    for store in (whole, killed):
        shutil.copytree(DATA / f"store-schema-{schema}", store.root / "runs")
    done, run, _ = killed.runs()
    former = run.checkpoint()
    assert former is not None
    samples = int(former["ledger"]["samples"])
    words = ["extend", run.id, "--samples", samples + 20_000]
    went_on = harness(*words, "--results", whole.root)
    if "was trained on other data" in went_on.err:
        pytest.skip("this machine draws other numbers for the toy dataset")
    assert sorted(os.listdir(whole.find(run.id).path)) == ["checkpoint.safetensors", "run.json", "trace.jsonl"]

    replace = files.replace_file

    def kill(path: Path, content: bytes) -> None:
        if path.name != "checkpoint.safetensors":
            replace(path, content)
        elif moment == "before the new one is whole":
            (path.parent / ".checkpoint.safetensors.0a1b2c3d").write_bytes(content[:1000])
            raise Killed
        else:
            replace(path, content)
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(harness_run, "replace_file", kill)
        runner.extend(run, Budget(samples=samples + 10_000))
    left = run.checkpoint()
    assert left is not None
    replaced = moment == "before the former one is gone"
    assert run.checkpoint_path.name == ("checkpoint.safetensors" if replaced else "checkpoint.pt")
    assert left["ledger"]["samples"] >= samples + (10_000 if replaced else 0)
    assert [damage.run.id for damage in killed.damage()] == []
    assert harness("gc", "--dry-run", "--results", killed.root).out.count("\nleftover ") == 1
    assert harness(*words, "--results", killed.root).code == 0
    assert sorted(os.listdir(run.path)) == ["checkpoint.safetensors", "run.json", "trace.jsonl"]
    (one, expected), (other, rows) = whole.find(run.id).content(), run.content()
    assert one.ledger["samples"] == other.ledger["samples"]
    assert [row["estimates"] for row in rows if row["marks"]] == [row["estimates"] for row in expected if row["marks"]]
    states = [checkpoint for store in (whole, killed) if (checkpoint := store.find(run.id).checkpoint())]
    assert len({digest([state[name] for name in ("theta", "algorithm", "rng")]) for state in states}) == 1

    shutil.copy(done.path / "checkpoint.pt", run.path / "checkpoint.pt")  # an older one never wins
    (run.path / "checkpoint.safetensors").write_bytes(b"damaged")
    assert [(damage.run.id, damage.file) for damage in killed.damage()] == [(run.id, "checkpoint.safetensors")]
    assert harness("doctor", "--repair", "--results", killed.root).code == 0
    assert sorted(os.listdir(run.path)) == ["run.json", "trace.jsonl"]
    survived("a kill while a former checkpoint is replaced", 1, 1)


@pytest.mark.parametrize("schema", [0, 4, 99, "2", None, [], 1e300])
def test_an_unknown_schema_is_refused_by_name(schema: Any, with_room: Run, harness: Harness) -> None:
    path = with_room.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": schema}))
    before = path.read_bytes()
    done = harness("show", with_room.id)
    assert done.code == 2
    assert f"has schema {schema!r}, and this version knows 1 to {SCHEMA}: use a newer version" in done.err
    assert path.read_bytes() == before


def powerless() -> list[str]:
    """Return the words that run a command with no more rights than permissions give; skip where that cannot be."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"root reads and writes everything, and setpriv does not run: {error}")
    return words


@pytest.mark.slow
def test_a_read_only_store_and_an_unreadable_run(
    with_room: Run, tiny_run: list[str], tmp_path: Path, full: bool, survived: Survived
) -> None:
    """Without `--full` by the first two commands that read and that write."""
    store = Store(tmp_path / "results")
    before = content(store.root)
    words = powerless()

    def harness(*rest: object) -> "subprocess.CompletedProcess[str]":
        command = [*words, sys.executable, "-P", "-m", "harness", *map(str, rest), "--results", str(store.root)]
        return subprocess.run(command, capture_output=True, text=True, env=environment())

    folders = [store.root, store.root / "runs", with_room.path]
    try:
        for folder in folders:
            folder.chmod(0o555)
        reading = [
            ["list"],
            ["show", with_room.id],
            ["doctor", "--store"],
            ["plot", with_room.id, "--out", tmp_path / "a.png"],
        ]
        writing = [
            [*tiny_run, "--seed", "5"], ["extend", with_room.id, "--samples", "40000"], ["plot", with_room.id],
            ["evaluate", with_room.id, "--estimator", "lower-bound"], ["gc", "--checkpoints"], ["sweep", experiment(tmp_path, 1)],
        ]  # fmt: skip
        if not full:
            reading, writing = reading[:2], writing[:2]
        for command in reading:
            done = harness(*command)
            assert done.returncode == 0, done.stderr
        for command in writing:
            done = harness(*command)
            assert done.returncode in (2, 3), (command, done.stdout)
            assert "Permission denied" in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
        for folder in folders:
            folder.chmod(0o755)
        (with_room.path / "run.json").chmod(0)
        done = harness("show", with_room.id)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{with_room.path / 'run.json'} cannot be read (Permission denied)" in done.stderr
        assert "cannot be read (Permission denied)" in harness("list").stderr
    finally:
        for folder in folders:
            folder.chmod(0o755)
        (with_room.path / "run.json").chmod(0o644)
    assert content(store.root) == before
    survived(
        "a command on a read-only store or an unreadable run", len(reading + writing) + 2, len(reading + writing) + 2
    )


FILES = (
    "run.json", "trace.jsonl", "checkpoint.safetensors", "checkpoint.pt", "owner.json", "owner.lock", "evaluations.json",
)  # fmt: skip

OUTSIDE = [
    "../outside", "../../etc", "/etc/passwd", "runs/../../outside", "a/../../b", "..", ".", "x\n", "runs/x\n", "%2e%2e/x",
]  # fmt: skip


def test_no_run_leads_out_of_the_store(
    with_room: Run, harness: Harness, tiny_run: list[str], tmp_path: Path, survived: Survived
) -> None:
    store, outside = Store(tmp_path / "results"), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    tried = 0
    for name in OUTSIDE:
        for command in ("show", "resume", "evaluate"):
            done = harness(command, name, *(["--estimator", "exact"] if command == "evaluate" else []))
            assert done.code == 2
            assert done.err.count("\n") == 1
            tried += 1
    extended = ["extend", with_room.id, "--samples", "40000"]
    # A run's folder, a group and every file of a run, as a link that leads out.
    moved = tmp_path / "outside" / "moved"
    shutil.move(with_room.path, moved)
    before = content(outside)
    with_room.path.symlink_to(moved)
    for command in (
        extended,
        ["gc", "--checkpoints"],
        ["rm", with_room.id, "--yes"],
        ["doctor", "--repair"],
        [*tiny_run, "--samples", "40000"],
    ):
        done = harness(*command)
        assert content(outside) == before, command
        tried += 1
    with_room.path.unlink()
    shutil.copytree(moved, with_room.path)
    (store.root / "runs").rename(tmp_path / "outside" / "runs")
    (store.root / "runs").symlink_to(tmp_path / "outside" / "runs")
    before = content(outside)
    for command in (
        extended,
        ["gc", "--checkpoints"],
        ["rm", with_room.id, "--yes"],
        ["doctor", "--repair"],
        [*tiny_run[:-1], "50000"],
    ):
        harness(*command)
        assert content(outside) == before, command
        tried += 1
    (store.root / "runs").unlink()
    (tmp_path / "outside" / "runs").rename(store.root / "runs")
    before = content(outside)
    for name in FILES:
        shutil.copytree(moved, tmp_path / "again")
        shutil.rmtree(with_room.path, ignore_errors=True)
        with_room.path.parent.mkdir(exist_ok=True)
        (tmp_path / "again").rename(with_room.path)
        path = with_room.path / name
        path.unlink(missing_ok=True)
        path.symlink_to(moved / name if (moved / name).exists() else outside / "precious")
        for command in (
            extended,
            ["evaluate", with_room.id, "--estimator", "lower-bound"],
            ["gc", "--checkpoints"],
            ["doctor", "--repair"],
            ["rm", with_room.id, "--yes"],
        ):
            harness(*command)
            assert content(outside) == before, (name, command)
            tried += 1
    survived("ways out of the store: ids, links", tried, tried)


def test_a_run_that_goes_on_with_other_software_says_and_records_it(
    harness: Harness, tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: Survived
) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]
    store = Store(tmp_path / "results")
    run = store.find(run_id)
    samples, said = 20_000, 0
    true = provenance.version

    def other(name: str) -> Callable[[str], str]:
        return lambda package: "0.0.1" if package == name else true(package)

    changes: list[tuple[str, Callable[[pytest.MonkeyPatch], None]]] = [
        ("torch 0.0.1 instead of", lambda m: m.setattr(provenance, "version", other("torch"))),
        ("numpy 0.0.1 instead of", lambda m: m.setattr(provenance, "version", other("numpy"))),
        ("threads 3 instead of 1", lambda m: m.setattr(provenance.torch, "get_num_threads", lambda: 3)),
        ("processor other instead of", lambda m: m.setattr(machine, "cpu_model", lambda: "other")),
        (
            "flushing denormals False instead of True",
            lambda m: m.setattr(machine, "flushes_denormals", lambda: False),
        ),
    ]
    for words, change in changes:
        samples += 1000
        assert "instead of" not in harness("extend", run_id, "--samples", samples).err or said
        samples += 1000
        with monkeypatch.context() as patched:
            change(patched)
            done = harness("extend", run_id, "--samples", samples)
        assert done.code == 0
        assert f"harness: run {run_id} goes on with " in done.err
        assert words in done.err
        assert f"note: resumed with {words}" in harness("show", run_id).out
        said += 1
    assert run.read().provenance[2]["packages"]["torch"] == "0.0.1"
    assert [session["samples"] for session in run.read().provenance][:3] == [0, 20_000, 21_000]
    survived("torch, numpy, threads, processor, denormals changed before a run goes on", len(changes), said)


def test_a_sweep_says_it_too(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = experiment(tmp_path, seeds=1, samples=1000)
    assert harness("sweep", path, "--only", "algo=aevb").code == 0
    (run,) = Store(tmp_path / "results").runs("mine")
    record = run.read()
    record.provenance[-1]["packages"]["torch"] = "0.0.1"
    rewrite(run, record)
    done = harness("sweep", path, "--only", "algo=aevb", "--budget-scale", "2")
    assert done.code == 0
    assert f"{run.id} done: run {run.id} goes on with torch " in done.out


def test_what_was_tuned_is_chosen_again_from_the_trials_when_it_is_lost_or_damaged(
    harness: Harness, tmp_path: Path, survived: Survived
) -> None:
    path = experiment(tmp_path, seeds=1, samples=2000)
    path.write_text(path.read_text().replace("batch-size", 'lr = "tuned"\nbatch-size') + "[tune]\nsamples = 1000\n")
    only = ("--only", "algo=aevb")
    assert harness("sweep", path, *only).code == 0
    store = Store(tmp_path / "results")
    (chosen,) = (store.root / "tune").glob("*.json")
    whole = chosen.read_bytes()
    drawn = tmp_path / "figure.svg"
    assert harness("plot", path, "--out", drawn).code == 0
    figure, mended = drawn.read_bytes(), 0
    damages = [None, b"", whole[:100], whole.replace(b'"lr": 0.', b'"lr": 1.', 1), whole[:-1], b"\0" * 100]
    for damage in damages:
        chosen.unlink() if damage is None else chosen.write_bytes(damage)
        before = content(store.root / "tune-1000")
        done = harness("sweep", path, *only)
        assert (done.code, done.out.partition("\n")[0]) == (0, "mine: 1 done already"), done.err
        assert chosen.read_bytes() == whole
        assert content(store.root / "tune-1000") == before  # no trial is made again
        mended += 1
    assert harness("plot", path, "--out", drawn).code == 0
    assert drawn.read_bytes() == figure
    survived("what was tuned lost or damaged", len(damages), mended)
    chosen.write_bytes(whole.replace(b'"lr": 0.', b'"lr": 1.', 1))
    done = harness("run", "--algo", "aevb", "--dataset", "mnist", "--nz", "2", "--lr", "tuned")
    assert done.code == 2


def test_an_evaluation_that_runs_out_of_memory_says_what_to_lower_and_loses_nothing(
    harness: Harness, tiny_run: list[str], tmp_path: Path, survived: Survived
) -> None:
    huge = ["--marginal.K", "1000000000000", "--proposal", "encoder"]
    done = harness(*tiny_run, "--marginal", "importance", *huge, "--marginal-points", "10")
    assert done.code == 3
    assert "importance ran out of memory on 10 points of train" in done.err
    assert "lower K=1000000000000" in done.err
    (run,) = Store(tmp_path / "results").runs()
    record, checkpoint = run.read(), run.checkpoint()
    assert record.status == "failed"
    assert checkpoint is not None
    assert checkpoint["ledger"]["samples"] == 10_000
    assert checkpoint["due"] is not None
    assert "lower K=1000000000000" in harness("resume", run.id).err  # it goes on at the same evaluation
    assert harness(*tiny_run).code == 0
    sound = next(one for one in Store(tmp_path / "results").runs() if one.id != run.id)
    before = content(sound.path)
    done = harness("evaluate", sound.id, "--estimator", "importance", "--K", "1000000000000", "--proposal", "encoder")
    assert done.code == 3
    assert "lower K=1000000000000" in done.err
    assert content(sound.path) == before
    survived("an evaluation that runs out of memory", 3, 3)
