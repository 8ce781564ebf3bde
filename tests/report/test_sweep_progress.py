"""What a sweep prints of its runs where there is no terminal."""

import pytest

from harness.report.progress import SweepProgress
from harness.runs.jobs import Job, Outcome
from harness.runs.sweep import Planned
from harness.specs.budget import Budget
from harness.specs.run import make_spec


def test_a_run_that_is_wanted_twice_is_counted_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """As when tuning asks for the same settings again."""
    job, other = (Job(make_spec("aevb", seed=seed), Budget(samples=10), "mine") for seed in (0, 1))
    planned = [Planned(other, "done", 10, None, None), *(Planned(job, "new", 0, 1.0, None) for _ in range(2))]
    with SweepProgress(planned, 2) as show:
        show([Outcome(job, "done", None)] * 2, {})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["[2/3]", "[3/3]"]
