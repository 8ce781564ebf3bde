"""Runs in the store: starts, resumes and extends them, saves checkpoints, and stops at a signal without losing anything."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from harness.errors import BadInput, Busy, Diverged, Interrupted, RunFailed, StoreTrouble
from harness.ledger import Budget
from harness.loop import Row, Tick, Training
from harness.provenance import provenance
from harness.spec import RunSpec
from harness.store import Record, Run, Store

CHECKPOINT_SECONDS = 60.0

Watch = Callable[[Training, Row | Tick], None]


def ensure(
    store: Store,
    spec: RunSpec,
    budget: Budget,
    *,
    group: str = "runs",
    data_dir: str | None = None,
    watch: Watch | None = None,
) -> Record:
    """Bring the run of this specification to this budget: start it, resume it, extend it, or find it done.

    Args:
        store: where runs are kept.
        spec: the run.
        budget: what it may spend in all, earlier sittings included.
        group: the group of the store that it belongs to.
        data_dir: the user's folder of data files.
        watch: called with every row and tick.

    Returns:
        The run's record.

    Raises:
        BadInput: it cannot be run like this; nothing was written.
        Busy: another process is at it.
        RunFailed: it failed or diverged, now or earlier; its rows are kept.
        Interrupted: a signal stopped it; a checkpoint was written.
    """
    run = store.run(spec.run_id, group)
    if run.exists():
        record = run.read()
        if record.status in ("diverged", "failed"):
            kind = Diverged if record.status == "diverged" else RunFailed
            raise kind(
                f"run {run.id} {record.status} before: {record.reason}; to run it again, delete {str(run.path)!r}"
            )
        if finished(record, budget):
            return record
    else:
        store.require_writable()
        record = Record(run.id, spec.model_dump(mode="json"), budget.limits())
    return _train(run, record, spec, budget, data_dir, watch)


def resume(run: Run, *, data_dir: str | None = None, watch: Watch | None = None) -> Record:
    """Continue a run that was interrupted, killed or failed, to its own budget; see `ensure`."""
    record = run.read()
    if record.status == "done":
        raise BadInput(f"run {run.id} is done, there is nothing to resume: see `harness extend {run.id} --samples N`")
    if record.status == "diverged":
        raise BadInput(f"run {run.id} diverged ({record.reason}) and would again: start a run with other settings")
    return _train(run, record, RunSpec.model_validate(record.spec), _budget(record), data_dir, watch)


def extend(run: Run, budget: Budget, *, data_dir: str | None = None, watch: Watch | None = None) -> Record:
    """Continue a run to a larger budget; see `ensure`."""
    record = run.read()
    if record.status == "diverged":
        raise BadInput(f"run {run.id} diverged ({record.reason}): start a run with other settings")
    if _met(record, budget):
        spent = ", ".join(f"{record.ledger[name]:,.0f} {name.replace('_', ' ')}" for name in budget.limits())
        raise BadInput(f"run {run.id} has spent {spent} already: give a larger budget in all than that")
    return _train(run, record, RunSpec.model_validate(record.spec), budget, data_dir, watch)


def _budget(record: Record) -> Budget:
    return Budget(**record.budget)  # type: ignore[arg-type]  # limits by name, as it was written


def finished(record: Record, budget: Budget) -> bool:
    """Say whether a run is done and has spent this budget."""
    return record.status == "done" and _met(record, budget)


def _met(record: Record, budget: Budget) -> bool:
    """Say whether a record's spending exhausts a budget."""
    return any(record.ledger.get(name, 0) >= limit for name, limit in budget.limits().items())


def _train(
    run: Run, record: Record, spec: RunSpec, budget: Budget, data_dir: str | None, watch: Watch | None
) -> Record:
    fresh = not run.exists()
    checkpoint = None if fresh else run.checkpoint()
    if record.status == "done" and checkpoint is None:
        raise BadInput(
            f"run {run.id} cannot go on, as its checkpoint is gone: delete {str(run.path)!r} and run it again"
        )
    training = Training(spec, data_dir)
    here = provenance(training.dataset.sha256)
    if not fresh and record.provenance and record.provenance[-1]["dataset"]["sha256"] != here["dataset"]["sha256"]:
        raise BadInput(
            f"run {run.id} began on other data than those in {training.dataset.source}: name the first with --data-dir"
        )
    run.claim()
    try:
        if run.exists() == fresh or (not fresh and run.read() != record):
            raise Busy(f"run {run.id} has just been changed by another process: see `harness show {run.id}`")
        if checkpoint is not None:
            training.load(checkpoint)
            run.cut_trace(record, checkpoint["trace"])
        else:
            run.restart_trace(record)
        record.status, record.reason, record.budget, record.overshoot = "running", None, budget.limits(), {}
        record.provenance.append(here)
        run.write(record)
        _follow(run, record, training, budget, watch)
    except OSError as error:
        raise StoreTrouble(
            f"{error.filename or run.path} cannot be written ({error.strerror}): make room or mend it, "
            f"then `harness resume {run.id}`"
        ) from error
    finally:
        run.release()
    return record


def _follow(run: Run, record: Record, training: Training, budget: Budget, watch: Watch | None) -> None:
    """Write down what training yields, until it ends, fails or is stopped."""

    def save(status: str, reason: str | None = None) -> None:
        record.status, record.reason = status, reason
        record.ledger = {**training.ledger.__dict__, **training.clocks.seconds()}
        run.save(record, training.checkpoint())

    saved = time.monotonic()
    with _signals() as caught:
        try:
            for event in training.rows(budget):
                if not isinstance(event, str):
                    run.append(record, event)
                    record.summary = event["estimates"]
                    record.ledger = event["ledger"]
                if watch is not None:
                    watch(training, event)
                if caught:
                    save("interrupted")
                    raise Interrupted(f"interrupted, nothing is lost: go on with `harness resume {run.id}`", caught[0])
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save("running")
                    saved = time.monotonic()
        except RunFailed as error:
            save("diverged" if isinstance(error, Diverged) else "failed", str(error))
            hint = ": try a smaller step size" if isinstance(error, Diverged) else ""
            raise type(error)(
                f"run {run.id} {record.status}: {error}{hint}; its rows: `harness show {run.id}`"
            ) from error
    spent = {**training.ledger.__dict__, **training.clocks.seconds()}
    record.overshoot = {name: spent[name] - limit for name, limit in budget.limits().items() if spent[name] >= limit}
    save("done")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of the first; a second one ends the process at once."""
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(signum)

    with on_signals(note):
        yield caught


@contextmanager
def on_signals(note: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM by `note`; in another thread than the main one, which cannot, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
