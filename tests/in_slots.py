"""What tests have the processes of slots do: in a module that these can import, wherever tests are started."""

import os
import time

from harness.runs.pool import Last
from harness.specs import named


def known_data(connection: object) -> Last:
    """Return the data files that this process knows."""
    return Last(named.data(), True)


def name_process(connection: object, wait: float = 0.0) -> Last:
    """Return the number of this process, after some seconds."""
    time.sleep(wait)
    return Last(os.getpid(), True)


def die(connection: object) -> Last:
    """End this process without a word."""
    os.kill(os.getpid(), 9)
    raise AssertionError
