"""Signals that stop a run, and steps that take too long."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that the end of a command can name SIGNALS without PyTorch
    from harness.specs.budget import Budget
    from harness.training.loop import Training

PATIENCE_SECONDS = 5.0  # with a step, or an evaluation, when a signal has come

SAME_SIGNAL_SECONDS = 2.0  # in which another signal is the same one, sent twice

HANGING_SECONDS = 60.0  # a step may take beyond a budget of wall time, or as long again as that budget


class Stopped(BaseException):
    """Ends a step or an evaluation where it is."""


@contextmanager
def stopping_signals(training: "Training", budget: "Budget") -> Iterator[list[int]]:
    """Collect signals instead of dying of the first, and end what takes too long by `_Stopped`; a later one ends the process.

    One that comes with the first is the same: batch systems signal every process of a job, and a sweep passes signals on.

    An evaluation, which can be done again, is ended by the first signal. A step is waited for, so that the state is whole; one
    that takes longer than is allowed, after a signal or after the budget of wall time, is given up.
    """
    caught: list[int] = []
    first, stopped, over = 0.0, False, False
    limit = math.inf if budget.wall_seconds is None else budget.wall_seconds + max(HANGING_SECONDS, budget.wall_seconds)
    alarm = getattr(signal, "setitimer", None)

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise Stopped

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if caught:
            if time.monotonic() - first > SAME_SIGNAL_SECONDS:
                raise KeyboardInterrupt
            return
        first = time.monotonic()
        caught.append(signum)
        training.stopping = True
        if training.clocks.phase == "evaluation":
            stop()
        elif alarm is not None and not over:
            alarm(signal.ITIMER_REAL, PATIENCE_SECONDS, 1.0)

    def look(signum: int, frame: FrameType | None) -> None:
        phase = training.clocks.phase
        if (caught and phase in ("training", "evaluation")) or (phase == "training" and training.clocks.wall() > limit):
            stop()

    with on_signals(note):
        if threading.current_thread() is not threading.main_thread():
            alarm = None
        if alarm is not None:
            before = signal.signal(signal.SIGALRM, look)
            if limit < math.inf:
                alarm(signal.ITIMER_REAL, HANGING_SECONDS, 1.0)
        try:
            yield caught
        finally:
            over = True
            if alarm is not None:
                alarm(signal.ITIMER_REAL, 0.0)
                signal.signal(signal.SIGALRM, before)


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
"""What stops a run: Ctrl-C, the end of a session, what batch systems send before they take a machine away, a lost terminal."""


@contextmanager
def on_signals(note: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle `SIGNALS` by `note`; in another thread than the main one, which cannot, do nothing.

    Under `nohup` the loss of the terminal is ignored, and stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hangup = getattr(signal, "SIGHUP", None)
    ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
    before = {signum: signal.signal(signum, note) for signum in SIGNALS if not (ignored and signum == hangup)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
