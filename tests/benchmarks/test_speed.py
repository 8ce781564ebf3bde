"""Speed of every row as a ratio to the matrix products that it cannot avoid, and what a command takes.

The machine is shared, so the least of three medians counts; without `--full` a first one within the limit is enough. Goals are
printed beside what is measured; what a test holds is a limit somewhat above what was measured when it was written (README), so
that it fails when something has become slower.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import floors
import pytest
import workloads
from pytest_benchmark.fixture import BenchmarkFixture
from support import environment

from harness import api
from harness.claims.file import Benchmark, Claims
from harness.files import seal
from harness.specs.run import make_spec
from harness.store.record import Record
from harness.store.store import Store
from harness.training.loop import Training
from harness.training.process import prepare_process

pytestmark = pytest.mark.slow

Note = Callable[[str, object], None]


def least(measured: Callable[[], float], limit: float, full: bool) -> float:
    """Return the least of three measurements, or the first that is within the limit if `full` is not asked for."""
    found = [measured()]
    while len(found) < 3 and (full or min(found) > limit):
        found.append(measured())
    return min(found)


CLAIMS = Claims(str(Path(__file__).parent / "claims.toml"))
LIMITS = {claim.test: claim.at_most for claim in CLAIMS.claims if isinstance(claim, Benchmark)}


@pytest.mark.parametrize("name", workloads.ROWS)
@pytest.mark.benchmark(min_rounds=5, warmup=False)
def test_row(
    name: str,
    mnist: api.Dataset,
    benchmark: BenchmarkFixture,
    record_property: Note,
    request: pytest.FixtureRequest,
    full: bool,
) -> None:
    row = workloads.ROWS[name]
    prepare_process(row.threads)
    try:
        work, floor = row.prepare()
    except api.files.MissingData as error:
        pytest.skip(str(error))
    benchmark(work)
    rounds = {1: 20, workloads.LEAPFROG: 10}.get(row.per_call, 3)
    limit = LIMITS[request.node.name]
    ratio = least(lambda: floors.in_turn(work, floor, rounds=rounds, per_call=row.per_call), limit, full)
    benchmark.extra_info["ratio"] = ratio
    record_property(row.title, f"{ratio:.2f} × its matrix products (goal {row.goal})")
    assert ratio <= limit


def test_the_engine_takes_little_beside_the_step(mnist: api.Dataset, record_property: Note, full: bool) -> None:
    share = least(lambda: workloads.engine_share(80 if full else 40) - 1.0, 0.03, full)
    record_property("ledger, clocks, marks and progress", f"{share:.1%} of the step (goal 1 %)")
    assert share <= 0.03


def test_evaluation_takes_little_beside_training(mnist: api.Dataset, record_property: Note, full: bool) -> None:
    """Of a run of 1e6 samples: 20 marks and the end, by their own times, against 10,000 steps by theirs."""
    run = Training(make_spec("aevb", settings={"nz": 20}))

    def seconds(work: Callable[[], object], times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - start) / times

    def share() -> float:
        at_a_mark, at_the_end = (partial(lambda end: list(run._estimates(end)), end) for end in (False, True))
        return (20 * seconds(at_a_mark, 2) + seconds(at_the_end, 1)) / (10_000 * seconds(run._step, 150))

    found = least(share, 0.07, full)
    record_property("evaluation at the default marks of 1e6 samples", f"{found:.1%} of training (goal 5 %)")
    assert found <= 0.07


def test_memory_of_a_run(tmp_path: Path, mnist: api.Dataset, record_property: Note) -> None:
    """Beyond what importing PyTorch takes, which is twice as much of a build with CUDA as of one without."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell a process's peak memory by itself")
    run = (
        "import sys; from harness import cli\n"
        "sys.argv = 'harness run --algo aevb --nz 20 --samples 15000'.split()\n"
        "try: cli.main()\nexcept SystemExit as end: assert not end.code\n"
    )
    peak = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    env = environment(HARNESS_RESULTS=str(tmp_path))
    whole, torch = (
        int(
            subprocess.run([sys.executable, "-c", code + peak], env=env, check=True, capture_output=True, text=True)
            .stdout.split()[-1]
        ) / 1024
        for code in (run, "import torch\n")
    )  # fmt: skip
    record_property(
        "peak memory of a run on MNIST", f"{whole:.0f} MB, {whole - torch:.0f} beyond importing PyTorch (goal 250)"
    )
    assert whole - torch <= 250


def test_help_beside_importing_click(tmp_path: Path, record_property: Note, full: bool) -> None:
    """Fifteen pairs of whole commands, from compiled modules, as a user has them; with `--full` the machine is quiet."""
    env = environment(PYTHONPYCACHEPREFIX=str(tmp_path), PYTHONDONTWRITEBYTECODE="")
    help_, click = [Path(sys.executable).with_name("harness"), "--help"], [sys.executable, "-c", "import click"]
    times = []

    def work() -> None:
        start = time.perf_counter()
        subprocess.run(help_, check=True, capture_output=True, env=env)
        times.append(time.perf_counter() - start)

    work()  # compiles
    floor = partial(subprocess.run, click, check=True, capture_output=True, env=env)
    ratio = least(lambda: floors.in_turn(work, floor, rounds=15, calls=1), 1.5, full)
    quickest = min(times)
    record_property("harness --help", f"{1000 * quickest:.0f} ms (goal 150), {ratio:.2f} × importing click")
    assert ratio < 1.5
    assert quickest < 0.15 or not full


def test_list_over_a_thousand_runs(tmp_path: Path, record_property: Note) -> None:
    store = Store(tmp_path)
    spec = make_spec("aevb", settings={"nz": 20}).model_dump(mode="json")
    estimate = {"estimator": "lower-bound", "split": "test", "points": 10_000, "mean": -120.0}
    estimate |= {"settings": {}, "direction": "lower", "se_points": 0.1, "se_estimator": 0.1, "diagnostics": {}}
    for i in range(1000):
        run = store.run(f"aevb-mnist-nz20-s{i}-{i:08x}")
        run.path.mkdir(parents=True)
        record = Record(run.id, {**spec, "seed": i}, {"samples": 1e6}, status="done", summary=[estimate] * 4)
        (run.path / "run.json").write_bytes(seal(asdict(record)))
    command, seconds = Path(sys.executable).with_name("harness"), []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run([command, "list", "--results", tmp_path], check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
    assert len(done.stdout.splitlines()) == 1001
    record_property("harness list over 1,000 runs", f"{min(seconds):.2f} s (goal 1)")
    assert min(seconds) <= 1.0
