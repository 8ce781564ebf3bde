"""Named errors, each with its exit code; the command line turns one into one sentence.

A message says what is wrong, the value received, the valid choices and the next command.
"""

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose."""

    exit_code = 1


class BadInput(HarnessError):
    """Something given by the user cannot be used; nothing was written."""

    exit_code = 2


class Busy(BadInput):
    """Another process is writing this run, or has just written it: look again later."""


class RunFailed(HarnessError):
    """A run ended without a result; its rows are kept."""

    exit_code = 3


class Diverged(RunFailed):
    """What a step reports, or a bound, left the range of any sane value; the rows up to there are kept."""


class OutOfMemory(RunFailed):
    """An estimator needs more memory than there is; what it was to evaluate is as it was."""


class StoreTrouble(RunFailed):
    """The store could not be written in the middle of a run, as where a disk is full; another run would fare no better."""


class Interrupted(HarnessError):
    """A signal stopped a run after it had written a checkpoint (exit code 128 + signal)."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_code = 128 + signum


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the nearest of `choices`, or an empty string."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
