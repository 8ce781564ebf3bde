"""How fast beside what one would use instead. Run on request, not by CI:

    python -m pip install -e ".[test,peers]" && python tests/benchmarks/peers.py --json peers.json

Everyone computes the same: the same model, objective, optimiser, prior, minibatches by index, precision and threads, from
the same weights. Before anything is timed, the first steps of each must have the objective of ours, and move the weights as far.
Every time is a ratio to the row's own matrix products, multiplied by PyTorch just before; medians over rounds in which all take
turns in one process. A process is given as many processors as it has threads, since JAX has no other limit.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import drawn

ROWS = ("aevb-mnist", "aevb-frey", "aevb-small", "wake-sleep", "leapfrog", "mcem", "iwae")  # see rows.py
SCIPY = "SciPy's products"


@dataclass(frozen=True)
class Column:
    """Somebody who may compute a row.

    Attributes:
        made_by: module and function.
        rows: what can be computed by it; the others have no such algorithm.
        package: what has to be installed.
    """

    made_by: tuple[str, str]
    rows: tuple[str, ...] = ROWS
    package: str = "torch"


AEVB = ("aevb-mnist", "aevb-frey", "aevb-small")
COLUMNS = {
    "harness": Column(("rows", "harness")),
    "harness, PyTorch alone": Column(("rows", "harness_plain")),
    "PyTorch": Column(("peer_torch", "lean")),
    "torch.compile": Column(("peer_torch", "compiled")),
    "JAX": Column(("peer_jax", "plain"), package="jax"),
    "NumPyro": Column(("peer_jax", "numpyro"), (*AEVB, "iwae"), "numpyro"),
    "Pyro": Column(("peer_pyro", "svi"), AEVB, "pyro-ppl"),
    "BlackJAX": Column(("peer_jax", "blackjax"), ("leapfrog", "mcem"), "blackjax"),
}
PACKAGES = ("torch", "numpy", "scipy", "jax", "jaxlib", "optax", "numpyro", "pyro-ppl", "blackjax")


def versions() -> dict[str, str]:
    """Return the version of each package that is compared, None where it is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def missing(name: str, row: str, kernels: object) -> str | None:
    """Say why a column has no number in a row; an empty text where there is no such algorithm, None if it has one."""
    column = COLUMNS[name]
    if row not in column.rows:
        return ""
    try:
        metadata.version(column.package)
    except metadata.PackageNotFoundError:
        return f"{column.package} is not installed"
    if name == "harness" and kernels is None:
        return "the compiled primitives are not used here"
    return None


def maker(name: str) -> Callable[..., Any]:
    """Return the function that makes a column's peer from a start and a number of threads."""
    module, function = COLUMNS[name].made_by
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def measure(name: str, threads: int, rounds: int) -> dict[str, Any]:
    """Measure everyone who can do a row, after seeing that all do the same."""
    import floors
    import rows
    from threadpoolctl import threadpool_limits

    from harness.native import path
    from harness.training.process import prepare_process

    row, load = rows.ROWS[name], os.getloadavg()
    sgemm = path._of_scipy()
    threadpool_limits(threads, user_api="blas")
    prepare_process(threads)
    start = rows.begin(row, threads)
    reference = None
    works: dict[str, Callable[[], object]] = {}
    reasons, ready = {}, {}
    for column in COLUMNS:
        reason = missing(column, name, rows.KERNELS)
        if reason is None:
            began = time.perf_counter()
            try:
                peer = maker(column)(start, threads)
                first = rows.first_steps(peer, start)
            except Exception as error:
                if column != "torch.compile":
                    raise
                reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"
            else:
                ready[column] = time.perf_counter() - began
                reference = reference or first
                try:
                    rows.require_agreement(reference, first)
                except rows.Disagrees as error:
                    raise rows.Disagrees(f"{column} in row {name}: {error}") from error
                works[column] = peer.run
                print(f"{name}, {threads} threads: {column} agrees, ready after {ready[column]:.0f} s", file=sys.stderr)
        if reason:
            reasons[column] = reason
    floor = row.floor(start.x.shape[1], len(start.x))
    if sgemm is None:
        reasons[SCIPY] = "SciPy's BLAS takes other numbers than int"
    else:
        works[SCIPY] = floors.repeated(floor.by(sgemm), row.units)
    found = floors.all_in_turn(works, floors.repeated(floor, row.units), row.units, rounds)
    (first_column, *_) = found.values()
    return {
        "row": name,
        "title": row.title,
        "threads": threads,
        "rounds": rounds,
        "columns": {column: times.summary() for column, times in found.items()},
        "floor_seconds": sorted(first_column.floor_cpu)[rounds // 2],
        "ready_seconds": ready,
        "missing": reasons,
        "load": [load[0], os.getloadavg()[0]],
    }


def in_a_process(script: str, threads: int, *arguments: object) -> dict[str, Any]:
    """Run a script of this folder in a process of its own, on as many processors as threads; return what it prints last."""
    # While the process is young: libraries count the processors when they are imported.
    if hasattr(os, "sched_getaffinity"):
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(everywhere)[:threads])
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments), "--threads", str(threads), "--alone"],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    finally:
        if hasattr(os, "sched_getaffinity"):
            os.sched_setaffinity(0, everywhere)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    from harness.runs.machine import cpu_model

    return {
        "processor": cpu_model(),
        "processors": os.cpu_count(),
        "python": sys.version.split()[0],
        "versions": versions(),
    }


def table(stored: dict[str, Any], clock: str) -> str:
    """Return the ratios by one clock as Markdown."""
    names = [*COLUMNS, SCIPY]
    lines = [
        f"| × its matrix products, {clock} time | threads | {' | '.join(names)} |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in stored["rows"]:
        cells = [
            f"{row['columns'][name][clock.lower()]:.2f}" if name in row["columns"]
            else "no" if name in row["missing"] else "" for name in names
        ]  # fmt: skip
        lines.append(f"| {row['title']} | {row['threads']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def conditions(stored: dict[str, Any]) -> str:
    """Say in a few lines on what, with what and how busy the numbers were measured."""
    made = stored["machine"]
    loads = [load for row in stored["rows"] for load in row.get("load", ())]
    packages = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    rounds = sorted({row["rounds"] for row in stored["rows"]})
    return (
        f"{made['processor']}, {made['processors']} processors; Python {made['python']}, {packages}.\n"
        f"Medians of {' or '.join(map(str, rounds))} rounds; load average {min(loads):.1f} to {max(loads):.1f}."
    )


def report(stored: dict[str, Any]) -> str:
    """Return everything that is said of stored measurements."""
    reasons = {f"- no {name}: {why}" for row in stored["rows"] for name, why in row["missing"].items()}
    ready = [
        f"- {row['title']}, {row['threads']} threads: PyTorch's products {1e3 * row['floor_seconds']:.3g} ms; ready after "
        + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in row["ready_seconds"].items())
        for row in stored["rows"]
    ]
    parts = [
        conditions(stored),
        table(stored, "CPU"),
        table(stored, "wall"),
        "\n".join(sorted(reasons)),
        "\n".join(ready),
    ]
    return "\n\n".join(part for part in parts if part)


def keep(path: Path | None, stored: dict[str, Any], key: tuple[str, ...]) -> dict[str, Any]:
    """Merge measurements with those of other rows that a file holds, by the values of `key`, write it, and return both.

    Raises:
        SystemExit: the file is of another machine or of other versions.
    """
    if path is None:
        return stored
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["machine"] != stored["machine"]:
            raise SystemExit(f"{path} was measured on another machine, or with other versions: name another file")
        new = {tuple(row[k] for k in key) for row in stored["rows"]}
        stored = {
            **stored,
            "rows": [row for row in before["rows"] if tuple(row[k] for k in key) not in new] + stored["rows"],
        }
    path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return stored


def main() -> None:
    """Measure each row in a process of its own, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="all unless named")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where results are kept; those of other rows stay in it")
    parser.add_argument("--draw", type=Path, help="draw what --json holds, and measure nothing")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # in the row's own process
    given = parser.parse_args()
    if given.rounds < 1 or min(given.threads) < 1:
        parser.error("--rounds and --threads are 1 at least")
    if given.alone:
        print(json.dumps(measure(given.rows[0], given.threads[0], given.rounds)))
        return
    if given.draw:
        if given.json is None or not given.json.is_file():
            parser.error(f"--draw needs what was measured: --json is {given.json}, which is no file")
        stored = json.loads(given.json.read_text(encoding="utf-8"))
        drawn.bars(stored, [*COLUMNS, SCIPY], conditions(stored), given.draw)
        return
    stored = {"machine": machine(), "rows": []}
    print(f"load average before: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for row in given.rows:
        for threads in given.threads:
            found = in_a_process("peers.py", threads, "--rows", row, "--rounds", given.rounds)
            stored["rows"].append(found)
            kept = keep(given.json, stored, ("row", "threads"))
            print(f"{row}, {threads} threads: measured", file=sys.stderr)
    print(f"load average after: {os.getloadavg()[0]:.1f}", file=sys.stderr)
    print(report(kept))


if __name__ == "__main__":
    main()
