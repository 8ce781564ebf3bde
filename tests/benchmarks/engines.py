"""What a run costs on an engine beyond this machine's own pool, and what a second worker is worth. Run on request, not by CI:

    python tests/benchmarks/engines.py local dask slurm --json engines.json

The engines are real, on this machine, as the tests start them. Sweeps of few and of many short runs take turns on all engines, by
one worker of one thread each; the slope is what a run takes, without where a sweep begins and ends. Then runs of seconds are
made by one worker and by two, beginning and end included, which needs two processors.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import dask_cluster
import slurm_cluster
from support import environment

from harness.testing import toy

FEW, MANY = 8, 48  # runs
SHORT, LONG = 4_000, 1_200_000  # samples of a run
OF_LONG = 16  # runs

EXPERIMENT = """
[base]
algo = "aevb"
dataset = "{dataset}"
nz = 2
hidden = 5
batch-size = 40
lr = 0.02
samples = {samples}
[[grid]]
seed = {seeds}
"""


class Engine(NamedTuple):
    """What makes runs.

    Attributes:
        sweep: makes those of an experiment in a store, by so many workers.
        ready: sees that so many workers are there, where they are there before the sweep.
    """

    sweep: Callable[[Path, Path, int], None]
    ready: Callable[[int], None] = lambda workers: None


def _harness(*words: object, **env: str) -> None:
    subprocess.run(
        [sys.executable, "-P", "-m", "harness", *map(str, words)],
        env=environment(**env),
        check=True,
        capture_output=True,
    )


@contextlib.contextmanager
def local() -> Iterator[Engine]:
    """This machine's pool."""
    yield Engine(lambda path, store, workers: _harness("sweep", path, "--results", store, "--jobs", workers))


@contextlib.contextmanager
def dask() -> Iterator[Engine]:
    """A Dask scheduler, whose second worker comes and goes."""
    with dask_cluster.cluster() as cluster:

        def ready(workers: int) -> None:
            if workers == 1 and cluster.lives("two"):
                cluster.end("two")
            elif workers == 2 and not cluster.lives("two"):
                cluster.start_worker("two")

        yield Engine(
            lambda path, store, workers: _harness("sweep", path, "--results", store, "--on", cluster.on), ready
        )


@contextlib.contextmanager
def slurm() -> Iterator[Engine]:
    """A SLURM cluster of two nodes, a processor each."""
    with slurm_cluster.cluster() as cluster:

        def sweep(path: Path, store: Path, workers: int) -> None:
            _harness("sweep", path, "--results", store, "--on", "slurm", "--workers", workers, **cluster.env)
            while cluster.call("squeue", "--noheader"):
                time.sleep(0.1)

        yield Engine(sweep)


ENGINES = {"local": local, "dask": dask, "slurm": slurm}


def timed(engine: Engine, folder: Path, runs: int, samples: int, workers: int = 1) -> float:
    """Return the wall seconds of a sweep into an empty store."""
    path, store = folder / "timed.toml", folder / "results"
    path.write_text(EXPERIMENT.format(dataset=toy.__file__, samples=samples, seeds=list(range(runs))))
    shutil.rmtree(store, ignore_errors=True)
    engine.ready(workers)
    begin = time.perf_counter()
    engine.sweep(path, store, workers)
    seconds = time.perf_counter() - begin
    done = [json.loads(one.read_text())["status"] for one in store.glob("timed/*/run.json")]
    if done != ["done"] * runs:
        raise RuntimeError(f"{done.count('done')} of {runs} runs were made")
    return seconds


def main() -> None:
    """Measure, print, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="+", choices=ENGINES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    slopes: dict[str, list[float]] = {name: [] for name in asked.engines}
    gains: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-engines-")))
        engines = {name: stack.enter_context(ENGINES[name]()) for name in asked.engines}
        for k in range(asked.rounds):
            for name, engine in list(engines.items())[:: 1 if k % 2 == 0 else -1]:
                few, many = (timed(engine, folder, runs, SHORT) for runs in (FEW, MANY))
                slopes[name].append((many - few) / (MANY - FEW))
                print(
                    f"round {k + 1}, {name}: {slopes[name][-1]:.3f} s a run, load {os.getloadavg()[0]:.1f}", flush=True
                )
        for name, engine in engines.items():
            one, two = (timed(engine, folder, OF_LONG, LONG, workers) for workers in (1, 2))
            gains[name] = one / two
            print(f"{name}: {one:.1f} s by one worker, {two:.1f} s by two, load {os.getloadavg()[0]:.1f}", flush=True)
    found = {
        name: {"seconds_a_run": statistics.median(slopes[name]), "gain_of_two": gains[name]} for name in asked.engines
    }
    for name, one in found.items():
        beyond = one["seconds_a_run"] - found["local"]["seconds_a_run"] if "local" in found else float("nan")
        gain = f"two workers are {one['gain_of_two']:.2f} times as fast"
        print(f"{name}: {1000 * beyond:+.0f} ms a run beyond the local pool; {gain}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"rounds": asked.rounds, "measured": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
