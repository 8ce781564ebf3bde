"""Publishing and importing as the union of stores: what is there stays, what goes on wins, what differs is named."""

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_runs import content, evaluated, make
from support import Result, rewrite

from harness.errors import BadInput
from harness.files import leftovers, seal, unseal
from harness.sharing import exchange, union
from harness.store import gc
from harness.store.store import Store

Harness = Callable[..., Result]
RESULTS = Path(__file__).parents[2] / "results"
GOLDEN = Path(__file__).parents[1] / "data"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return Store(tmp_path / "theirs")


def told(outcomes: list[union.Outcome]) -> list[str]:
    return [one.what for one in outcomes]


def said(words: str) -> None:
    pytest.fail(words)


@pytest.mark.parametrize("place", ["folder", "runs.tar.zst"])
def test_what_is_published_is_what_others_import(place: str, theirs: Store, store: Store, tmp_path: Path) -> None:
    evaluated(make(theirs), -99.0)
    make(theirs, seed=1, group="others", status="diverged")
    to = str(tmp_path / place)
    assert told(exchange.publish(list(theirs.runs()), to, "Alice", models=False, say=said)) == ["new", "new"]
    assert told(exchange.publish(list(theirs.runs()), to, "Bob", models=False, say=said)) == ["there", "there"]
    assert told(exchange.import_runs(to, store, dry_run=True)) == ["new", "new"]
    assert not store.root.exists()
    assert told(exchange.import_runs(to, store)) == ["new", "new"]
    assert content(store) == content(theirs)
    assert told(exchange.import_runs(to, store)) == ["there", "there"]
    for run in store.runs():
        origin = run.origin()
        assert origin is not None
        assert (origin.by, origin.source) == ("Alice", to)
        assert run.damage() == []
    assert told(exchange.import_runs(to, theirs)) == ["there", "there"]  # one's own stay one's own
    assert [run.origin() for run in theirs.runs()] == [None, None]
    # who made a run is told by whoever passes it on
    assert told(exchange.publish(list(store.runs()), str(tmp_path / "on"), "Carol", models=False, say=said)) == [
        "new",
        "new",
    ]
    assert {run.origin().by for run in Store(tmp_path / "on").runs()} == {"Alice"}  # type: ignore[union-attr]


def test_the_same_runs_make_the_same_archive(theirs: Store, tmp_path: Path) -> None:
    make(theirs)
    for name in ("one.tar.zst", "two.tar.zst"):
        exchange.publish(list(theirs.runs()), str(tmp_path / name), None, models=False, say=said)
    assert (tmp_path / "one.tar.zst").read_bytes() == (tmp_path / "two.tar.zst").read_bytes()


@pytest.mark.parametrize("name", ["first-run", "three-algorithms"])
def test_the_stored_reference_runs_can_be_shared(name: str, store: Store, tmp_path: Path) -> None:
    there = list(Store(RESULTS).runs(name))
    exchange.publish(there, str(tmp_path / "runs.tar.zst"), None, models=True, say=said)
    assert set(told(exchange.import_runs(str(tmp_path / "runs.tar.zst"), store))) == {"new"}
    assert len(list(store.runs(name))) == len(there)


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_runs_of_every_schema_are_imported(schema: int, store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "golden").symlink_to(GOLDEN / f"store-schema-{schema}")
    with pytest.raises(BadInput, match="'golden', which is a link"):
        exchange.import_runs(str(tmp_path / "there"), store)
    os.unlink(tmp_path / "there" / "golden")
    shutil.copytree(GOLDEN / f"store-schema-{schema}", tmp_path / "there" / "golden")
    for _, expected in zip(range(2), ("new", "there"), strict=True):
        found = exchange.import_runs(str(tmp_path / "there"), store)
        assert [one.what for one in found] == [expected] * 3, found
    for run in store.runs():
        assert not (run.path / "checkpoint.pt").exists()  # nobody reads a stranger's pickle


def test_what_goes_on_takes_the_place_of_what_ended_before(theirs: Store, store: Store) -> None:
    evaluated(make(store), -99.0)
    evaluated(make(theirs, test=(-200.0, -150.0, -130.0)), -88.0)
    assert told(exchange.import_runs(str(theirs.root), store)) == ["longer"]
    (run,) = store.runs()
    assert [row["ledger"]["samples"] for row in run.rows()] == [1e4, 1e5, 1e6]
    assert sorted(row["estimate"]["mean"] for row in run.evaluations()) == [-99.0, -88.0]
    assert run.origin() is not None
    assert os.listdir(store.root) == ["mine"]  # of the shorter one nothing was worth keeping
    assert told(exchange.import_runs(str(theirs.root), store)) == ["there"]


def test_what_ended_before_changes_nothing_but_adds_its_estimates(theirs: Store, store: Store) -> None:
    make(store, test=(-200.0, -150.0, -130.0))
    evaluated(make(theirs), -88.0)
    before = content(store)
    (one,) = exchange.import_runs(str(theirs.root), store)
    assert (one.what, one.why) == ("shorter", "evaluations added")
    (run,) = store.runs()
    assert [row["estimate"]["mean"] for row in run.evaluations()] == [-88.0]
    assert [values[:2] for values in content(store).values()] == [values[:2] for values in before.values()]
    assert run.origin() is None


def test_a_model_of_the_shorter_run_is_kept(theirs: Store, store: Store) -> None:
    run = make(store)
    (run.path / "checkpoint.safetensors").write_bytes(b"a model")
    make(theirs, test=(-200.0, -150.0, -130.0))
    (one,) = exchange.import_runs(str(theirs.root), store)
    kept = store.root / "quarantine" / "mine" / run.id
    assert (one.what, one.why) == ("longer", f"the model of the shorter one is kept in {kept}, until `harness gc`")
    assert (kept / "checkpoint.safetensors").read_bytes() == b"a model"
    assert not (run.path / "checkpoint.safetensors").exists()
    assert sorted(os.listdir(kept)) == ["checkpoint.safetensors", "run.json", "trace.jsonl"]


@pytest.mark.parametrize(
    ("there", "comes"),
    [
        ({}, {"test": (-200.0, -149.0)}),
        ({}, {"test": (-200.0, -149.0, -130.0)}),
        ({}, {"cpu": "another processor", "test": (-200.0, -150.0, -130.0)}),
        ({"status": "diverged"}, {}),
        ({}, {"kernel": 0.02}),
    ],
)
def test_another_run_with_the_same_id_is_named_and_left(
    there: dict[str, object], comes: dict[str, object], theirs: Store, store: Store, harness: Harness
) -> None:
    run = make(store, **there)  # type: ignore[arg-type]
    make(theirs, **comes)  # type: ignore[arg-type]
    before = content(store)
    done = harness("import", theirs.root, "--results", store.root)
    assert done.code == 3
    assert f"mine/{run.id}  different  another run with the same id is there, and is left as it is" in done.out
    assert f"0 runs imported from {theirs.root}; 1 different" in done.out
    assert content(store) == before
    assert os.listdir(store.root) == ["mine"]


def test_a_run_that_is_being_written_is_left(theirs: Store, store: Store) -> None:
    run = make(store)
    make(theirs, test=(-200.0, -150.0, -130.0))
    run.claim()
    (one,) = exchange.import_runs(str(theirs.root), store)
    run.release()
    assert (one.what, one.why) == ("refused", "a process is writing the run that is there: import it again later")
    theirs_run = next(theirs.runs())
    theirs_run.claim()
    words: list[str] = []
    with pytest.raises(BadInput, match="none of the runs can be published"):
        exchange.publish([theirs_run], str(store.root / "x"), None, models=False, say=words.append)
    theirs_run.release()
    assert "has not ended" in words[0]


def test_a_record_that_contradicts_itself_is_refused(theirs: Store, store: Store, harness: Harness) -> None:
    better = make(theirs)
    record = better.read()
    record.summary = [{**one, "mean": one["mean"] + 50} for one in record.summary]
    rewrite(better, record)
    torn = make(theirs, seed=1)
    (torn.path / "trace.jsonl").write_bytes((torn.path / "trace.jsonl").read_bytes().replace(b"-150", b"-105"))
    cheaper = make(theirs, seed=2)
    record = cheaper.read()
    record.ledger["samples"] = 7
    rewrite(cheaper, record)
    other = make(theirs, seed=3)
    found = unseal((other.path / "run.json").read_bytes())
    found.pop("checksum", None)
    found["spec"]["algorithm"]["settings"]["lr"] = 0.5
    (other.path / "run.json").write_bytes(seal(found))
    going = make(theirs, seed=4, status="running")
    sound = make(theirs, seed=5)
    done = harness("import", theirs.root, "--results", store.root)
    assert done.code == 3
    for run, why in (
        (better, "its run.json has other estimates than its last row"),
        (torn, "its trace.jsonl was edited or damaged, its checksum does not fit"),
        (cheaper, "its run.json has 7 samples, and its last row has 100,000"),
        (other, "its specification is that of aevb-mnist-nz3-s3-"),
        (going, "it had not ended when it was published"),
    ):
        assert f"mine/{run.id}  refused  {why}" in done.out
    assert [run.id for run in store.runs()] == [sound.id]
    assert os.listdir(store.root) == ["mine"]


def test_an_import_that_is_cut_off_loses_nothing(
    theirs: Store, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each rename and fsync: what was there is whole in its place or in quarantine, and the next import ends it."""
    for seed in (0, 1):
        make(theirs, seed=seed, test=(-200.0, -150.0, -130.0))
    for seed in (1, 2):
        make(store, seed=seed)
    before = content(store)

    class Cut(BaseException):
        """A process that is killed here."""

    moments = 0
    for cut in itertools.count():
        here = Store(tmp_path / f"copy-{cut}")
        shutil.copytree(store.root, here.root)
        left = iter(range(cut))
        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "fsync"):

                def dying(
                    *words: object, own: object = getattr(os, name), left: object = left, **more: object
                ) -> object:
                    if next(left, None) is None:  # type: ignore[call-overload]
                        raise Cut
                    return own(*words, **more)  # type: ignore[operator]

                patch.setattr(os, name, dying)
            patch.setattr("shutil.rmtree", lambda *words, **more: None)  # as nobody cleans up after a kill
            try:
                exchange.import_runs(str(theirs.root), here)
                ended = True
            except Cut:
                ended = False
        found = {name: values[:2] for name, values in content(here).items()}
        moved = {f"{path.parent.parent.name}/{path.parent.name}" for path in here.root.glob("quarantine/*/*/run.json")}
        assert before.keys() <= found.keys() | moved, cut
        assert not list(here.damage()), cut
        for run in here.runs():
            assert len(run.rows()) in (2, 3)
        for run in here.runs():
            for owner in ("owner.json", "owner.lock"):
                (run.path / owner).unlink(missing_ok=True)
        again = told(exchange.import_runs(str(theirs.root), here))
        assert set(again) <= {"new", "longer", "there"}, (cut, again)
        assert {name: len(values[1]) for name, values in content(here).items()} == {
            name: 2 if name not in content(theirs) else 3 for name in before.keys() | content(theirs).keys()
        }
        gc.collect(here)
        assert leftovers(here.root / "import") == []
        moments += 1
        if ended:
            break
    assert moments > 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["import", "nowhere"],
            "'nowhere' is not there, or no publication: name a folder, a file that ends in .tar.zst, or hf://",
        ),
        (["import", "nowhere.tar.zst"], "'nowhere.tar.zst' is not there"),
        (["import", "s3://x/y"], "'s3://x/y' is no source"),
        (
            ["import", "hf://datasets/../x"],
            "'hf://datasets/../x' is no data set of the hub: give hf://datasets/OWNER/NAME",
        ),
        (["import", "empty"], "'empty' has no runs, as GROUP/RUN/run.json"),
        (["import", "file.tar.zst"], "'file.tar.zst' is damaged or no archive of ours"),
        (["publish", "mine", "--to", "s3://x"], "--to is 's3://x': name a folder"),
        (["publish", "mine", "--to", "file"], "the store 'file' is a file"),
        (["publish", "mine", "--to", "empty.tar.zst"], "--to is 'empty.tar.zst', which is there and no file"),
        (["publish", "mine", "--to", "file.tar.zst"], "'file.tar.zst' is damaged or no archive of ours"),
        (["publish", "nothing", "--to", "x"], "there is no run 'nothing'"),
        (["publish", "mine", "--to", "x", "--by", "a\nb"], "--by is 'a\\nb': give a name"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, store: Store, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.tar.zst").mkdir()
    for name in ("file", "file.tar.zst"):
        (tmp_path / name).write_text("nothing of ours")
    before = sorted(tmp_path.rglob("*"))
    done = harness(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"harness: {said}"), done.err
    assert done.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("library", "words"), [
    ("zstandard", ["publish", "mine", "--to", "x.tar.zst"]), ("zstandard", ["import", "x.tar.zst"]),
    ("huggingface_hub", ["publish", "mine", "--to", "hf://datasets/a/b"]), ("huggingface_hub", ["import", "hf://datasets/a/b"]),
])  # fmt: skip
def test_what_is_missing_is_told_with_the_command_that_installs_it(
    library: str, words: list[str], store: Store, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    monkeypatch.chdir(tmp_path)
    if words[0] == "import":
        (tmp_path / "x.tar.zst").write_bytes(b"something")
    monkeypatch.setitem(sys.modules, library, None)
    done = harness(*words)
    assert done.code == 2
    assert f" {library}: `python -m pip install 'inference-harness[share]'`" in done.err


def test_models_are_published_if_asked_for(
    theirs: Store, store: Store, harness: Harness, tiny_run: list[str], tmp_path: Path
) -> None:
    run_id = harness(*tiny_run, "--results", theirs.root).out.partition(":")[0]
    for more, models in (([], 0), (["--models"], 1)):
        to = tmp_path / f"with-{models}.tar.zst"
        assert harness("publish", run_id, "--to", to, *more, "--results", theirs.root).code == 0
        done = harness("import", to, "--results", store.root)
        assert done.code == 0, done.err
        assert len(list(store.root.glob("*/*/checkpoint.safetensors"))) == models
    assert "its model was added" in done.out
    (run,) = store.runs()
    assert run.checkpoint() is not None
