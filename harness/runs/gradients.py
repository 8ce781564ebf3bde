"""How gradient estimators do on the model of a run: bias, variance and cost, at its parameters or along its training."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from harness.analysis.bias import bias, size
from harness.errors import BadInput
from harness.inference.protocols import LatentVariableModel
from harness.runs.code import code_version
from harness.runs.evaluate import Trained
from harness.runs.runner import Say, unheard
from harness.runs.stored_spec import stored_spec
from harness.specs import named, registry
from harness.specs.budget import Ledger
from harness.specs.horizon import up_to
from harness.specs.run import RunSpec, settings_of
from harness.training.gradients import GROUPS, LEAST_DRAWS, Bench, Draws, GradientEstimator, Measured, Reference
from harness.training.loop import Training
from harness.training.subject import Subject

ERROR_RATE = 0.01
"""How often a measurement may say of any of its estimators and parameters that it is biased, and none is."""
ROUNDING = 1e-5
"""Relative to the gradient: a smaller bias is one of single precision."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much is drawn, and where.

    Attributes:
        points: of the training set.
        draws: of each estimator.
        reference: draws of the unbiased estimate by which they are judged where the gradient is not exact.
        fit: steps in which baselines and the like are fitted first.
        seed: of all that is drawn.
    """

    points: int
    draws: int
    reference: int
    fit: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("draws", "reference"):
            if getattr(self, name) < LEAST_DRAWS:
                raise BadInput(
                    f"--{name} is {getattr(self, name)}: give a whole number from {LEAST_DRAWS}, as a variance and a bias are "
                    f"told by {GROUPS} groups of draws"
                )


def estimators(text: str, spec: RunSpec) -> list[GradientEstimator]:
    """Return the estimators that a text names, such as `nvil:baseline=none,vimco:K=10`.

    The algorithm of the run itself has the settings of the run where others are not given.

    Args:
        text: names, or paths of files, with commas between; settings behind them, each behind a colon.
        spec: the run.

    Raises:
        BadInput: one of them is unknown, or named twice, or has a setting that it cannot have.
    """
    found: dict[str, GradientEstimator] = {}
    for word in text.split(","):
        name, *given = word.strip().split(":")
        named.note(name)
        plugin = registry.get("algorithms", name)
        settings = {}
        for each in given:
            setting, equals, value = each.partition("=")
            if not equals or not setting:
                raise BadInput(
                    f"--estimators has {word.strip()!r}, and {each!r} is no setting: give it as name=value, such as "
                    "nvil:baseline=none"
                )
            settings[setting] = value
        own = spec.algorithm
        defaults = own.settings if (own.name, own.sha256) == (plugin.name, plugin.sha256) else {}
        complete = settings_of(plugin, settings, defaults)
        label = ":".join([plugin.name, *given])
        if label in found:
            raise BadInput(f"--estimators has {label!r} twice: name each once")
        found[label] = GradientEstimator(label, plugin, plugin.module.Config(**complete))
    return list(found.values())


def measure(trained: Trained, text: str, effort: Effort, say: Say = unheard) -> Row:
    """Measure estimators at the parameters of a stored run, add what was found to the run, and return it.

    Args:
        trained: the run.
        text: the estimators; see `estimators`.
        effort: how much is drawn.
        say: told what goes on.

    Raises:
        BadInput: the run has no recognition model, or an estimator cannot be used on it, with those that can.
    """
    bench, chosen = _bench(trained, text, effort)
    row = _row(trained, effort, trained.ledger, _measured(bench, chosen, effort, say), made_again=None)
    trained.run.append_gradients(row)
    return row


def along(
    trained: Trained, text: str, effort: Effort, per_decade: int, data_dir: str | None, say: Say = unheard
) -> list[Row]:
    """Make a run again from its specification, and measure estimators at marks on the way; raises as `measure`.

    The same specification gives the same parameters, bit for bit, where nothing has changed that numbers depend on. The last ones
    are compared with those of the checkpoint, and the rows say whether they are the same.

    Args:
        trained: the run, with its last parameters.
        text: the estimators.
        effort: how much is drawn at each mark.
        per_decade: marks in a factor of ten of samples, from the first mark of the run on.
        data_dir: the user's folder of data files.
        say: told what goes on.
    """
    bench, chosen = _bench(trained, text, effort)
    spec = stored_spec(trained.run, trained.run.read(), executes=("algorithms", "models", "datasets"))
    spec = _without_evaluation(spec, per_decade)
    training = Training(spec, data_dir)
    found: list[tuple[Mapping[str, Any], list[Row]]] = []
    for row in training.rows(up_to(spec.schedule, trained.ledger["samples"])):
        if isinstance(row, str):  # a tick
            continue
        _copy(training.subject, bench.subject)
        counters = {name: row["ledger"][name] for name in asdict(Ledger())}
        say(f"after {counters['samples']:,} samples")
        found.append((counters, _measured(bench, chosen, effort, say)))
    last = trained.checkpoint
    same = all(
        torch.equal(part.params.flat.detach().cpu(), last[name])
        for name, part in zip(("theta", "phi"), training.subject.parts, strict=True)
    )
    rows = [_row(trained, effort, *one, made_again="the same" if same else "another") for one in found]
    for one in rows:
        trained.run.append_gradients(one)
    return rows


def _bench(trained: Trained, text: str, effort: Effort) -> tuple[Bench, list[GradientEstimator]]:
    """Return where a run's estimators are measured, and these; BadInput if that cannot be."""
    subject, chosen = trained.subject, estimators(text, trained.spec)
    if subject.recognition is None or not isinstance(subject.model, LatentVariableModel):
        raise BadInput(
            f"run {trained.run.id} was trained by {trained.spec.algorithm.name} without a recognition model, so it has no bound "
            "whose gradient could be estimated: choose a run of another algorithm, see `harness algos`"
        )
    bench = Bench(subject, effort.points, effort.seed)
    for one in chosen:
        if reason := bench.refusal(one.plugin):
            others = [plugin for plugin in registry.listing("algorithms") if plugin.module is not None]
            can = [plugin.name for plugin in others if bench.refusal(plugin) is None]
            raise BadInput(
                f"the gradient of {one.plugin.name!r} cannot be measured on run {trained.run.id}: {reason}; "
                f"{', '.join(can) or 'that of no installed algorithm'} can"
            )
    return bench, chosen


def _without_evaluation(spec: RunSpec, per_decade: int) -> RunSpec:
    """Return the same training, with so many marks in a factor of ten of samples, at which nothing is evaluated."""
    changed = {"estimators": (), "keep": "last", "marks_per_decade": per_decade}
    evaluation = spec.evaluation.model_copy(update=changed)
    return spec.model_copy(update={"evaluation": evaluation, "average": None, "device": "cpu"})


@torch.no_grad()
def _copy(source: Subject, to: Subject) -> None:
    for one, other in zip(source.parts, to.parts, strict=True):
        other.params.flat.copy_(one.params.flat)


def _row(
    trained: Trained, effort: Effort, ledger: Mapping[str, Any], found: list[Row], *, made_again: str | None
) -> Row:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "code": code_version(),
        "ledger": dict(ledger),
        "weights": trained.weights,
        "made_again": made_again,
        **asdict(effort),
        "estimators": found,
    }


def _measured(bench: Bench, chosen: Sequence[GradientEstimator], effort: Effort, say: Say) -> list[Row]:
    """Return what is found of each estimator, as plain data."""
    references: dict[int, Reference] = {}
    rows: list[Row] = []
    for one in chosen:
        if one.bound_of not in references:
            say(f"the gradient of {bound_in_words(one.bound_of)}")
            references[one.bound_of] = bench.reference(one.bound_of, effort.reference)
        say(f"{one.label}: {effort.draws:,} draws")
        rows.append(_found(one, bench, bench.measure(one, effort.draws, effort.fit), references[one.bound_of]))
    tests = sum(len(row["blocks"]) for row in rows)
    for block in (block for row in rows for block in row["blocks"]):
        block["biased"] = block["p"] <= ERROR_RATE / tests and block["bias"] > ROUNDING * block["norm"]
    return rows


def bound_in_words(K: int) -> str:
    """Return what the bound L_K is called."""
    return "the lower bound" if K == 1 else f"the bound of {K} samples"


def _found(one: GradientEstimator, bench: Bench, drawn: Measured, reference: Reference) -> Row:
    """Return what was found of one estimator."""
    found: list[Row] = []
    means, variances = drawn.draws.means(), drawn.draws.variances()
    off = means - reference.means
    for number, block in enumerate(bench.blocks):
        own = slice(block.begin, block.end)
        exact = reference.means[:, own]
        known = bias((off[:, own] @ off[:, own].T).numpy())
        norm = exact[0].norm().item() if reference.exact else size((exact @ exact.T).numpy())
        variance = variances[:, number]
        found.append(
            {
                "part": block.part,
                "name": block.name,
                "parameters": block.end - block.begin,
                "norm": norm,
                "bias": known.size,
                "bias_limit": known.limit,
                "p": known.p,
                "biased": False,
                "variance": variance.mean().item(),
                "se": (variance.std() / GROUPS**0.5).item(),
                "scale": drawn.scale[number],
            }
        )
    plugin = one.plugin
    return {
        "estimator": one.label,
        "algorithm": plugin.name,
        "settings": one.config.model_dump(mode="json"),
        "file": plugin.file,
        "sha256": plugin.sha256,
        "K": one.bound_of,
        **_bound(drawn.draws),
        "reference": {
            "exact": reference.exact,
            "bound": reference.values.mean().item(),
            "bound_se": 0.0 if reference.exact else (reference.values.std() / GROUPS**0.5).item(),
        },
        "samples": drawn.samples,
        "cpu_seconds": drawn.cpu_seconds,
        "fitted": drawn.fitted,
        "blocks": found,
    }


def _bound(draws: Draws) -> dict[str, float]:
    values = draws.values()
    return {"bound": values.mean().item(), "bound_se": (values.std() / GROUPS**0.5).item()}
