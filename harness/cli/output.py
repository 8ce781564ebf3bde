"""What commands print besides tables: JSON for programs, and sentences on standard error."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

from harness.errors import in_one_line
from harness.safe_text import json_text, show, show_exactly


class _Stream(io.TextIOWrapper):
    """A standard stream that leads nowhere once its reader or its terminal is gone."""

    def __init__(self, stream: io.TextIOWrapper):
        super().__init__(
            stream.buffer, stream.encoding, "backslashreplace",
            line_buffering=stream.line_buffering, write_through=stream.write_through,
        )  # fmt: skip
        self._former = stream  # which would close the file with it

    def write(self, text: str) -> int:
        with self._going_on():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._going_on():
            super().flush()

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def survive_lost_readers() -> None:
    """Let commands go on, to the exit code that is their own, when nobody reads what they print any more.

    File names and stored words may be what a stream cannot encode: these are written with backslashes.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _Stream(stream))
        elif isinstance(stream, io.TextIOWrapper):  # another's, such as a test's
            stream.reconfigure(errors="backslashreplace")


def say(words: str) -> None:
    """Print a sentence on standard error, as one line, if that is still there: a terminal can be lost."""
    with contextlib.suppress(OSError):
        show(f"harness: {in_one_line(words)}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print plain data as JSON on several lines; numbers that JSON does not have are written as `harness.files` writes them."""
    import json  # here, as it is slow to import

    from harness.files import to_json

    show_exactly(json_text(json.dumps(json.loads(to_json(value)), indent=2, ensure_ascii=False)))
