"""What several test modules share."""

import os
from pathlib import Path
from typing import NamedTuple

PLUGINS = Path(__file__).parent / "plugins"


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    """Return the environment for a subprocess."""
    return {**os.environ, **extra}
