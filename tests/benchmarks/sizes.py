"""Does cost grow with size as the matrix products do, and no faster? Run on request, not by CI:

    python tests/benchmarks/sizes.py --json sizes.json

One size at a time is varied around 784-500-20, 100 points a batch and all of MNIST; Monte Carlo EM, which has no batches, around
1000 training points. Each is the CPU time of a step or cycle of the harness's engine as a ratio to its own matrix products, which
PyTorch multiplies just before, in a process of its own on one processor; a median over rounds.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import drawn
import peers

NAMES = {"nz": "latents N_z", "hidden": "hidden units", "batch": "points a batch", "n_train": "training points"}
VALUES = {"nz": (3, 20, 200), "hidden": (100, 500, 2000), "batch": (20, 100, 1000), "n_train": (1000, 10_000, 50_000)}
BASE = {"nz": 20, "hidden": 500, "batch": 100, "n_train": 50_000}
ALGORITHMS = {"aevb": "AEVB", "wake-sleep": "wake-sleep", "mcem": "Monte Carlo EM"}
CURVES = {
    f"{algorithm}-{size}": (algorithm, size)
    for algorithm in ALGORITHMS
    for size in NAMES
    if (algorithm, size) != ("mcem", "batch")
}
ROUND_SECONDS, ROW_SECONDS = 0.1, 60.0
NOISE = 1.1
"""A ratio that grows by less between the ends of a curve is not said to grow."""


def sizes_of(algorithm: str, size: str, value: int) -> dict[str, int]:
    """Return all sizes of one point of a curve."""
    base = {**BASE, "n_train": 1000} if algorithm == "mcem" else BASE
    return {**base, size: value}


def measure(algorithm: str, size: str, value: int, threads: int, rounds: int) -> dict[str, Any]:
    """Measure one point of a curve."""
    import resource

    import floors

    from harness.runs.processes import forget_peak_memory
    from harness.specs.run import make_spec
    from harness.training.loop import Training

    of, load = sizes_of(algorithm, size, value), os.getloadavg()[0]
    nz, hidden, batch, n_train = (of[name] for name in NAMES)
    # What weights do is of no interest here, so they hardly move.
    settings: dict[str, Any] = {"nz": nz, "hidden": hidden, "lr": 1e-6, "warmup": 0}
    if algorithm != "mcem":
        settings["batch_size"] = batch
    run = Training(make_spec(algorithm, "mnist", settings=settings, n_train=n_train, threads=threads))
    forget_peak_memory()
    before = _peak_mb(resource)
    run._step()
    peak = _peak_mb(resource)
    dim = run.facts.dim
    if algorithm == "aevb":
        floor = floors.aevb(batch, dim, hidden, nz)
    elif algorithm == "wake-sleep":
        floor = floors.wake_sleep(batch, dim, hidden, nz)
    else:
        floor = floors.mcem(n_train, dim, hidden, nz)
    floor()
    seconds = floors.taken(floor, 1)[0]
    calls = max(1, round(ROUND_SECONDS / seconds))
    rounds = max(1, min(rounds, int(ROW_SECONDS / (2 * seconds * calls))))
    works = {"harness": floors.repeated(run._step, calls)}
    found = floors.all_in_turn(works, floors.repeated(floor, calls), calls, rounds)["harness"].summary()
    samples = (
        run.ledger.samples / run.ledger.steps
        if algorithm != "mcem"
        else run.ledger.samples / (1 + (rounds + 1) * calls)
    )
    return {
        "algorithm": ALGORITHMS[algorithm], "size": size, "value": value, "rounds": rounds, "threads": threads,
        **found, "microseconds_a_sample": 1e6 * found["cpu_seconds"] / samples,
        "mb_before": before, "mb_peak": peak, "load": [load, os.getloadavg()[0]], "missing": {},
    }  # fmt: skip


def _peak_mb(resource: Any) -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (2**20 if sys.platform == "darwin" else 2**10)


def growth(stored: dict[str, Any]) -> dict[tuple[str, str], tuple[float, float]]:
    """Return for each curve, by algorithm and size, the ratios at its smallest and its largest value."""
    curves: dict[tuple[str, str], dict[int, float]] = {}
    for row in stored["rows"]:
        curves.setdefault((row["algorithm"], row["size"]), {})[row["value"]] = row["cpu"]
    return {curve: (by[min(by)], by[max(by)]) for curve, by in curves.items() if len(by) > 1}


def report(stored: dict[str, Any]) -> str:
    """Return the tables as Markdown, and which curves grow."""
    algorithms = list(ALGORITHMS.values())
    cells = {(row["algorithm"], row["size"], row["value"]): row for row in stored["rows"]}
    lines = [f"| CPU time × its matrix products | | {' | '.join(algorithms)} |", "|---" * (len(algorithms) + 2) + "|"]
    for size, value in dict.fromkeys((row["size"], row["value"]) for row in stored["rows"]):
        found = [cells.get((algorithm, size, value)) for algorithm in algorithms]
        shown = [f"{row['cpu']:.2f} ({row['microseconds_a_sample']:.3g} µs)" if row else "" for row in found]
        lines.append(f"| {NAMES[size]} | {value:,} | {' | '.join(shown)} |")
    mcem = [row for row in stored["rows"] if row["algorithm"] == ALGORITHMS["mcem"] and row["size"] == "n_train"]
    if mcem:
        lines += [
            "",
            "| Monte Carlo EM, training points | CPU seconds a cycle | wall seconds | MB before | MB at its peak |",
        ]
        lines.append("|---" * 5 + "|")
        lines += [
            f"| {row['value']:,} | {row['cpu_seconds']:.3g} | {row['wall_seconds']:.3g} "
            f"| {row['mb_before']:.0f} | {row['mb_peak']:.0f} |"
            for row in mcem
        ]
    lines.append("")
    for (algorithm, size), (small, large) in growth(stored).items():
        verdict = "grows faster than its products" if large / small > NOISE else "grows no faster than its products"
        lines.append(
            f"- {algorithm} against {NAMES[size]} {verdict}: {small:.2f} at the smallest, {large:.2f} at the largest, "
            f"× {large / small:.2f}"
        )
    return peers.conditions(stored) + "\n\n" + "\n".join(lines)


def main() -> int:
    """Measure each point of each curve in a process of its own, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", nargs="+", choices=CURVES, default=list(CURVES), help="curves; all unless named")
    parser.add_argument("--rounds", type=int, default=15, help="at most; as many as a minute has, at the largest sizes")
    parser.add_argument("--json", type=Path, help="where results are kept; those of other curves stay in it")
    parser.add_argument("--draw", type=Path, help="draw what --json holds, and measure nothing")
    parser.add_argument(
        "--check", type=float, help="end with 1 if a ratio grows by more than this factor along its curve"
    )
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--value", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # in a point's own process
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}: 1 at least")
    if given.alone:
        print(json.dumps(measure(*CURVES[given.rows[0]], given.value, given.threads, given.rounds)))
        return 0
    if given.draw:
        if given.json is None or not given.json.is_file():
            parser.error(f"--draw needs what was measured: --json is {given.json}, which is no file")
        kept = json.loads(given.json.read_text(encoding="utf-8"))
        drawn.curves(kept, NAMES, peers.conditions(kept), given.draw)
    else:
        kept = _measured(given.rows, given.rounds, given.json)
        print(report(kept))
    beyond = [
        f"{algorithm} against {NAMES[size]}"
        for (algorithm, size), (small, large) in growth(kept).items()
        if given.check is not None and large / small > given.check
    ]
    if beyond:
        print(f"beyond a factor of {given.check:g}: {', '.join(beyond)}", file=sys.stderr)
    return 1 if beyond else 0


def _measured(curves: list[str], rounds: int, path: Path | None) -> dict[str, Any]:
    stored: dict[str, Any] = {"machine": peers.machine(), "rows": []}
    known: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {}  # curves cross in the middle
    kept = stored
    for curve in curves:
        algorithm, size = CURVES[curve]
        for value in VALUES[size]:
            point = algorithm, tuple(sizes_of(algorithm, size, value).values())
            if point not in known:
                known[point] = peers.in_a_process("sizes.py", 1, "--rows", curve, "--value", value, "--rounds", rounds)
                print(f"{curve}, {value:,}: {known[point]['cpu']:.2f}", file=sys.stderr)
            stored["rows"].append({**known[point], "size": size, "value": value})
            kept = peers.keep(path, stored, ("algorithm", "size", "value"))
    return kept


if __name__ == "__main__":
    sys.exit(main())
