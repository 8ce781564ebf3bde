"""What commands print besides tables: JSON for programs, and sentences on standard error."""

import contextlib
import json
import sys

from harness.errors import in_one_line
from harness.safe_text import json_text, show, show_exactly


def say(words: str) -> None:
    """Print a sentence on standard error, as one line, if that is still there: a terminal can be lost."""
    with contextlib.suppress(OSError):
        show(f"harness: {in_one_line(words)}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print plain data as JSON on several lines; numbers that JSON does not have are written as `harness.files` writes them."""
    from harness.files import to_json

    show_exactly(json_text(json.dumps(json.loads(to_json(value)), indent=2, ensure_ascii=False)))
