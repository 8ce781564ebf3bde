"""What must hold for every sound run, and needs its checkpoint or a moment of training: for `harness check --run`.

`importance`     the bound by sampling alone is the lower bound, and with more samples K the importance-weighted one does not
                 fall (Burda, Grosse & Salakhutdinov 2016, arXiv 1509.00519, theorem 1)
`resume`         a run that is stopped and resumed is the uninterrupted one, bit for bit
`fresh-fantasies`   the recognition model learns from fantasies of the current generative model
`stationary`     the width of the recognition model maximises the bound: see `_stationary`
"""

import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import api
from harness.analysis import losses
from harness.analysis.statistics import mean
from harness.analysis.stored_run import StoredRun
from harness.claims.evidence import Evidence, Says
from harness.claims.file import Invariant
from harness.claims.invariants import ERRORS, Found, Runs, Verdicts
from harness.runs.evaluate import Trained
from harness.runs.inputs import loading
from harness.runs.runner import ensure
from harness.specs.budget import Budget
from harness.specs.horizon import up_to
from harness.specs.run import RunSpec
from harness.store.checkpoint import digest
from harness.store.run import Run
from harness.store.store import Store
from harness.training.evaluation import chosen_points
from harness.training.loop import Training

SAMPLES = (4, 64)  # of importance-weighted bounds

BOUND_DRAWS = 50  # of the recognition model, a point

DRAWS = 10  # the same for a pull

PATH = 200  # steps over which a pull is averaged

STEPS = 12  # of the short runs


def bounds(evidence: Evidence, run: StoredRun) -> list[dict[str, Any]]:
    """Return lower bounds over the points of those of a run's last estimates that are no lower bounds."""
    places = {(e["split"], e["points"]) for e in run.rows[-1]["estimates"] if e["direction"] != "lower"}
    trained = Trained(run.on_disk, evidence.data_dir)
    if trained.subject.recognition is None:
        return []
    return [
        trained.estimate(name, split, points, settings, keep=False)[0].row()
        for split, points in sorted(places)
        for name, settings in (("lower-bound", {}), ("importance", {"K": SAMPLES[-1]}))
    ]


def _importance(claim: Invariant, evidence: Evidence, runs: Runs) -> Verdicts:
    tolerance = 0.05 if claim.tolerance is None else claim.tolerance
    trained = Trained(runs[0].on_disk, evidence.data_dir)
    model, q = trained.subject.model, trained.subject.recognition
    if q is None or not isinstance(model, api.LatentVariableModel):
        yield "", Found(None, None, "", "fails", "its runs have no recognition model to propose with")
        return
    bound = trained.estimate("lower-bound", "test", claim.points, {"n_samples": BOUND_DRAWS}, keep=False)[1]
    x = chosen_points(trained.subject.dataset, "test", claim.points)
    with torch.no_grad():
        posterior = q.posterior(x)
        z = posterior.sample(BOUND_DRAWS, torch.Generator().manual_seed(0))
        sampled = (model.log_p_xz(x, z) - posterior.log_prob(z)).double().mean(0)
    rungs = [("lower-bound", bound), ("K=1", sampled)]
    for k in SAMPLES:
        rungs.append((f"K={k}", trained.estimate("importance", "test", claim.points, {"K": k}, keep=False)[1]))
    why = f"{claim.points} test points of {runs[0].id}"
    for (below, low), (above, high) in itertools.pairwise(rungs):
        both = below == "lower-bound"  # two estimates of the same, so neither may be above
        required, about = f"within {tolerance:g} of 0" if both else f"≥ -{tolerance:g}", f", {above} minus {below}"
        if not (high - low).isfinite().all():
            yield about, Found(None, None, required, "fails", "it is not finite")
            continue
        rise = mean((high - low).tolist())
        off = abs(rise.mean) if both else -rise.mean
        says: Says = "fails" if off - ERRORS * (rise.error or 0.0) > tolerance else "holds"
        yield about, Found(rise.mean, rise.error, required, says, why)


def _resume(claim: Invariant, evidence: Evidence, runs: Runs) -> Verdicts:
    def ended(run: Run) -> tuple[str, list[Any]]:
        """Return what a run's state and its rows at marks are, times and ends aside."""
        state = run.checkpoint() or {}
        rows = [{**row, "end": None, "ledger": _without_seconds(row["ledger"])} for row in run.rows() if row["marks"]]
        return digest({name: state[name] for name in ("theta", "phi", "algorithm", "rng", "ledger", "info")}), rows

    spec = _short(RunSpec.model_validate(runs[0].spec))
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Store(Path(folder) / "whole"), Store(Path(folder) / "parts")
        step = ensure(parts, spec, Budget(samples=1), data_dir=evidence.data_dir).ledger["samples"]
        for steps in (STEPS // 3, STEPS):
            ensure(parts, spec, up_to(spec.schedule, int(steps * step)), data_dir=evidence.data_dir)
        ensure(whole, spec, up_to(spec.schedule, int(STEPS * step)), data_dir=evidence.data_dir)
        alike = ended(whole.run(spec.run_id)) == ended(parts.run(spec.run_id))
    why = f"{STEPS} steps at once, and stopped twice: " + ("the same bit for bit" if alike else "not the same")
    yield "", Found(None, None, "the same bits", "holds" if alike else "fails", why)


def _fresh_fantasies(claim: Invariant, evidence: Evidence, runs: Runs) -> Verdicts:
    spec = RunSpec.model_validate(runs[0].spec)
    settings = dict(spec.algorithm.settings)
    if "warmup" in settings:
        settings["warmup"] = 0  # in which no parameter moves
    spec = _short(spec.model_copy(update={"algorithm": spec.algorithm.model_copy(update={"settings": settings})}))
    training = Training(spec, evidence.data_dir)
    fantasies = _Fantasies(training)
    for _ in range(STEPS):
        training.step()
    if not fantasies.used:
        why = "no fantasy was handed to the recognition model" if fantasies.drawn else "no fantasy was drawn"
        yield "", Found(None, None, "0 stale", "fails", f"{why} in {STEPS} steps")
        return
    why = f"of {fantasies.used} batches of fantasies in {STEPS} steps"
    yield "", Found(float(fantasies.stale), None, "0 stale", "fails" if fantasies.stale else "holds", why)


class _Fantasies:
    """Watches fantasies on their way from the generative model to the recognition model.

    Attributes:
        drawn: batches of them that were drawn.
        used: batches that the recognition model was given.
        stale: of those, how many the generative model would not draw any more, as its parameters had changed.
    """

    def __init__(self, training: Any):
        self.drawn = self.used = self.stale = 0
        model, q = training.problem.model, training.problem.recognition
        flat, sample = model.params.flat, model.sample_xz
        versions: dict[int, tuple[Any, int]] = {}

        def drawing(*args: Any, **kwargs: Any) -> Any:
            out = sample(*args, **kwargs)
            versions[out[0].data_ptr()] = out[0], flat._version  # the tensor is held, so that its place stays its own
            self.drawn += 1
            return out

        model.sample_xz = drawing
        if q is None:
            return
        posterior = q.posterior

        def inferring(x: Any, *args: Any, **kwargs: Any) -> Any:
            if x.data_ptr() in versions:
                self.used += 1
                self.stale += versions[x.data_ptr()][1] != flat._version
            return posterior(x, *args, **kwargs)

        q.posterior = inferring


def _stationary(claim: Invariant, evidence: Evidence, runs: Runs) -> Verdicts:
    """Yield how strongly the density pulls on the recognition model's width; 1 is right.

    Let z = μ + s (ζ - μ), ζ ~ q(z|x). The bound's derivative by log s at s = 1 is E_q[(z - μ)·∇ log p(x, z)] + dim z, as the
    entropy of q grows by dim z. A recognition model that ascends the bound and can change its width as a whole makes the mean of
    that over training points vanish, so that -E[(z - μ)·∇ log p(x, z)] / dim z is 1. A KL with weight w makes it w where q is
    narrow, and noise that is c times too wide 1/c². For μ stands another draw, which is independent of z and has this mean.
    A single state is off by the noise of its last steps, so the mean is over many steps of training that goes on from there.
    """
    tolerance = 0.06 if claim.tolerance is None else claim.tolerance
    if len(runs) < 2:
        raise evidence.refusal(claim, f"{runs[0].id} is one seed alone, and an interval needs two")
    found = []
    for run in runs:
        trained = Trained(run.on_disk, evidence.data_dir)
        if trained.subject.recognition is None:
            raise evidence.refusal(claim, f"{run.id} has no recognition model to be stationary")
        training = Training(RunSpec.model_validate(run.spec), evidence.data_dir)
        with loading(run.on_disk, trained.checkpoint):
            training.load(trained.checkpoint)
        model, recognition = training.model, training.recognition
        assert isinstance(model, api.LatentVariableModel)
        assert recognition is not None
        rng, pulls = torch.Generator().manual_seed(0), []
        for _ in range(PATH):
            x = training._batch().x
            with torch.no_grad():
                posterior = recognition.posterior(x)
                z, other = posterior.sample(DRAWS, rng), posterior.sample(DRAWS, rng)
            slope = api.hmc.joint(model, x).gradient(z)
            pulls.append(-((z - other) * slope).sum(-1).mean().item() / z.shape[-1])
            training.step()
        found.append(statistics.fmean(pulls))
    required, why = f"within {tolerance:g} of 1", f"mean over the next {PATH} steps of {len(found)} runs"
    if not all(map(math.isfinite, found)):
        yield "", Found(None, None, required, "fails", "it is not finite")
        return
    yield "", _off_the_optimum(found, tolerance, [run.seed for run in runs], required, why)


def _off_the_optimum(pulls: Sequence[float], tolerance: float, seeds: Sequence[int], required: str, why: str) -> Found:
    """Judge pulls of several seeds, which are 1 at the optimum: their mean, and each that stands apart from the others.

    The two tests share the level, one part in ten for seeds apart.
    """
    pull, values = mean(pulls), np.array(pulls)
    off = abs(pull.mean - 1.0)
    says: Says = "holds" if off <= tolerance else "cannot tell"
    by_mean = pull._replace(mean=off - tolerance).p_above / 0.9
    each = np.minimum(losses.below(values, 1 - tolerance), losses.below(-values, -1 - tolerance)) * 2 / 0.1
    worst = int(each.argmin())
    p = min(1.0, by_mean, float(each[worst]))
    apart = f"collapsed seed {seeds[worst]}, at {pulls[worst]:.3g}: {why}" if each[worst] < by_mean else ""
    return Found(pull.mean, pull.error, required, says, why, p, apart)


HOLDS: dict[str, Callable[[Invariant, Evidence, Runs], Verdicts]] = {
    "importance": _importance, "resume": _resume, "fresh-fantasies": _fresh_fantasies, "stationary": _stationary,
}  # fmt: skip


def _short(spec: RunSpec) -> RunSpec:
    """Return a run whose evaluation takes no time to speak of."""
    estimators = tuple(
        estimator.model_copy(update={"points": min(estimator.points, 10), "final_points": 10})
        for estimator in spec.evaluation.estimators[:1]
    )
    evaluation = spec.evaluation.model_copy(update={"estimators": estimators, "keep": "last"})
    return spec.model_copy(update={"evaluation": evaluation})


def _without_seconds(ledger: Mapping[str, float]) -> dict[str, float]:
    return {name: n for name, n in ledger.items() if not name.endswith("seconds")}
