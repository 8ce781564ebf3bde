"""Named errors, each with its exit code; the command line turns one into one sentence.

A message says what is wrong, the value received, the valid choices and the next command.
"""

import re
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


class PluginFailed(RunFailed):
    """The code of a plugin raised an error.

    Attributes:
        traceback: of that error, as Python prints it.
    """

    def __init__(self, message: str, traceback: str):
        super().__init__(message)
        self.traceback = traceback


class OutOfMemory(RunFailed):
    """An estimator needs more memory than there is; what it was to evaluate is as it was."""


class StoreTrouble(RunFailed):
    """The store could not be written in the middle of a run, as where a disk is full; another run would fare no better."""


class Interrupted(HarnessError):
    """A signal stopped a run after it had written a checkpoint (exit code 128 + signal)."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_code = 128 + signum


def in_one_line(text: str) -> str:
    """Return a message as one line that a terminal shows as it is: escaped where it is no text, cut where it is without end."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    text = re.sub(r"\S{300,}", lambda word: f"{word[0][:150]}…{word[0][-100:]}", text)
    return text if len(text) <= 2000 else f"{text[:1200]} … {text[-700:]}"


def out_of_memory(error: Exception) -> bool:
    """Say whether an error is Python's, NumPy's or PyTorch's way to tell of sizes for which there is no memory."""
    words = "allocate memory|calculation overflowed|multiplication overflow|Overflow when unpacking"
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or bool(re.search(words, str(error)))


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the nearest of `choices`, or an empty string."""
    import difflib  # here, as it is slow to import

    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
