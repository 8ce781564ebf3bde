"""Budgets of runs whose step size goes down to 0: what they may spend ends at the horizon of the schedule."""

from dataclasses import replace

from harness.errors import BadInput
from harness.specs.budget import Budget
from harness.specs.schedule import StepSchedule


def horizon_of(schedule: str) -> int | None:
    """Return the samples after which the step size of a schedule is 0, None of a constant one; BadInput if it is none."""
    try:
        return StepSchedule.parse(schedule).horizon
    except ValueError as error:
        raise BadInput(f"--schedule is {schedule!r}: {error}") from None


def within(schedule: str, budget: Budget) -> Budget:
    """Return the budget of a run of this schedule: one that does not limit samples ends at the horizon at the latest.

    Raises:
        BadInput: it asks for samples beyond the horizon, where nothing is learned.
    """
    horizon = horizon_of(schedule)
    if horizon is None:
        return budget
    if budget.samples is None:
        return replace(budget, samples=horizon)
    if budget.samples > horizon:
        raise BadInput(
            f"--samples is {budget.samples:,}, and --schedule {schedule} has brought the step size down to 0 after "
            f"{horizon:,}: give --samples {horizon} or fewer, or start a run with another --schedule"
        )
    return budget


def up_to(schedule: str, samples: int) -> Budget:
    """Return the budget of so many samples, or of those up to the horizon of a schedule if these are fewer."""
    horizon = horizon_of(schedule)
    return Budget(samples=samples if horizon is None else min(samples, horizon))
