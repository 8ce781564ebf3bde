"""Runs in the store: starts, resumes and extends them, saves checkpoints, and stops at a signal without losing anything."""

import math
import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import (
    BadInput,
    Busy,
    Diverged,
    HarnessError,
    Interrupted,
    PluginFailed,
    RunFailed,
    StoreTrouble,
)
from harness.runs.inputs import Inputs, loading, require_same_data
from harness.runs.provenance import provenance, sources
from harness.runs.signals import Stopped, stopping_signals
from harness.runs.stored_spec import stored_spec
from harness.specs import named
from harness.specs.budget import Budget
from harness.specs.horizon import horizon_of, within
from harness.specs.run import RunSpec
from harness.store.record import Record, changes
from harness.store.run import Run
from harness.store.store import Store
from harness.training.loop import Row, Tick, Training

CHECKPOINT_SECONDS = 60.0  # between checkpoints; HARNESS_CHECKPOINT_SECONDS

Watch = Callable[[Training, Row | Tick], None]

Say = Callable[[str], None]


def unheard(words: str) -> None:
    """Say nothing."""


def ensure(
    store: Store,
    spec: RunSpec,
    budget: Budget,
    *,
    group: str = "runs",
    data_dir: str | None = None,
    watch: Watch | None = None,
    say: Say = unheard,
    warn: Say = unheard,
) -> Record:
    """Bring the run of this specification to this budget: start it, resume it, extend it, or find it done.

    Args:
        store: where runs are kept.
        spec: the run.
        budget: what it may spend in all, earlier sessions included.
        group: the group of the store that it belongs to.
        data_dir: the user's folder of data files.
        watch: called with every row and tick.
        say: told what the user should know, in a sentence.
        warn: told once, at the beginning, of data that do not suit the model, in a sentence each.

    Returns:
        The run's record.

    Raises:
        BadInput: it cannot be run like this, or was, but on other data than are here now; nothing was written.
        Busy: another process is at it.
        RunFailed: it failed or diverged, now or earlier; its rows are kept.
        Interrupted: a signal stopped it; a checkpoint was written.
    """
    run, budget = store.run(spec.run_id, group), within(spec.schedule, budget)
    if run.exists():
        record = run.read()
        if record.status in ("diverged", "failed"):
            kind = Diverged if record.status == "diverged" else RunFailed
            raise kind(f"run {run.id} {record.status} before: {record.reason}; {again(run, record)}")
        if finished(record, budget):
            Inputs(data_dir).require_same(run, record, spec)
            return record
    else:
        store.require_writable()
        record = Record(run.id, spec.model_dump(mode="json"), budget.limits())
    return _train(run, record, spec, budget, data_dir, watch, say, warn)


def resume(run: Run, *, data_dir: str | None = None, watch: Watch | None = None, say: Say = unheard) -> Record:
    """Continue a run that was interrupted, killed or failed, to its own budget; see `ensure`."""
    record = run.read()
    if record.status == "done":
        raise BadInput(f"run {run.id} is done, there is nothing to resume: see `harness extend {run.id} --samples N`")
    if record.status == "diverged":
        raise BadInput(f"run {run.id} diverged ({record.reason}) and would again: start a run with other settings")
    return _train(run, record, stored_spec(run, record), _budget(record), data_dir, watch, say)


def extend(
    run: Run, budget: Budget, *, data_dir: str | None = None, watch: Watch | None = None, say: Say = unheard
) -> Record:
    """Continue a run to a larger budget; see `ensure`."""
    record = run.read()
    if record.status == "diverged":
        raise BadInput(f"run {run.id} diverged ({record.reason}): start a run with other settings")
    schedule = record.spec["schedule"]
    if record.status == "done" and record.ledger["samples"] >= (horizon_of(schedule) or math.inf):
        raise BadInput(
            f"run {run.id} has come to the end of its --schedule {schedule}, where the step size is 0, so it would learn nothing "
            "more: start a run with another --schedule"
        )
    budget = within(schedule, budget)
    unfinished = record.status != "done" and record.budget == budget.limits()  # its last evaluation may be missing
    if _met(record, budget) and not unfinished:
        spent = ", ".join(f"{record.ledger[name]:,.0f} {name.replace('_', ' ')}" for name in budget.limits())
        raise BadInput(f"run {run.id} has spent {spent} already: give a larger budget in all than that")
    return _train(run, record, stored_spec(run, record), budget, data_dir, watch, say)


def _budget(record: Record) -> Budget:
    return Budget(**record.budget)  # type: ignore[arg-type]  # limits by name, as it was written


def again(run: Run, record: Record) -> str:
    """Return in words how a run that ended without a result is run again."""
    on = f"go on with `harness resume {run.id}{named.again(record.spec)}`, or " if record.status == "failed" else ""
    return f"{on}delete {str(run.path)!r} to run it again"


def finished(record: Record, budget: Budget) -> bool:
    """Say whether a run is done and has spent this budget."""
    return record.status == "done" and _met(record, budget)


def _met(record: Record, budget: Budget) -> bool:
    """Say whether a record's spending exhausts a budget."""
    return any(record.ledger.get(name, 0) >= limit for name, limit in budget.limits().items())


def _train(
    run: Run,
    record: Record,
    spec: RunSpec,
    budget: Budget,
    data_dir: str | None,
    watch: Watch | None,
    say: Say,
    warn: Say = unheard,
) -> Record:
    fresh, pause = not run.exists(), _checkpoint_seconds()
    checkpoint = None if fresh else run.checkpoint()
    if record.status == "done" and checkpoint is None:
        raise BadInput(
            f"run {run.id} cannot go on, as its checkpoint is gone: delete {str(run.path)!r} and run it again"
        )
    try:
        training = Training(spec, data_dir)
    except RunFailed as error:
        if fresh:
            _never_began(run, record, error, say)
        if isinstance(error, PluginFailed):
            raise PluginFailed(f"run {run.id} failed: {error}; {_where_traceback(run)}", error.traceback) from error
        raise type(error)(f"run {run.id} failed: {error}") from error
    here = provenance(training.dataset.sha256)
    if not fresh:
        require_same_data(run, record, training.dataset.sha256, training.dataset.source)
    run.claim(say)
    try:
        if run.exists() == fresh or (not fresh and run.read() != record):
            raise Busy(f"run {run.id} has just been changed by another process: see `harness show {run.id}`")
        if checkpoint is None:
            record.provenance = []  # from the beginning again
        else:
            with loading(run, checkpoint):
                training.load(checkpoint)
        if not any("sources" in session for session in record.provenance):
            here |= sources(spec)
        here["samples"] = training.ledger.samples
        if training.warnings:
            here["warnings"] = list(training.warnings.values())
        if record.provenance and (changed := changes(record.provenance[-1], here)):
            say(
                f"run {run.id} goes on with {changed}, so it is no longer the uninterrupted run bit for bit; recorded in the run"
            )
        record.status, record.reason, record.budget, record.overshoot = "running", None, budget.limits(), {}
        record.provenance.append(here)
        run.begin(record, None if checkpoint is None else checkpoint["trace"])
        run.keep_traceback(None)
        if checkpoint is None:
            for words in training.warnings.values():
                warn(words)
        _follow(run, record, training, budget, watch, pause)
    except OSError as error:
        raise StoreTrouble(
            f"{error.filename or run.path} cannot be written ({error.strerror}): make room or mend it, and give the same "
            "command again"
        ) from error
    finally:
        run.release()
    return record


def _never_began(run: Run, record: Record, error: RunFailed, say: Say) -> None:
    """Store a new run that a plugin failed before its first step, unless another process has made it meanwhile."""
    with suppress(Busy, StoreTrouble, OSError):  # the plugin's error is what the user has to know
        run.claim(say)
        try:
            if not run.exists():
                record.status, record.reason = "failed", str(error)
                run.begin(record, None)
                run.keep_traceback(error.traceback if isinstance(error, PluginFailed) else None)
        finally:
            run.release()


def fail(run: Run, spec: RunSpec, budget: Budget, reason: str) -> None:
    """Store of a run that it failed, for a reason that it could not store itself; rows after its checkpoint are removed.

    Raises:
        Busy: a process is at it.
        StoreTrouble, OSError: it cannot be written.
    """
    run.claim()
    try:
        fresh = not run.exists()
        record = Record(run.id, spec.model_dump(mode="json"), budget.limits()) if fresh else run.read()
        record.status, record.reason = "failed", reason
        checkpoint = None if fresh else run.checkpoint()
        run.begin(record, None if checkpoint is None else checkpoint["trace"])
    finally:
        run.release()


def _where_traceback(run: Run) -> str:
    return f"its traceback: `harness show {run.id} --traceback`"


def _checkpoint_seconds() -> float:
    """Return how often to save; BadInput if the environment says nonsense."""
    given = os.environ.get("HARNESS_CHECKPOINT_SECONDS") or str(CHECKPOINT_SECONDS)
    with suppress(ValueError):
        if 0 <= float(given) < math.inf:
            return float(given)
    raise BadInput(f"HARNESS_CHECKPOINT_SECONDS is {given!r}: give a number of seconds, such as 60")


def _follow(run: Run, record: Record, training: Training, budget: Budget, watch: Watch | None, pause: float) -> None:
    """Write down what training yields, until it ends, fails or is stopped."""

    def save(status: str, reason: str | None = None) -> None:
        record.status, record.reason = status, reason
        if training.whole or status == "diverged":
            record.ledger = training.spent()
            run.save(record, training.checkpoint(), training.best.kept)
        else:  # in the middle of a step, which nothing could go on from: the last checkpoint stands
            run.write(record)

    saved = time.monotonic()
    with stopping_signals(training, budget) as caught:
        try:
            for event in training.rows(budget):
                if not isinstance(event, str):
                    run.append(record, event)
                    record.summary = event["estimates"]
                    record.ledger = event["ledger"]
                    _note_memory(record.provenance[-1])
                if watch is not None:
                    watch(training, event)
                if caught:
                    raise Stopped
                if time.monotonic() - saved > pause:
                    save("running")
                    saved = time.monotonic()
        except Stopped:
            training.clocks.switch("output")
            if caught:
                save("interrupted")
                raise Interrupted(
                    f"interrupted, nothing is lost: go on with `harness resume {run.id}{named.again(record.spec)}`",
                    caught[0],
                ) from None
            seconds = training.clocks.wall() - (budget.wall_seconds or 0.0)
            save(
                "failed",
                f"a step of algorithm {training.spec.algorithm.name!r} hangs, {seconds:.0f} s beyond the budget",
            )
            raise RunFailed(f"run {run.id} failed: {record.reason}; its rows: `harness show {run.id}`") from None
        except RunFailed as error:
            training.clocks.switch("output")
            save("diverged" if isinstance(error, Diverged) else "failed", str(error))
            if isinstance(error, PluginFailed):
                run.keep_traceback(error.traceback)
                raise PluginFailed(f"run {run.id} failed: {error}; {_where_traceback(run)}", error.traceback) from error
            hint = f": {training.remedy}" if isinstance(error, Diverged) and training.remedy else ""
            raise type(error)(
                f"run {run.id} {record.status}: {error}{hint}; its rows: `harness show {run.id}`"
            ) from error
        except (HarnessError, OSError):
            raise
        except Exception as error:  # nobody's but ours
            training.clocks.switch("output")
            save("failed", f"a fault of the harness itself, {type(error).__name__}: {error}")
            run.keep_traceback("".join(traceback.format_exception(error)))
            raise
        spent = training.spent()
        record.overshoot = {n: spent[n] - limit for n, limit in budget.limits().items() if spent[n] >= limit}
        save("done")


def _note_memory(session: dict[str, Any]) -> None:
    """Enter the memory of this process in bytes: at the first row of a session, now, and at most."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (ImportError, OSError):
        return  # a system without it
    now = pages * resource.getpagesize()
    most = max(now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    session["memory"] = {"first": now, **session.get("memory", {}), "last": now, "most": most}
