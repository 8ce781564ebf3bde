"""The parts of an experiment file besides its runs: how settings are tuned, the figure and the table."""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol, Self

import pydantic

from harness.specs import registry
from harness.specs.budget import COUNTERS
from harness.specs.options import BUDGETS
from harness.specs.toml import Part
from harness.specs.where import Where

MOST_PANELS = 100  # of a row of its figure

Value = str | int | float | bool


def known_estimator(name: str | None) -> str | None:
    """Return the name of an estimator; ValueError if there is none."""
    names = registry.names("estimators")
    if name is not None and name not in names:
        raise ValueError(f"choose one of {', '.join(names)}")
    return name


class TuneRule(Part):
    """How settings that are "tuned" are chosen; see `harness.runs.tune`.

    Attributes:
        samples: budget of a trial; None where it is given in `datapoints` alone.
        datapoints: the same in training points presented; of both, the one that is reached first ends the trial.
        seeds: every setting is tried with each of these.
        trials: how many settings are tried, where not all of a few.
        estimator: whose training-set estimate decides; by default the lower bound, and hmc-density where there is none.
        override: options of `harness run` that trials have instead of the runs' own, such as a smaller training set.
        choices: values to try of settings, by algorithm and setting, instead of what the algorithm's Config declares.
    """

    samples: float | None = 20_000
    datapoints: float | None = None
    seeds: tuple[int, ...] = pydantic.Field((0,), min_length=1)
    trials: int | None = pydantic.Field(None, gt=0)
    estimator: str | None = None
    override: dict[str, Value] = pydantic.Field({})
    choices: dict[str, dict[str, Annotated[tuple[Value, ...], pydantic.Field(min_length=1)]]] = pydantic.Field({})

    @pydantic.model_validator(mode="before")
    @classmethod
    def _in_datapoints_alone(cls, given: Any) -> Any:
        return {"samples": None, **given} if isinstance(given, dict) and given.get("datapoints") is not None else given

    @pydantic.model_serializer(mode="wrap")
    def _as_before(self, dump: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was added later where it has its default: studies keep their ids."""
        added: dict[str, Any] = {"datapoints": None, "choices": {}}
        return {name: value for name, value in dump(self).items() if name not in added or value != added[name]}

    @pydantic.field_validator("samples", "datapoints")
    @classmethod
    def _whole(cls, limit: float | None, about: pydantic.ValidationInfo) -> float | None:
        if limit is not None:
            BUDGETS[str(about.field_name)].value.read(limit)
        return limit

    @property
    def limits(self) -> dict[str, int]:
        """What a trial may spend with each seed, by counter."""
        given = {"samples": self.samples, "datapoints": self.datapoints}
        return {name: int(limit) for name, limit in given.items() if limit is not None}

    @pydantic.field_validator("estimator")
    @classmethod
    def _known(cls, estimator: str | None) -> str | None:
        return known_estimator(estimator)

    @pydantic.field_validator("override")
    @classmethod
    def _of_trials(cls, override: dict[str, Value]) -> dict[str, Value]:
        for name in ("seed", *BUDGETS):
            if name in override:
                raise ValueError(f"{name} has a key of its own in [tune]: seeds, samples or datapoints")
        return override


class Choices(Part):
    """Several selections of runs, one for each combination of the values in `over`.

    Attributes:
        where: options that all runs have.
        over: options by which selections differ, with their values.
        title: of a selection, with {option} for its values.
        reference: the published panel that it is compared with, with {option} for its values.
    """

    where: dict[str, Value] = pydantic.Field({})
    over: dict[str, list[Value | None]] = pydantic.Field({})
    title: str | None = None
    reference: str | None = None

    @pydantic.model_validator(mode="after")
    def _sound(self) -> Self:
        for name, values in self.over.items():
            if not values:
                raise ValueError(f"{name} of over has no values")
        if (panels := math.prod(map(len, self.over.values()))) > MOST_PANELS:
            raise ValueError(f"over makes {panels:,} panels of this row: give values for {MOST_PANELS} or fewer")
        for what, text in (("title", self.title), ("reference", self.reference)):
            try:
                (text or "").format(**next(self.panels()))
            except (LookupError, ValueError) as error:
                known = ", ".join(f"{{{name}}}" for name in self.where | self.over) or "nothing"
                raise ValueError(
                    f"{what} cannot be filled in ({error!r}): it may have {known}, and {{{{ for a brace"
                ) from None
        return self

    def panels(self) -> Iterator[Where]:
        """Yield the options that the runs of each selection have."""
        for values in itertools.product(*self.over.values()):
            yield self.where | dict(zip(self.over, values, strict=True))


class PanelRow(Choices):
    """A row of panels.

    Attributes:
        x_limits: of the x axis in its own unit, where x is the recipe's.
        y_limits: of the y axis, nats.
    """

    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None


class FigureRecipe(Part):
    """What is compared of an experiment, and how `harness plot` draws it.

    Attributes:
        estimator: whose estimates are compared; by default one that all runs have, and if there is none each run's own.
        compare: options whose values are compared in a panel: a curve, a colour and a row of the table for each combination.
        differ: more options in which curves of a panel may differ, where each has a recipe of its own; its seeds differ in none.
        panels: options by which panels differ; by default data set, nz, n-train, and others by which the grids tell apart runs
            that are not compared.
        end_estimator: an estimator of the last row of a run, drawn as a mark near the curve's end.
        x: counter on the x axis.
        scale: of the x axis.
        splits: whose estimates are drawn; one alone is drawn solid.
        rows: rows of panels.
        reference: which figure of the published curves.
    """

    estimator: str | None = None
    compare: tuple[str, ...] = pydantic.Field(("algo",), min_length=1)
    differ: tuple[str, ...] = ()
    panels: tuple[str, ...] | None = None
    end_estimator: str | None = pydantic.Field(None, alias="beside")
    x: str = "samples"
    scale: str = pydantic.Field("log", pattern="^(log|linear)$")
    splits: tuple[Literal["train", "valid", "test"], ...] = pydantic.Field(("train", "test"), min_length=1)
    rows: tuple[PanelRow, ...] = pydantic.Field((), alias="row")
    reference: str | None = None

    @pydantic.field_validator("compare", mode="before")
    @classmethod
    def _listed(cls, compare: Any) -> Any:
        return [compare] if isinstance(compare, str) else compare

    @pydantic.model_validator(mode="after")
    def _apart(self) -> "FigureRecipe":
        if both := sorted(set(self.compare) & set(self.panels or ())):
            raise ValueError(
                f"panels cannot differ by {both[0]}, which is compared in each: take it out of one of the two"
            )
        return self

    @pydantic.field_validator("estimator", "end_estimator")
    @classmethod
    def _known(cls, estimator: str | None) -> str | None:
        return known_estimator(estimator)

    @pydantic.field_validator("x")
    @classmethod
    def _counter(cls, x: str) -> str:
        if x not in COUNTERS:
            raise ValueError(f"choose one of {', '.join(COUNTERS)}")
        return x


class ModelRow(Choices):
    """Rows of a table of models; see `harness.analysis.standings`.

    The runs of each differ in seed and algorithm alone, and each algorithm has a line.

    Attributes:
        title: how a model is called.
        estimator: whose estimate of log p(x) is shown, where its runs have several that are exact or lie on one side.
        against: whether the published value is of log p(x) or a lower bound.
    """

    title: str = pydantic.Field(min_length=1)
    estimator: str | None = None
    against: Literal["log-p", "bound"] = "log-p"

    @pydantic.field_validator("estimator")
    @classmethod
    def _known(cls, estimator: str | None) -> str | None:
        return known_estimator(estimator)


class TableRecipe(Part):
    """What `harness table` shows of an experiment unless told otherwise.

    Attributes:
        at: samples at which curves are compared, "end" for the end of each run, or "best-valid" for its best mark.
        targets: estimates (nats, test set) whose cost is told.
        rows: models, where the table is one of models and not of the panels of the figure.
        reference: which figure of the published values these are compared with.
    """

    at: tuple[float | Literal["end", "best-valid"], ...] = ()
    targets: tuple[float, ...] = ()
    rows: tuple[ModelRow, ...] = pydantic.Field((), alias="row")
    reference: str | None = None


class Compared(Protocol):
    """What says how runs are compared: an experiment, or for runs of none what is found in them.

    Attributes:
        name: of its group in the store.
        called: as the user has called it.
        title: what it is about.
        figure: what is compared, and how it is drawn.
        table: at which marks.
    """

    name: str
    called: str
    title: str
    figure: FigureRecipe
    table: TableRecipe

    @property
    def varying(self) -> list[str]:
        """The options that differ between its runs, in its order."""

    @property
    def curves(self) -> list[str]:
        """What it compares in each panel, in its order."""

    def asked_for(self, where: Where) -> set[tuple[str, int]]:
        """Return curve and seed of every run that it asks for with these options."""
