"""The options of a run, written down once: the command line, experiments, `make_spec` and the selection of stored runs use it.

Neither click nor pydantic is imported here, as `harness --help` does without pydantic and experiments do without click. Named
tuples take a quarter of the time of frozen dataclasses to define.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.errors import BadInput
from harness.specs.values import Choice, PluginName, PositiveNumber, Schedule, Value, WholeNumber, Words

Options = dict[str, Any]
"""Options of a run by name, as `harness run` would be given them."""


class Option(NamedTuple):
    """An option of a run.

    Attributes:
        name: how it is called on the command line, without dashes, and in experiments.
        field: what `make_spec` calls it, with a dot where it is part of a larger argument; of a budget's, what `Budget` calls it.
        value: what it may be.
        help: one line about it.
        default: its value where none is given; None where it is left out.
        required: whether it must be given.
        alone: its value where it is given without one; None where that is an error.
        stored: whether a stored run's specification has it under `field`, so that runs can be selected by it.
    """

    name: str
    field: str
    value: Value
    help: str
    default: int | str | None = None
    required: bool = False
    alone: str | None = None
    stored: bool = False

    def read(self, given: object) -> Any:
        """Return the value that was given; BadInput with one sentence if it is not allowed."""
        return read(f"--{self.name}", self.value, given)


def read(option: str, value: Value, given: object) -> Any:
    """Return what was given for an option, as a value of this kind; BadInput with one sentence if it is not allowed."""
    try:
        return value.read(given)
    except ValueError as error:
        raise BadInput(f"{option} is {given!r}: {error}") from None


OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(
            "algo", "algorithm", PluginName("algorithms"), "Algorithm, by name or as a .py file.", required=True, stored=True
        ),
        Option("model", "model", PluginName("models"), "Model, by name or as a .py file.", "mlp", stored=True),
        Option(
            "dataset", "dataset", PluginName("datasets"), "Dataset, by name, as a .py file, or data by path.", "mnist",
            stored=True,
        ),
        Option("n-train", "n_train", WholeNumber(), "Use the first N training points [all].", stored=True),
        Option("seed", "seed", WholeNumber(0, 2**63 - 1), "Fixes every random stream.", 0, stored=True),
        Option("threads", "threads", WholeNumber(1, 1024), "Threads of PyTorch.", 1, stored=True),
        Option("device", "device", Choice(("cpu", "cuda")), "Where model and data are kept.", "cpu", stored=True),
        Option(
            "schedule", "schedule", Schedule(),
            "Factor of the step size: constant, linear or cosine down to 0 at so many samples, such as linear:1e7; "
            "linear:1e7:0.6 begins after 60 % of them.", "constant", stored=True,
        ),
        Option(
            "average", "average", WholeNumber(0, such_as="6e6"),
            "Also evaluate the mean of the parameters over the steps after N samples (Polyak averaging).", stored=True,
        ),
        Option(
            "eval-points", "points", WholeNumber(0),
            "Points of each split for the lower bound at every mark; 0: only at the end.", 2000,
        ),
        Option("final-points", "final_points", WholeNumber(), "The same at the end of the run.", 10_000),
        Option(
            "marginal", "marginal", PluginName("estimators"),
            "Also estimate log p(x) at every mark, by this estimator [hmc-density].", alone="hmc-density",
        ),
        Option("final-marginal", "final_marginal", PluginName("estimators"), "Also estimate log p(x) at the end of the run."),
        Option("marginal-points", "marginal_points", WholeNumber(), "Points of each split for both.", 1000),
        Option("first-mark", "evaluation.first_mark", WholeNumber(), "Samples at the first mark.", 10_000),
        Option(
            "splits", "evaluation.splits", Words(("train", "valid", "test")), "Splits that are evaluated [train,test].",
        ),
        Option(
            "keep", "evaluation.keep", Choice(("last", "best-valid")),
            "Keep the last parameters alone, or those of the mark that is best on the validation split, too.", "last",
        ),
        Option(
            "marks-per-decade", "evaluation.marks_per_decade", WholeNumber(1, 1000), "Marks in every decade of samples.", 10
        ),
    )
}  # fmt: skip
"""Options that decide what a run computes, by name; the settings of plugins are further ones."""

BUDGETS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("samples", "samples", WholeNumber(such_as="1e6"), "End after N samples, such as 1e6."),
        Option(
            "datapoints", "datapoints", WholeNumber(such_as="1e6"),
            "End after N training points were presented in minibatches.",
        ),
        Option(
            "cpu-seconds", "cpu_seconds", PositiveNumber("a positive number of seconds, such as 600", "SECONDS"),
            "End after this CPU time of training.",
        ),
        Option(
            "wall-seconds", "wall_seconds", PositiveNumber("a positive number of seconds, such as 600", "SECONDS"),
            "End after this wall time of training.",
        ),
    )
}  # fmt: skip
"""Options that end a run, by name."""

STORED = tuple(option.name for option in OPTIONS.values() if option.stored)
"""Options that every stored run has, so that runs can be selected by them."""


def arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `make_spec` is to be called with for these options; what is neither here nor in `OPTIONS` is left out."""
    return {option.field.rpartition(".")[2]: options[name] for name, option in OPTIONS.items() if name in options}
