"""Sweeps on SLURM: what is asked for and refused."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from harness.errors import BadInput
from harness.runs import slurm as workers
from harness.specs import slurm, values
from harness.specs.experiment import Experiment
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

EXPERIMENT = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
batch-size = 40
warmup = 5
samples = 20000
lr = 0.02
[[grid]]
algo = ["aevb", "wake-sleep"]
threads = [1, 2]
seed = [0]
"""


def write(folder: Path, more: str = "") -> Path:
    path = folder / "mine.toml"
    path.write_text(EXPERIMENT + more)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


# -- what is asked for


def test_the_script_is_printed_and_nothing_submitted(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, more='[slurm]\npartition = "long"\ntime = "2d"\ncpus = 2\n')
    words = ("sweep", path, "--only", "seed=0", "--on=slurm", "--workers", 40, "--time", "4h", "--dry-run")
    done = harness(*words, "--array-limit", 10, "--gpus", 1, "--account", "lab")
    assert done.code == 0, done.err
    asked = [line.removeprefix("#SBATCH --") for line in done.out.splitlines() if line.startswith("#SBATCH")]
    expected = [
        "array=1-40%10",
        "time=240",
        "partition=long",
        "account=lab",
        "cpus-per-task=2",
        "gres=gpu:1",
        "requeue",
    ]
    assert {*expected, "signal=B:USR1@120"} <= set(asked)
    (command,) = [line for line in done.out.splitlines() if " -m harness " in line]
    own = command.partition(" -m harness ")[2]
    assert own == f"sweep {path} --only seed=0 --jobs 2 --results {store.root} --leave &"
    assert subprocess.run(["bash", "-n"], input=done.out, text=True).returncode == 0
    assert not store.root.exists()


def test_a_worker_has_the_jobs_that_are_asked_for(harness: Harness, tmp_path: Path) -> None:
    done = harness("sweep", write(tmp_path), "--on", "slurm", "--cpus", 4, "--jobs", 2, "--dry-run")
    assert " --jobs 2 --results" in done.out


def test_workers_have_a_name_that_a_script_can_have(store: Store, tmp_path: Path) -> None:
    one, other = workers.name_of(store, "my claims\n#SBATCH --x"), workers.name_of(Store(tmp_path / "other"), "mine")
    assert re.fullmatch(r"harness-my-claims-SBATCH---x-[0-9a-f]{8}", one)
    assert other != workers.name_of(store, "mine"), "those of another store are others"


@pytest.mark.parametrize(("given", "minutes"), [("1m", 1), ("90m", 90), ("4h", 240), ("2d", 2880), ("4:30:00", 270)])
def test_times(given: str, minutes: int) -> None:
    assert values.Duration().read(given) == minutes


def test_the_lead_leaves_time_to_train() -> None:
    for minutes in (1, 2, 60, 6000):
        asked = slurm.Slurm(minutes=minutes)
        assert 15 <= asked.lead <= 120
        assert minutes * 60 - asked.lead - 30 >= 15  # SLURM may be half a minute early


def test_what_is_given_first_goes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line before the experiment, that before the user's own settings."""
    own = tmp_path / "config.toml"
    own.write_text('[slurm]\npartition = "mine"\naccount = "mine"\ncpus = 3\n')
    monkeypatch.setattr(slurm, "config_path", lambda: own)
    table = Experiment(str(write(tmp_path, more='[slurm]\npartition = "its"\naccount = "its"\n'))).slurm
    found = slurm.settings({"partition": "given"}, table)
    assert (found.partition, found.account, found.cpus, found.workers) == ("given", "its", 3, 1)


TABLES = [
    ('partiton = "long"', "slurm.partiton: there is no such key (did you mean 'partition'?)"),
    ('time = "30s"', "slurm.time is '30s': give a time of a minute or more, such as 90m"),
    ('partition = "long\\nrm -rf /"', "slurm.partition is 'long\\nrm -rf /': give a name of letters"),
    ("workers = 0", "slurm.workers is 0: give a whole number from 1"),
]


@pytest.mark.parametrize(("table", "said"), TABLES, ids=[one for one, _ in TABLES])
def test_a_bad_table_is_told_with_its_line(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, said: str
) -> None:
    path = write(tmp_path, more=f"[slurm]\n{table}\n")
    done = harness("sweep", path, "--dry-run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{path}:{len(path.read_text().splitlines())}: {said}" in done.err
    own = tmp_path / "config.toml"
    own.write_text(f"[slurm]\n{table}\n")
    monkeypatch.setattr(slurm, "config_path", lambda: own)
    with pytest.raises(BadInput, match="config.toml:2: slurm"):
        slurm.settings()


def test_other_tables_of_the_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "config.toml"
    own.write_text("[slrum]\ncpus = 3\n")
    monkeypatch.setattr(slurm, "config_path", lambda: own)
    with pytest.raises(BadInput, match=r"config.toml:1: there is no such table 'slrum'"):
        slurm.settings()


BAD = [
    (["--on", "slurm"], "there is no squeue on the path, so there is no SLURM here"),
    (["--cancel"], "there is no squeue on the path, so there is no SLURM here"),
    (["--on", "slurm", "--time", "30s"], "--time is '30s': give a time of a minute or more"),
    (["--on", "slurm", "--time", "0m"], "--time is '0m': give a time of a minute or more"),
    (["--on", "slurm", "--partition", "a b"], "--partition is 'a b': give a name of letters"),
    (["--on", "slurm", "--only", "nz=99"], "--only is 'nz=99', and no run meets it"),
    (["--on", "pbs"], "--on is 'pbs': choose local, slurm, or the address of a Dask scheduler"),
    (["--workers", "3"], "--workers is for --on slurm, and --on is 'local'"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_sentence(
    harness: Harness, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = harness("sweep", write(tmp_path), *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert not store.root.exists()


def test_only_runs_are_made_elsewhere(harness: Harness, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "claims.toml").write_text(
        'experiment = "mine.toml"\n[[claim]]\nkind = "bound"\nat = 2e4\nleast = -200\n'
    )
    done = harness("check", tmp_path / "claims.toml", "--on", "slurm")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--on is 'slurm', and without --run no runs are made" in done.err


def test_a_store_that_cannot_be_written_is_told_first(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is submitted: SLURM's commands would fail the test if they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "squeue"):
        (folder / name).write_text("#!/bin/sh\necho called >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    (tmp_path / "file").touch()
    done = harness("sweep", write(tmp_path), "--on", "slurm", "--results", tmp_path / "file" / "results")
    assert done.code == 2
    assert "is no folder, as" in done.err.splitlines()[-1]
    assert "called" not in done.err


def test_a_store_that_workers_may_not_see_is_told_first(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is submitted: it is told although nothing can be."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, code in (("squeue", 0), ("sbatch", 1)):
        (folder / name).write_text(f"#!/bin/sh\necho called {name} >&2\nexit {code}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(workers, "local_file_system", lambda store: "xfs")
    done = harness("sweep", write(tmp_path), "--on", "slurm")
    first, second = done.err.splitlines()
    assert done.code == 2
    assert "is on xfs, which other nodes see only where this machine exports it" in first
    assert "SLURM says: called sbatch" in second


def test_status_counts_runs(harness: Harness, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    assert harness("sweep", path, "--only", "algo=aevb", "--budget-scale", "0.5").code == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    assert harness("sweep", path, "--status").out == "mine: 4 runs, 2 to extend, 2 new\nno SLURM here\n"
    shown = json.loads(harness("sweep", path, "--status", "--json").out)
    assert shown == {"runs": {"to extend": 2, "new": 2}, "workers": []}
