"""What an algorithm may not do, each once: it ends as failed with a sentence, or it has no effect."""

import _thread
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import api
from harness.errors import RunFailed
from harness.specs import plugin_file
from harness.specs.budget import Budget
from harness.specs.registry import get
from harness.testing import conformance
from harness.training.loop import Training
from harness.training.process import prepare_process, watch

HEAD = '''"""An algorithm that trains soundly but for one line."""

import _thread
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch

from harness import api
from harness.data.dataset import Dataset
from harness.specs.budget import Ledger
from harness.training import evaluation

TRAITS = api.Traits(batch="{batch}")


class Config(api.Config):
    batch_size: int = api.setting(10, "M", gt=0)


@dataclass
class State:
    problem: api.Problem
    rng: torch.Generator


class Info(NamedTuple):
    objective: float


def only(kind):
    gc.collect()  # now the newest is last
    return next(found for found in reversed(gc.get_objects()) if type(found) is kind)


def start(work):
    threading.Thread(target=work, name="worker", daemon=True).start()


def swallowed(work):
    try:
        work()
    except Exception:
        pass


{top}


def init(problem, config, rng):
    {init}
    return State(problem, rng)


def step(state, batch):
    p, flat = state.problem.model, state.problem.model.params.flat
    z = state.problem.recognition.posterior(batch.x).sample(1, state.rng)
    (g,) = torch.autograd.grad(p.log_p_xz(batch.x, z).sum(), [flat])
    with torch.no_grad():
        flat.add_(g, alpha=1e-4)
    {step}
    return Info(0.0)
'''


def algorithm(folder: Path, *, step: str = "pass", init: str = "pass", top: str = "", batch: str = "minibatch") -> str:
    """Write an algorithm with these lines, and return its path."""
    path = folder / "cheat.py"
    path.write_text(HEAD.format(step=step, init=init, top=top, batch=batch))
    return str(path)


def ended(path: str, samples: int = 300, **settings: Any) -> Training:
    """Train for some steps, and return the run."""
    run = conformance.training(path, **settings)
    for _ in run.rows(Budget(samples=samples)):
        pass
    return run


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    prepare_process(1)
    for thread in watch.left:
        thread.join()
    watch.left.clear()


IN_STEP = {
    "fork": ("os.fork()", r"cheat\.py:\d+ in step: forked, and what another process computes cannot be metered.*`os\.fork"),
    "fork-swallowed": ("swallowed(os.fork)", "forked, and what another"),
    "subprocess": ("subprocess.run(['true'])", r"in step: started a process, and.*`subprocess\.run"),
    "subprocess-swallowed": ("swallowed(lambda: subprocess.run(['true']))", "started a process"),
    "posix-spawn": ("os.posix_spawn('/bin/true', ['true'], {})", "in step: started a process"),
    "system": ("os.system('true')", r"in step: called os\.system"),
    "exec": ("os.execv('/bin/true', ['true'])", "in step: replaced its process"),
    "exit": ("os._exit(0)", r"in step: called os\._exit, which would end the run without a word.*`os\._exit\(0\)`"),
    "multiprocessing": (
        "multiprocessing.get_context('spawn').Process(target=print).start() if only(Ledger).samples < 50 else None",
        "started a process",
    ),
    "thread": ("start(lambda: time.sleep(0.05))", "left 'worker' running, and what a thread computes.*join it"),
    "threads": ("torch.set_num_threads(2)", r"called set_num_threads\(2\), and the run has 1: give --threads"),
    "ledger": ("only(Ledger).samples -= 10", "changed the ledger"),
    "ledger-closure": ("p.log_p_xz.__closure__ and only(Ledger).__dict__.update(samples=0)", "changed the ledger"),
    "spends-less-than-nothing": ("only(Ledger).add(-10, 'samples')", "ValueError: -10 samples cannot be spent"),
    "data": ("only(Dataset).train.zero_()", r"changed the data \(train\) in place.*change a copy"),
    "test-data": ("only(Dataset).test.mul_(0)", r"changed the data \(test\) in place"),
    "data-unseen": ("only(Dataset).train.numpy()[:] = 0", r"changed the data \(train\) in place"),
    "data-detached": ("only(Dataset).test.data.zero_()", r"changed the data \(test\) in place"),
    "parameters-exchanged": ("flat.data = flat.data.clone()", r"put another tensor in the place of params\.flat"),
    "parameters-replaced": ("p.params.flat = flat.detach().clone().requires_grad_()", "put another tensor"),
    "evaluation": (
        "evaluation.Estimator.estimate = lambda *_: None",
        r"replaced harness\.training\.evaluation\.Estimator\.estimate, by which the run is measured",
    ),
    "estimator": (
        "sys.modules['harness.estimators.lower_bound'].estimate = lambda *_: None",
        r"replaced harness\.estimators\.lower_bound\.estimate",
    ),
    "model": (
        "[c.cell_contents for c in p.log_p_xz.__closure__ if hasattr(c.cell_contents, '__self__')][-1].__self__"
        ".log_p_xz = lambda x, z: 0 * z.sum(-1)",
        r"replaced NetworkDecoder\.log_p_xz",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_STEP)
def test_a_step_that_cheats_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    line, words = IN_STEP[name]
    if name in ("evaluation", "estimator"):  # to be put back
        module = get("estimators", "lower-bound").module
        monkeypatch.setattr(module, "estimate", module.estimate)
        from harness.training.evaluation import Estimator

        monkeypatch.setattr(Estimator, "estimate", Estimator.estimate)
    with pytest.raises(RunFailed, match=words):
        ended(algorithm(tmp_path, step=line), samples=30 if "Dataset" in line else 300)  # each search for it takes long


@pytest.mark.parametrize(("line", "words"), [
    ("problem.model.params.flat.data.mul_(2)", "changed parameters in init, before the clocks run"),
    ("subprocess.run(['true'])", "started a process"),
    ("start(lambda: time.sleep(0.05))", "left 'worker' running"),
    ("torch.set_num_threads(2)", "called set_num_threads"),
    ("start(lambda: time.sleep(0.05)); raise ValueError", "in init: ValueError"),
])  # fmt: skip
def test_an_init_that_cheats_fails(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(RunFailed, match=words):
        conformance.training(algorithm(tmp_path, init=line))
    assert bool(watch.left) == ("start(" in line)


def test_an_init_may_not_take_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.training.guard.INIT_SECONDS", -1.0)
    with pytest.raises(RunFailed, match="CPU seconds for init"):
        conformance.training(algorithm(tmp_path))


UNTIL_OVER = "start(lambda: [time.sleep(0.02) for _ in iter(lambda: os.path.exists(__file__ + '.over'), True)])"


@pytest.mark.parametrize(("top", "words"), [
    (UNTIL_OVER, "left 'worker' running"),
    ("evaluation.chosen_points = lambda *_: None", r"put its own code in the place of harness\.training\.evaluation\.chosen"),
    ("evaluation.Estimator.each = lambda *_: None", r"put its own code in the place of Estimator\.each"),
])  # fmt: skip
def test_a_file_that_cheats_when_it_is_imported_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str, words: str
) -> None:
    from harness.training import evaluation

    monkeypatch.setattr(evaluation, "chosen_points", evaluation.chosen_points)
    monkeypatch.setattr(evaluation.Estimator, "each", evaluation.Estimator.each)
    with pytest.raises(RunFailed, match=words):
        conformance.training(algorithm(tmp_path, top=top))
    (tmp_path / "cheat.py.over").touch()


def test_training_while_an_evaluation_stops_the_clocks_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = conformance.training(algorithm(tmp_path))
    row = run._row

    def trained_meanwhile(**given: bool) -> Any:
        run.model.params.flat.data.mul_(1.001)
        return row(**given)

    monkeypatch.setattr(run, "_row", trained_meanwhile)
    with pytest.raises(RunFailed, match="changed parameters while no step was running and the clocks stood still"):
        list(run.rows(Budget(samples=300)))
    run = conformance.training(algorithm(tmp_path))
    run.step()
    with torch.no_grad():
        run.model.params.flat.mul_(1.001)
    with pytest.raises(RunFailed, match="changed parameters while no step was running"):
        run.step()


def test_a_patched_clock_has_no_effect(tmp_path: Path) -> None:
    before = time.process_time, time.perf_counter
    try:
        run = ended(algorithm(tmp_path, top="time.process_time = time.perf_counter = lambda: 0.0"))
        assert run.clocks.cpu() > 0
        assert run.clocks.wall() > 0
    finally:
        time.process_time, time.perf_counter = before


def test_a_thread_that_nobody_can_name_ends_the_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr("harness.training.process._exit", statuses.append)
    with pytest.raises(RunFailed, match="left a thread running"):
        ended(algorithm(tmp_path, step="_thread.start_new_thread(time.sleep, (0.3,)); time.sleep(0.1)"))
    watch.end(3)
    watch.unseen = False
    watch.end(4)
    assert statuses == [3]
    time.sleep(0.3)


def test_threads_that_end_with_their_step_are_allowed(tmp_path: Path) -> None:
    own = "t = threading.Thread(target=print, args=('',)); t.start(); t.join()"
    assert ended(algorithm(tmp_path, step=own)).ledger.samples == 300


@pytest.mark.parametrize(("how", "at_once"), [
    ("def work(): lock.acquire()\nthreading.Thread(target=work, daemon=True).start()", True),  # in a plugin file
    ("threading.Thread(target=lock.acquire, daemon=True).start()", False),  # somebody else's
    ("threading.Thread(target=lock.acquire).start(); watch.left += threading.enumerate()[-1:]", True),
    ("threading.Thread(target=lock.acquire).start()", False),  # which Python waits for
    ("pass", False),
])  # fmt: skip
def test_a_process_ends_whatever_threads_it_has(monkeypatch: pytest.MonkeyPatch, how: str, at_once: bool) -> None:
    """Of a plugin of any kind, at any time: PyTorch would end the process by a signal, without its exit code."""
    statuses: list[int] = []
    monkeypatch.setattr("harness.training.process._exit", statuses.append)
    lock, before = threading.Lock(), _thread._count()
    with lock:
        names = {"threading": threading, "lock": lock, "watch": watch, "__name__": f"{plugin_file.PREFIX}mine"}
        exec(how, names)
        while _thread._count() == before and how != "pass":
            time.sleep(0.01)
        watch.end(3)
    assert statuses == [3] * at_once
    watch.left.clear()
    while _thread._count() > before:
        time.sleep(0.01)


@pytest.mark.parametrize("batch", ["minibatch", "full"])
@pytest.mark.parametrize("line", [
    "batch.x.mul_(0)", "batch.x.numpy()[:] = 0", "batch.x.data.zero_()", "batch.x.detach().zero_()",
    "[part.x.fill_(7) for part in batch.split(7)]", "state.problem.data.mean.zero_()", "batch.index.zero_()",
])  # fmt: skip
def test_what_is_done_to_a_batch_in_place_stays_in_it(tmp_path: Path, batch: str, line: str) -> None:
    """On float32 data of scale 1, which models see as they are stored."""
    run = conformance.training(algorithm(tmp_path, batch=batch, step=line))
    data = [run.dataset.train.clone(), run.dataset.test.clone(), run.facts.mean]
    for _ in run.rows(Budget(samples=300)):
        pass
    assert all(map(torch.equal, data, [run.dataset.train, run.dataset.test, run.facts.mean]))


def test_the_ledger_says_whether_others_have_written_it() -> None:
    run = conformance.training("aevb")
    run.step()
    again = Training(run.spec)
    again.load(run.checkpoint())
    again.step()
    assert again.ledger.settled
    assert vars(again.ledger)["samples"] == 2 * run.batch_size
    with pytest.raises(ValueError, match="-1 samples cannot be spent"):
        run.ledger.add(-1, "samples")


def test_no_built_in_thing_is_taken_for_a_cheat() -> None:
    """Every built-in algorithm, with a thread of the caller's that lives on, as those of leases and progress bars do."""
    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
    try:
        for name in ("aevb", "wake-sleep", "mcem"):
            run = conformance.training(name, warmup=0)
            for event in run.rows(Budget(samples=3000)):
                if not isinstance(event, str):
                    threading.Thread(target=stop.wait, daemon=True).start()  # between steps
            assert run.ledger.settled
    finally:
        stop.set()


def test_data_of_other_types_are_compared_too() -> None:
    points = torch.zeros(4, 3, dtype=torch.bool)
    from harness.training.guard import checksum

    before = checksum(points)
    points[1, 2] = True
    assert checksum(points) != before
    assert checksum(torch.ones(3, dtype=torch.bfloat16)) != checksum(torch.zeros(3, dtype=torch.bfloat16))
    assert api.Dataset(points, points, kind="binary").train is points
