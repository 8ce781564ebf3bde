"""Worker processes: one takes the next task where nobody's code but ours ran in it, and one that dies costs its own task."""

import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from support import tell_process, user_names

from harness.runs import local, pool, processes
from harness.runs.pool import Call
from harness.training import subject


def carry_out(tasks: list[tuple[Any, ...]], workers: int = 1) -> list[Any]:
    waiting = deque((0.0, number) for number in range(len(tasks)))
    found: dict[int, Any] = {}
    sent = pool.messages(waiting, workers, lambda number: Call(tell_process, tasks[number]), lambda how: how)
    for received in sent:
        found |= dict(received)
    return [found[number] for number in range(len(tasks))]


def test_a_worker_takes_the_next_task_until_one_may_leave_traces() -> None:
    first, second, third, fourth = carry_out([(True,), (False,), (True,), (True,)])
    assert first == second != third == fourth
    assert os.getpid() not in (first, third)


def test_a_worker_that_dies_costs_its_own_task_alone() -> None:
    first, dead, third, fourth = carry_out([(True,), (True, "SIGKILL"), (True,), (True,)])
    assert dead == "was killed by SIGKILL"
    assert first != third == fourth


def test_a_worker_that_dies_while_it_has_no_task_costs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    given = pool._given

    def killing(todo: Call, idle: list[pool.Worker]) -> pool.Worker:
        for worker in idle:
            worker.process.kill()
            worker.process.join()
        return given(todo, idle)

    monkeypatch.setattr(pool, "_given", killing)
    found = carry_out([(True,), (True,), (True,)])
    assert len(set(found)) == 3


def test_workers_end_with_their_tasks() -> None:
    for worker in carry_out([(True,), (True,), (False,)], workers=2):
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_the_server_of_workers_begins_once_and_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    forkserver = pytest.importorskip("multiprocessing.forkserver")
    monkeypatch.setattr(forkserver, "_forkserver", server := forkserver.ForkServer())
    monkeypatch.setattr(forkserver, "ensure_running", server.ensure_running)
    monkeypatch.setattr(processes, "usable_cores", lambda: 1)
    processes.start_server()
    assert server._forkserver_pid is None, "there is no other core for it"
    monkeypatch.setattr(processes, "usable_cores", lambda: 2)
    processes.start_server()
    begun = server._forkserver_pid
    processes.start_server()
    assert server._forkserver_pid == begun is not None
    server._stop()


def test_only_our_own_code_lets_a_worker_go_on(tmp_path: Path) -> None:

    from harness.specs.run import make_spec

    ours = make_spec("aevb", "toy-linear-gaussian")
    assert local._is_ours(ours)
    plugin = tmp_path / "mine.py"
    plugin.write_text(Path(ours.algorithm.plugin("algorithms").module.__file__).read_text())
    theirs = make_spec(user_names(plugin), "toy-linear-gaussian")
    assert not local._is_ours(theirs)


def test_a_worker_keeps_the_last_dataset_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.specs.run import make_spec

    monkeypatch.setattr(subject, "_kept", None)
    spec, other = (make_spec("aevb", "toy-linear-gaussian", seed=seed) for seed in (0, 1))
    assert subject.load_dataset(spec, None) is not subject.load_dataset(spec, None)
    subject.keep_last_dataset()
    kept = subject.load_dataset(spec, None)
    assert subject.load_dataset(other, None) is kept
    assert subject.load_dataset(spec, "elsewhere") is not kept
    assert subject.load_dataset(spec, None) is not kept, "more than the last one was kept"
