"""What the fault tests share: how much of each is tried, and the table of what was."""

import signal
from collections.abc import Callable

import pytest
from faulty import Survived

if hasattr(signal, "SIGHUP"):  # which `nohup` has ignored by all that is started from here
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def survived(record_property: Callable[[str, object], None]) -> Survived:
    """Enter a line into the table of faults, and fail unless all of them were survived: `survived(fault, tried, survived)`."""

    def enter(fault: str, tried: int, survived: int) -> None:
        record_property("fault", (fault, tried, survived))
        assert tried > 0
        assert survived == tried, f"{fault}: {survived} of {tried} survived"

    return enter
