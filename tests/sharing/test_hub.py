"""The hub by its own client, against one on this machine."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, serving
from shared_runs import content, make
from support import Result

from harness.errors import BadInput
from harness.sharing import exchange
from harness.store.store import Store

pytest.importorskip("huggingface_hub")
Harness = Callable[..., Result]
ADDRESS = "hf://datasets/me/runs"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    hub = FakeHub("me/runs")
    with serving(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield hub


def test_runs_go_there_and_back(hub: FakeHub, harness: Harness, tmp_path: Path) -> None:
    mine, yours = Store(tmp_path / "mine"), Store(tmp_path / "yours")
    first = make(mine)
    done = harness("publish", "mine", "--to", ADDRESS, "--by", "Alice", "--results", mine.root)
    assert (done.code, done.err) == (0, "")
    assert f"mine/{first.id}  new" in done.out
    assert set(hub.files) == {
        "README.md",
        *(f"mine/{first.id}/{name}" for name in ("run.json", "trace.jsonl", "origin.json")),
    }
    assert f"harness import {ADDRESS}" in hub.files["README.md"].decode()
    make(mine, seed=1)
    assert harness("publish", "mine", "--to", ADDRESS, "--by", "Bob", "--results", mine.root).code == 0
    assert hub.commits == 2
    assert (
        harness("publish", "mine", "--to", ADDRESS, "--results", mine.root).out
        == f"0 runs published to {ADDRESS}; 2 there already\n"
    )
    assert hub.commits == 2  # nothing new, no commit
    done = harness("import", ADDRESS, "--results", yours.root)
    assert (done.code, done.err) == (0, "")
    assert content(yours) == content(mine)
    assert {(run.origin().by, run.origin().source) for run in yours.runs()} == {("Alice", ADDRESS), ("Bob", ADDRESS)}  # type: ignore[union-attr]
    assert "Bearer hf_secret" in hub.tokens


def test_a_run_that_went_on_takes_the_place_of_the_shorter_one(hub: FakeHub, tmp_path: Path) -> None:
    short, long = Store(tmp_path / "short"), Store(tmp_path / "long")
    run, longer = make(short), make(long, test=(-200.0, -150.0, -130.0))
    for store in (short, long, short):
        exchange.publish(list(store.runs()), ADDRESS, None, models=False, say=pytest.fail)
    assert hub.commits == 2
    assert hub.files[f"mine/{run.id}/trace.jsonl"] == (longer.path / "trace.jsonl").read_bytes()


def test_another_run_with_the_same_id_is_left_there(hub: FakeHub, tmp_path: Path) -> None:
    mine, yours = Store(tmp_path / "mine"), Store(tmp_path / "yours")
    make(mine), make(yours, test=(-200.0, -149.0))
    exchange.publish(list(mine.runs()), ADDRESS, None, models=False, say=pytest.fail)
    before = dict(hub.files)
    (one,) = exchange.publish(list(yours.runs()), ADDRESS, None, models=False, say=pytest.fail)
    assert one.what == "different"
    assert hub.files == before


def test_a_stale_model_is_removed(hub: FakeHub, tmp_path: Path) -> None:
    mine = Store(tmp_path / "mine")
    run = make(mine)
    exchange.publish([run], ADDRESS, None, models=False, say=pytest.fail)
    hub.files[f"mine/{run.id}/best-valid.safetensors"] = b"of the shorter run"
    longer = make(Store(tmp_path / "long"), test=(-200.0, -150.0, -130.0))
    exchange.publish([longer], ADDRESS, None, models=False, say=pytest.fail)
    assert f"mine/{run.id}/best-valid.safetensors" not in hub.files


def test_what_the_hub_says_is_checked(hub: FakeHub, tmp_path: Path) -> None:
    mine, store = Store(tmp_path / "mine"), Store(tmp_path / "results")
    run = make(mine)
    exchange.publish([run], ADDRESS, None, models=False, say=pytest.fail)
    for name in (
        "../outside",
        "mine/../../x/run.json",
        "/etc/x/run.json",
        "quarantine/x/run.json",
        "mine/x/y.py",
        "x" * 300,
    ):
        hub.files[name] = b"x"  # no file of a run: not even asked for
    exchange.import_runs(ADDRESS, store)
    assert not any(name in request for request in hub.asked for name in ("outside", "etc", "quarantine", "y.py"))
    trace = f"mine/{run.id}/trace.jsonl"
    for size, said in ((1 << 50, "where 268,435,456 are the most"), (10, "has more of"), (10**6, "it was cut off")):
        hub.sizes[trace] = size
        with pytest.raises(BadInput, match=said):
            exchange.import_runs(ADDRESS, Store(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("status", "said"), [
    (401, "hf auth login"), (403, "your account may not do this"), (412, "somebody else has published meanwhile"),
    (500, "check the network, or HF_ENDPOINT"),
])  # fmt: skip
def test_what_the_hub_refuses_is_one_sentence(
    status: int, said: str, hub: FakeHub, harness: Harness, tmp_path: Path
) -> None:
    mine = Store(tmp_path / "mine")
    make(mine)
    hub.status = status
    done = harness("publish", "mine", "--to", ADDRESS, "--results", mine.root)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert "hf_secret" not in done.err


def test_a_data_set_that_is_not_there(hub: FakeHub, harness: Harness, tmp_path: Path) -> None:
    done = harness("import", ADDRESS, "--results", tmp_path / "results")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "it has no such data set, or none that you may see" in done.err
    assert os.listdir(tmp_path) == []
