"""Every file of a run cut or changed anywhere: it is noticed, nothing of it is believed, and no other run is touched by it."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty import Survived
from support import Result, rewrite, what_was_learned

from harness.errors import BadInput
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

FILES = ("run.json", "trace.jsonl", "checkpoint.safetensors", "evaluations.json")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the store that `two_runs` makes for its first test and copies for every one."""
    return tmp_path_factory.mktemp("two-runs")


@pytest.fixture
def two_runs(harness: Harness, tiny_run: list[str], made_once: Path, tmp_path: Path) -> tuple[Store, Run, Run]:
    """A store of two runs that are done, the first with estimates made after training."""
    made = Store(made_once / "results")
    if not made.root.exists():
        for seed in (0, 1):
            assert harness(*tiny_run, "--seed", seed, "--results", made.root).code == 0
        evaluate = ["evaluate", next(made.runs()).id, "--estimator", "lower-bound", "--results", made.root]
        for points in (10, 20):
            assert harness(*evaluate, "--points", points).code == 0
        assert list(made.damage()) == []
    store = Store(tmp_path / "results")
    shutil.copytree(made.root, store.root)
    first, second = store.runs()
    return store, first, second


def noticed(store: Store, run: Run, file: str) -> bool:
    """Say whether the damage of a file is found, as this run's and by whoever reads it, and no other run's is."""
    reading = {
        "run.json": run.read, "trace.jsonl": run.rows, "checkpoint.safetensors": run.checkpoint,
        "evaluations.json": run.evaluations,
    }  # fmt: skip
    try:
        reading[file]()
    except BadInput:
        (damage,) = store.damage()
        alone = file in ("checkpoint.safetensors", "evaluations.json")
        return damage.run.id == run.id and damage.file == (file if alone else None)
    return False


def cuts(whole: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield a file's content, cut at its ends and at 48 other offsets."""
    for offset in {0, len(whole) - 1, *rng.sample(range(len(whole)), 48)}:
        yield whole[:offset]


def flips(whole: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield a file's content with one bit flipped, 100 times."""
    for bit in rng.sample(range(8 * len(whole)), 100):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize(
    ("damages", "fault"),
    [(cuts, "a file of a run cut at some offset"), (flips, "a bit of a file of a run flipped")],
)
def test_damage_anywhere_is_noticed(
    two_runs: tuple[Store, Run, Run],
    damages: Callable[[bytes, random.Random], Iterator[bytes]],
    fault: str,
    survived: Survived,
) -> None:
    store, run, _ = two_runs
    rng, tried, found = random.Random(1), 0, 0
    for file in FILES:
        path = run.path / file
        whole = path.read_bytes()
        for content in damages(whole, rng):
            path.write_bytes(content)
            tried += 1
            found += noticed(store, run, file)
        path.write_bytes(whole)
    assert list(store.damage()) == []
    survived(fault, tried, found)


@pytest.mark.parametrize("file", FILES)
def test_doctor_lists_and_repairs_it(
    harness: Harness, tiny_run: list[str], two_runs: tuple[Store, Run, Run], file: str, tmp_path: Path
) -> None:
    store, run, _ = two_runs
    learned, path = what_was_learned(store, "runs"), run.path / file
    path.write_bytes(path.read_bytes()[:-3])
    done = harness("doctor", "--store")
    assert done.code == 1
    assert done.out.startswith(f"runs/{run.id}: {path} ")
    assert done.out.endswith("next: harness doctor --repair\n")
    assert path.is_file()
    done = harness("doctor", "--repair", "--json")
    assert done.code == 0
    (one,) = json.loads(done.out)
    assert one["run"] == f"runs/{run.id}"
    moved = Path(one["moved_to"])
    alone = file in ("checkpoint.safetensors", "evaluations.json")
    assert moved == store.root / "quarantine" / "runs" / run.id / (file if alone else "")
    assert run.exists() == alone
    assert not path.exists()
    assert harness("doctor", "--store").out == f"{store.root}: {'2 runs' if alone else '1 run'}, all sound\n"
    if alone:
        assert what_was_learned(store, "runs") == learned
    else:
        assert harness(*tiny_run, "--seed", 0).code == 0  # again, as it is gone
        assert what_was_learned(store, "runs") == learned
    path.write_bytes(b"damaged again")
    done = harness("doctor", "--repair")
    assert done.code == 0
    assert f"{run.id}.2" in done.out


def test_an_interrupted_run_without_a_sound_checkpoint_is_moved_as_a_whole(
    two_runs: tuple[Store, Run, Run], harness: Harness
) -> None:
    store, run, other = two_runs
    record = run.read()
    record.status = "interrupted"
    rewrite(run, record)
    (run.path / "checkpoint.safetensors").write_bytes(b"")
    assert harness("doctor", "--repair").code == 0
    assert [run.id for run in store.runs()] == [other.id]


def test_rows_that_only_the_checkpoint_knows_are_not_believed_when_changed(
    two_runs: tuple[Store, Run, Run], harness: Harness
) -> None:
    """Killed between the checkpoint and run.json, and then a digit of the last row is changed."""
    store, run, _ = two_runs
    record, lines = run.read(), (run.path / "trace.jsonl").read_bytes().splitlines(keepends=True)
    record.status = "running"
    record.trace = {"rows": 0, "bytes": 0, "sha256": hashlib.sha256().hexdigest()}
    rewrite(run, record)
    assert list(store.damage()) == []
    lines[-1] = lines[-1].replace(b'"mean": -', b'"mean": -1', 1)
    (run.path / "trace.jsonl").write_bytes(b"".join(lines))
    (damage,) = store.damage()
    assert (damage.run.id, damage.file) == (run.id, None)
    assert "does not fit its checkpoint" in harness("resume", run.id).err


def test_what_has_been_mended_meanwhile_stays(two_runs: tuple[Store, Run, Run]) -> None:
    store, run, _ = two_runs
    whole = (run.path / "trace.jsonl").read_bytes()
    (run.path / "trace.jsonl").write_bytes(whole[:-1])
    (damage,) = store.damage()
    (run.path / "trace.jsonl").write_bytes(whole)
    with pytest.raises(BadInput, match="has been mended meanwhile"):
        store.quarantine(damage)
    assert run.rows()


def test_a_run_that_is_being_written_is_left_alone(two_runs: tuple[Store, Run, Run], harness: Harness) -> None:
    store, run, _ = two_runs
    (run.path / "trace.jsonl").write_bytes(b"")
    owner = Run(run.path)
    owner.claim()
    assert list(store.damage()) == []
    assert harness("doctor", "--repair").code == 0
    owner.release()
    assert run.exists()
    assert harness("doctor", "--store").code == 1


def test_other_runs_are_listed_drawn_and_compared_all_the_same(
    two_runs: tuple[Store, Run, Run], harness: Harness, tmp_path: Path
) -> None:
    store, run, other = two_runs
    shutil.copytree(store.root / "runs", store.root / "mine")
    bad = store.root / "mine" / run.id
    (bad / "trace.jsonl").write_bytes((bad / "trace.jsonl").read_bytes()[:-1])
    spec = tmp_path / "mine.toml"
    own = "nz = 2\nhidden = 5\nbatch-size = 40\nwarmup = 5\nsamples = 20000"
    spec.write_text(
        f"[base]\nalgo = 'aevb'\ndataset = '{toy.__file__}'\n{own}\n[[grid]]\nseed = [0, 1]\n[figure]\nx = 'samples'\n"
    )
    for words in (["table", spec], ["plot", spec, "--out", tmp_path / "figure.png"]):
        done = harness(*words)
        assert f"{bad / 'trace.jsonl'} was edited or damaged" in done.err
        assert done.code == 0, done.err
    done = harness("list")
    assert done.code == 0
    assert other.id in done.out
    assert harness("plot", f"mine/{run.id}").code == 2
