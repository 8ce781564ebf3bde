"""What holds of every sound run, whatever it has learned: relations between estimates, counters and parameters.

`bias-order`     of two estimates of one model on the same points, the one that errs below log p(x) is not above the other
`importance`     the bound by sampling alone is the lower bound, and with more samples K the importance-weighted one does not
                 fall (Burda, Grosse & Salakhutdinov 2016, arXiv 1509.00519, theorem 1)
`ledger`         counters never fall, reach their marks, and count what a claim says that they do
`resume`         a run that is stopped and goes on is the uninterrupted one, bit for bit
`fresh-dreams`   the recognition model learns from fantasies of the generative model as it is then
`stationary`     the recognition model is as wide as the bound wants it: see `_stationary`

Those in `TRAIN` load checkpoints or train for a moment, and so need `harness check --run`.
"""

import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness import check, curves, differences
from harness.claims import Invariant
from harness.curves import Stored
from harness.errors import BadInput
from harness.ledger import Budget
from harness.spec import RunSpec
from harness.store import Run, Store

ERRORS = 4.0  # standard errors by which noise may break an order: one comparison of 30,000
LEVEL = 0.98
SAMPLES = (4, 64)  # of importance-weighted bounds
DRAWS = 10  # of the recognition model, a point
PATH = 200  # steps over which a pull is averaged
BOUND_DRAWS = 50
STEPS = 12  # of the short runs


class Found(NamedTuple):
    """What came of an invariant; see `harness.check.Verdict`."""

    observed: float | None
    error: float | None
    required: str
    says: check.Says
    why: str


Verdicts = Iterator[tuple[str, Found]]


def _bias_order(claim: Invariant, evidence: check.Evidence) -> Verdicts:
    tolerance = 0.1 if claim.tolerance is None else claim.tolerance
    required, side = f"≤ {tolerance:g}", {"lower": 0, "exact": 1, "upper": 2}
    for words, runs in _kinds(claim, evidence):
        worst, compared, where = -math.inf, 0, ""
        for number, (run, stored) in enumerate(runs):
            if evidence.trains and number == 0:
                _add_bounds(evidence, run, stored)
            for estimates in _of_one_model(run, stored):
                for low, high in itertools.permutations(estimates, 2):
                    same = all(low[name] == high[name] for name in ("split", "points"))
                    if not same or side[low["direction"]] >= side[high["direction"]]:
                        continue
                    compared += 1
                    over = low["mean"] - high["mean"] - ERRORS * math.hypot(low["se_estimator"], high["se_estimator"])
                    if over > worst:
                        where = f"{low['estimator']} less {high['estimator']} on {low['split']} of {stored[0].run}"
                        worst = over
        if not compared:
            yield words, Found(None, None, required, "fails", "no two estimators have judged the same points")
        else:
            why = f"highest of {compared} comparisons, {ERRORS:g} errors allowed: {where}"
            yield words, Found(worst, None, required, "holds" if worst <= tolerance else "fails", why)


def _add_bounds(evidence: check.Evidence, run: Run, stored: Stored) -> None:
    """Add lower bounds over the points on which a run's last model was judged by something that does not err below."""
    judged = {(e["split"], e["points"]) for e in curves.sound(stored)[-1]["estimates"] if e["direction"] != "lower"}
    trained = _trained(evidence, run)
    for split, points in sorted(judged) if trained.subject.recognition is not None else ():
        trained.estimate("lower-bound", split, points)
        trained.estimate("importance", split, points, {"K": SAMPLES[-1]})


def _of_one_model(run: Run, stored: Stored) -> Iterator[list[dict[str, Any]]]:
    """Yield the finite estimates of each row, and those made afterwards of the model at the end with the last."""
    rows = curves.sound(stored)
    for row in rows:
        estimates = list(row["estimates"])
        if row is rows[-1]:
            estimates += [
                e["estimate"] for e in run.evaluations() if e["ledger"]["samples"] == row["ledger"]["samples"]
            ]
        yield [e for e in estimates if math.isfinite(e["mean"])]


def _importance(claim: Invariant, evidence: check.Evidence) -> Verdicts:
    import torch

    tolerance = 0.05 if claim.tolerance is None else claim.tolerance
    for words, runs in _kinds(claim, evidence):
        trained = _trained(evidence, runs[0][0])
        model, q = trained.subject.model, trained.subject.recognition
        if q is None:
            yield words, Found(None, None, "", "fails", "its runs have no recognition model to propose with")
            continue
        bound = trained.estimate("lower-bound", "test", claim.points, {"n_samples": BOUND_DRAWS})[1]
        x = _points(trained, "test", claim.points)
        with torch.no_grad():
            posterior = q.posterior(x)
            z = posterior.sample(BOUND_DRAWS, torch.Generator().manual_seed(0))
            sampled = (model.log_p_xz(x, z) - posterior.log_prob(z)).double().mean(0)
        why = f"{claim.points} test points of {runs[0][0].id}"
        apart = differences.mean((sampled - bound).tolist())
        says: check.Says = "fails" if abs(apart.mean) - ERRORS * (apart.error or 0.0) > tolerance else "holds"
        yield f"{words}, K=1 less lower-bound", Found(apart.mean, apart.error, f"0 ± {tolerance:g}", says, why)
        below, name = sampled, "K=1"
        for k in SAMPLES:
            above = trained.estimate("importance", "test", claim.points, {"K": k})[1]
            rise = differences.mean((above - below).tolist())
            says = "fails" if rise.mean + ERRORS * (rise.error or 0.0) < -tolerance else "holds"
            yield f"{words}, K={k} less {name}", Found(rise.mean, rise.error, f"≥ -{tolerance:g}", says, why)
            below, name = above, f"K={k}"


def _ledger(claim: Invariant, evidence: check.Evidence) -> Verdicts:
    for words, runs in _kinds(claim, evidence):
        trouble = next((why for _, stored in runs if (why := _miscounted(claim.per_datapoint, stored))), None)
        counts = ", ".join(f"{n:g} {name}" for name, n in claim.per_datapoint.items())
        required = f"{counts} a datapoint" if counts else "sound counters"
        rows = sum(len(stored[1]) for _, stored in runs)
        yield (
            words,
            Found(None, None, required, "fails" if trouble else "holds", trouble or f"{rows} rows of {len(runs)} runs"),
        )


def _miscounted(per_datapoint: Mapping[str, float], stored: Stored) -> str | None:
    """Say what is wrong with a run's counters."""
    record, rows = stored
    before: Mapping[str, float] = {}
    for row in rows:
        ledger = row["ledger"]
        for name, n in before.items():
            if ledger[name] < n:
                return f"{name} of {record.run} fell from {n:,.6g} to {ledger[name]:,.6g}"
        for counter, reached in row["marks"].items():
            if ledger[counter] < reached:
                return f"{record.run} has a row for {reached:,.6g} {counter} at {ledger[counter]:,.6g}"
        for name, each in per_datapoint.items():
            if name not in ledger:
                raise BadInput(f"per-datapoint has {name!r}, and no ledger counts that: choose of {', '.join(ledger)}")
            if abs(ledger[name] - each * ledger["datapoints"]) > 1e-9 * ledger[name]:
                found = ledger[name] / ledger["datapoints"]
                return f"{record.run} counts {found:.6g} {name} a datapoint"
        before = ledger
    if rows and any(record.ledger[name] != n for name, n in before.items() if not name.endswith("seconds")):
        return f"the last row of {record.run} has other counters than its record"
    return None


def _resume(claim: Invariant, evidence: check.Evidence) -> Verdicts:
    from harness.runner import ensure
    from harness.state import digest

    def ended(run: Run) -> tuple[str, list[Any]]:
        """Return what a run's state and rows are, times aside."""
        state = run.checkpoint() or {}
        rows = [{**row, "end": None, "ledger": _without_seconds(row["ledger"])} for row in run.rows()]
        return digest({name: state[name] for name in ("theta", "phi", "algorithm", "rng", "info")}), rows

    for words, runs in _kinds(claim, evidence):
        spec = _short(RunSpec.model_validate(runs[0][1][0].spec))
        with tempfile.TemporaryDirectory() as folder:
            whole, parts = Store(Path(folder) / "whole"), Store(Path(folder) / "parts")
            step = ensure(parts, spec, Budget(samples=1), data_dir=evidence.data_dir).ledger["samples"]
            for steps in (STEPS // 3, STEPS):
                ensure(parts, spec, Budget(samples=int(steps * step)), data_dir=evidence.data_dir)
            ensure(whole, spec, Budget(samples=int(STEPS * step)), data_dir=evidence.data_dir)
            (one, rows), (other, others) = (ended(store.run(spec.run_id)) for store in (whole, parts))
        rows, others = ([row for row in some if row["marks"] or row is some[-1]] for some in (rows, others))
        alike = one == other and rows == others
        why = f"{STEPS} steps at once, and stopped twice: " + ("bit for bit the same" if alike else "not the same")
        yield words, Found(None, None, "the same bits", "holds" if alike else "fails", why)


def _fresh_dreams(claim: Invariant, evidence: check.Evidence) -> Verdicts:
    from harness.loop import Training

    for words, runs in _kinds(claim, evidence):
        spec = RunSpec.model_validate(runs[0][1][0].spec)
        algorithm = dict(spec.algorithm.settings)
        if "warmup" in algorithm:
            algorithm["warmup"] = 0  # in which no parameter moves
        spec = _short(spec.model_copy(update={"algorithm": spec.algorithm.model_copy(update={"settings": algorithm})}))
        training = Training(spec, evidence.data_dir)
        dreams = _Dreams(training)
        for _ in range(STEPS):
            training._step()
        if not dreams.used:
            why = "no fantasy was handed to the recognition model" if dreams.drawn else "no fantasy was drawn"
            yield words, Found(None, None, "0 stale", "fails", f"{why} in {STEPS} steps")
            continue
        says: check.Says = "fails" if dreams.stale else "holds"
        yield (
            words,
            Found(
                float(dreams.stale), None, "0 stale", says, f"of {dreams.used} batches of fantasies in {STEPS} steps"
            ),
        )


class _Dreams:
    """Watches fantasies on their way from the generative model to the recognition model.

    Attributes:
        drawn: batches of them that were drawn.
        used: batches that the recognition model was given.
        stale: of those, how many the generative model would not draw any more, as its parameters had changed.
    """

    def __init__(self, training: Any):
        self.drawn = self.used = self.stale = 0
        model, q = training.problem.model, training.problem.recognition
        flat, sample = model.params.flat, model.sample
        versions: dict[int, tuple[Any, int]] = {}

        def drawing(*args: Any, **kwargs: Any) -> Any:
            out = sample(*args, **kwargs)
            versions[out[0].data_ptr()] = out[0], flat._version  # the tensor is held, so that its place stays its own
            self.drawn += 1
            return out

        model.sample = drawing
        if q is None:
            return
        posterior = q.posterior

        def inferring(x: Any, *args: Any, **kwargs: Any) -> Any:
            if x.data_ptr() in versions:
                self.used += 1
                self.stale += versions[x.data_ptr()][1] != flat._version
            return posterior(x, *args, **kwargs)

        q.posterior = inferring


def _stationary(claim: Invariant, evidence: check.Evidence) -> Verdicts:
    """Yield how strongly the density pulls on the recognition model's width, for every kind of run; 1 is right.

    Let z = μ + s (ζ - μ), ζ ~ q(z|x). The bound's derivative by log s at s = 1 is E_q[(z - μ)·∇ log p(x, z)] + dim z, as the
    entropy of q grows by dim z. A recognition model that ascends the bound and can change its width as a whole makes the mean of
    that over training points vanish, so that -E[(z - μ)·∇ log p(x, z)] / dim z is 1. A KL with weight w makes it w where q is
    narrow, and noise that is c times too wide 1/c². For μ stands another draw, which is independent of z and has this mean.
    A single state is off by the noise of its last steps, so the mean is over many steps of training that goes on from there.
    """
    import torch

    from harness import api
    from harness.loop import Training

    tolerance = 0.06 if claim.tolerance is None else claim.tolerance
    for words, runs in _kinds(claim, evidence):
        found = []
        for run, stored in runs:
            trained = _trained(evidence, run)
            if trained.subject.recognition is None:
                raise evidence.refusal(claim, f"{run.id} has no recognition model to be stationary")
            training = Training(RunSpec.model_validate(stored[0].spec), evidence.data_dir)
            training.load(trained.checkpoint)
            rng, pulls = torch.Generator().manual_seed(0), []
            for _ in range(PATH):
                x = training._batch().x
                with torch.no_grad():
                    posterior = training.recognition.posterior(x)
                    z, other = posterior.sample(DRAWS, rng), posterior.sample(DRAWS, rng)
                slope = api.hmc.joint(training.model, x).gradient(z)
                pulls.append(-((z - other) * slope).sum(-1).mean().item() / z.shape[-1])
                training._step()
            found.append(statistics.fmean(pulls))
        pull = differences.mean(found)
        half = pull.half(LEVEL) if pull.error is not None else 0.0
        off = abs(pull.mean - 1.0)
        says: check.Says = "holds" if off <= tolerance else "fails" if off - half > tolerance else "cannot tell"
        why = f"mean over the next {PATH} steps of {len(found)} runs"
        yield words, Found(pull.mean, pull.error, f"1 ± {tolerance:g}", says, why)


HOLDS: dict[str, Callable[[Invariant, check.Evidence], Verdicts]] = {
    "bias-order": _bias_order, "importance": _importance, "ledger": _ledger, "resume": _resume, "fresh-dreams": _fresh_dreams,
    "stationary": _stationary,
}  # fmt: skip


TRAIN = ("importance", "resume", "fresh-dreams", "stationary")
"""Those that load checkpoints or train for a moment; `bias-order` then has more to compare."""


def _kinds(claim: Invariant, evidence: check.Evidence) -> Iterator[tuple[str, list[tuple[Run, Stored]]]]:
    """Yield runs by kind: those that differ in their seed alone."""
    found = [one for one in evidence.found(claim) if one[1][0].status != "running"]
    return check.parts(found, check.KIND, lambda one: one[1])


def _trained(evidence: check.Evidence, run: Run) -> Any:
    """Return a run's model."""
    from harness.judge import Trained

    return Trained(run, evidence.data_dir)


def _points(trained: Any, split: Any, n: int) -> Any:
    """Return the first evaluation points of a split."""
    from harness.evaluate import chosen_points

    return chosen_points(trained.subject.dataset, split, n)


def _short(spec: RunSpec) -> RunSpec:
    """Return a run whose evaluation takes no time to speak of."""
    judges = tuple(
        judge.model_copy(update={"points": min(judge.points, 10), "final_points": 10})
        for judge in spec.evaluation.estimators[:1]
    )
    return spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"estimators": judges})})


def _without_seconds(ledger: Mapping[str, float]) -> dict[str, float]:
    return {name: n for name, n in ledger.items() if not name.endswith("seconds")}
