"""CPU times of several machines, compared only through what a fixed calibration kernel took on each of them.

A machine is a processor and, of foreign runs, who made them: two people with one processor have two machines.
"""

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput

SECONDS, KERNELS = "CPU seconds", "calibration kernels"


def machine(run: StoredRun) -> tuple[str, ...]:
    """Return what tells the machine of a run from others; nothing where no session tells of one."""
    if not run.last_session:
        return ()
    origin = run.origin
    whose = () if origin is None else (origin.by or "", origin.source or "")
    return run.processor or "an unknown processor", *whose


def time_unit(runs: Sequence[StoredRun]) -> str:
    """Return the unit in which CPU times of these runs can be compared."""
    return SECONDS if len({machine(run) for run in runs} - {()}) < 2 else KERNELS


def comparable(runs: Sequence[StoredRun]) -> tuple[list[StoredRun], str]:
    """Return runs whose rows have CPU times that can be compared, and in which unit they are.

    Raises:
        BadInput: they are of several machines, and one does not say what the kernel took there.
    """
    if (unit := time_unit(runs)) == SECONDS:
        return list(runs), unit
    without = [run.id for run in runs if not run.calibration_seconds]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise BadInput(
            f"CPU times of several machines are compared by what the calibration kernel took on each, and {without[0]}{more} "
            "does not tell: leave it out, or compare samples"
        )
    return [_in_kernels(run) for run in runs], unit


def _in_kernels(run: StoredRun) -> StoredRun:
    """Return a run whose rows have CPU times in units of the kernel."""
    kernel = run.calibration_seconds or 1.0
    rows = [
        {**row, "ledger": {**row["ledger"], "cpu_seconds": row["ledger"]["cpu_seconds"] / kernel}} for row in run.rows
    ]
    return replace(run, rows=rows)
