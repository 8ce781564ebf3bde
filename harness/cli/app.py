"""The `harness` command: parses, calls, prints. Whatever is slow to import is imported by the command that needs it."""

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import __version__
from harness.errors import BadInput, HarnessError, in_one_line, out_of_memory

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from harness.runs.sweep import Scheduler
    from harness.store.store import Store

RUN_EPILOG = """\b
Every setting of the algorithm, the model and the dataset is an option too:
  harness run --algo aevb --nz 20 --hidden 500 --lr 0.02 --binarize stochastic
`harness algos`, `harness models` and `harness datasets` list them."""


def _names(kind: str) -> Callable[..., "list[CompletionItem]"]:
    """Return a shell completion over plugin names, run ids or experiments."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        if kind == "runs":
            found = [run.id for run in _store(context.params.get("results")).runs()]
        elif kind == "groups":
            found = sorted({run.path.parent.name for run in _store(context.params.get("results")).runs()})
        elif kind == "experiments":
            from harness.specs.experiment import built_in

            found = built_in()
        elif kind == "claims":
            from harness.claims.file import built_in as built_in_claims

            found = built_in_claims()
        elif kind == "figures":
            from harness.specs.experiment import built_in

            found = [
                *built_in(),
                "manifold",
                "samples",
                *(run.id for run in _store(context.params.get("results")).runs()),
            ]
        else:
            from harness.specs import registry

            found = registry.names(kind)  # type: ignore[arg-type]
        return [CompletionItem(name) for name in found if name.startswith(typed)]

    return complete


def _store(results: str | None) -> "Store":
    from harness.store.store import Store, default_root

    return Store(Path(results) if results else default_root())


_results = click.option("--results", metavar="FOLDER", help="The store [HARNESS_RESULTS, else results].")

_data_dir = click.option("--data-dir", metavar="FOLDER", help="Folder with the data files [HARNESS_DATA].")

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

_run = click.argument("run", shell_complete=_names("runs"))

_experiment = click.argument("experiment", shell_complete=_names("experiments"))

_jobs = click.option(
    "--jobs", metavar="N", default=str(os.cpu_count() or 1), show_default="cores", help="Runs at a time."
)

_settings = click.argument("settings", nargs=-1, type=click.UNPROCESSED, metavar="[--SETTING VALUE]...")

_open = {"ignore_unknown_options": True, "allow_extra_args": True}  # of commands that take settings


def _budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, help in reversed(
        [
            ("samples", "End after so many samples evaluated, such as 1e6."),
            ("cpu-seconds", "End after so many CPU seconds of training."),
            ("wall-seconds", "End after so many seconds of training."),
        ]
    ):
        command = click.option(f"--{name}", metavar="N", help=help)(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Which inference algorithm learns the better latent-variable model, under one budget, and how sure are we?"""


@cli.command(epilog=RUN_EPILOG, context_settings=_open)
@click.option("--algo", required=True, help="Algorithm, by name or as a .py file.", shell_complete=_names("algorithms"))
@click.option("--dataset", default="mnist", show_default=True, help="Dataset.", shell_complete=_names("datasets"))
@click.option("--model", default="mlp", show_default=True, help="Model.", shell_complete=_names("models"))
@_budget_options
@click.option("--n-train", metavar="N", help="Take the first N training points [all].")
@click.option("--seed", metavar="N", default="0", show_default=True, help="Fixes every random stream.")
@click.option("--threads", metavar="N", default="1", show_default=True, help="PyTorch's threads.")
@click.option("--device", metavar="cpu|cuda", default="cpu", show_default=True, help="Where models and data are.")
@click.option(
    "--eval-points",
    metavar="N",
    default="2000",
    show_default=True,
    help="Points a split for bounds at marks; 0: at the end alone.",
)
@click.option("--final-points", metavar="N", default="10000", show_default=True, help="The same at the end.")
@click.option(
    "--marginal",
    metavar="[ESTIMATOR]",
    is_flag=False,
    flag_value="hmc-density",
    help="Estimate log p(x) at the marks, too [hmc-density].",
    shell_complete=_names("estimators"),
)
@click.option(
    "--final-marginal", metavar="ESTIMATOR", help="One at the end alone, too.", shell_complete=_names("estimators")
)
@click.option("--marginal-points", metavar="N", default="1000", show_default=True, help="Points a split for both.")
@click.option("--first-mark", metavar="N", default="10000", show_default=True, help="Samples at the first mark.")
@click.option("--marks-per-decade", metavar="N", default="10", show_default=True, help="Marks in every decade of them.")
@_data_dir
@_results
@_settings
def run(
    algo: str,
    dataset: str,
    model: str,
    samples: str | None,
    cpu_seconds: str | None,
    wall_seconds: str | None,
    n_train: str | None,
    seed: str,
    threads: str,
    device: str,
    eval_points: str,
    final_points: str,
    marginal: str | None,
    final_marginal: str | None,
    marginal_points: str,
    first_mark: str,
    marks_per_decade: str,
    data_dir: str | None,
    results: str | None,
    settings: tuple[str, ...],
) -> None:
    """Train a model and store the run; a run that is there already is resumed, extended or shown.

    The budget is 1e6 samples unless one is given; of several, the first to be exhausted ends the run.
    """
    from harness.specs.budget import parse_budget
    from harness.specs.run import make_spec

    given = _pairs(settings)
    if "tuned" in given.values():
        from harness.runs import tune

        problem = {"algo": algo, "dataset": dataset, "model": model, "n-train": n_train}
        given, study = tune.filled(_store(results), problem, given)
        print(f"tuned: {study}", file=sys.stderr)
    if samples is None and cpu_seconds is None and wall_seconds is None:
        samples = "1e6"
    budget = parse_budget(samples, cpu_seconds, wall_seconds)
    spec = make_spec(
        algo,
        dataset,
        model,
        settings=given,
        points=eval_points,
        final_points=final_points,
        marginal=marginal,
        final_marginal=final_marginal,
        marginal_points=marginal_points,
        evaluation={"first_mark": first_mark, "marks_per_decade": marks_per_decade},
        n_train=n_train,
        seed=seed,
        threads=threads,
        device=device,
    )
    store = _store(results)

    def work(watch: Any) -> Any:
        from harness.runs.runner import ensure

        return ensure(store, spec, budget, data_dir=data_dir, watch=watch, say=_say)

    _train(store.run(spec.run_id), budget, work)


def _pairs(words: tuple[str, ...]) -> dict[str, str | bool]:
    """Return settings given as `--name value`, `--name=value`, or `--name` alone, which is True."""
    given: dict[str, str | bool] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        value: str | bool
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise BadInput(f"{word!r} is no option: settings are given as --name value; see `harness run --help`")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else True
        if name in given:
            raise BadInput(f"{word} is given twice, as {given[name]!r} and {value!r}: give it once")
        given[name] = value
    return given


def _say(words: str) -> None:
    print(f"harness: {in_one_line(words)}", file=sys.stderr)


def _train(run: Any, budget: Any, work: Callable[[Any], Any]) -> None:
    """Do the work under a progress bar, and print how it ended."""
    from harness.report.progress import ProgressBar
    from harness.report.runs import print_summary

    trained = False

    with ProgressBar(budget, run.id) as bar:

        def watch(training: Any, event: Any) -> None:
            nonlocal trained
            trained = True
            bar(training, event)

        record = work(watch)
    print_summary(run, record, already=not trained)


@cli.command()
@_run
@_data_dir
@_results
def resume(run: str, data_dir: str | None, results: str | None) -> None:
    """Go on with a run that was interrupted, to the budget it has."""
    from harness.runs import runner
    from harness.specs.budget import Budget

    stored = _store(results).find(run)
    budget = Budget(**stored.read().budget)  # type: ignore[arg-type]
    _train(stored, budget, lambda watch: runner.resume(stored, data_dir=data_dir, watch=watch, say=_say))


@cli.command()
@_run
@_budget_options
@_data_dir
@_results
def extend(
    run: str,
    samples: str | None,
    cpu_seconds: str | None,
    wall_seconds: str | None,
    data_dir: str | None,
    results: str | None,
) -> None:
    """Go on with a run to a larger budget; what it has spent counts."""
    from harness.runs import runner
    from harness.specs.budget import parse_budget

    stored = _store(results).find(run)
    budget = parse_budget(samples, cpu_seconds, wall_seconds)
    _train(stored, budget, lambda watch: runner.extend(stored, budget, data_dir=data_dir, watch=watch, say=_say))


@cli.command("sweep")
@_experiment
@_jobs
@click.option("--budget-scale", metavar="X", default="1", show_default=True, help="Multiply every budget by this.")
@click.option("--only", metavar="OPTION=VALUE,...", help="Runs that have these alone, such as nz=20,algo=aevb.")
@click.option("--dry-run", is_flag=True, help="List the runs, what is done and what the rest will cost.")
@_json
@_data_dir
@_results
def sweep_experiment(
    experiment: str,
    jobs: str,
    budget_scale: str,
    only: str | None,
    dry_run: bool,
    as_json: bool,
    data_dir: str | None,
    results: str | None,
) -> None:
    """Make all runs of an experiment, one process a run; what is there already is resumed, extended or left.

    EXPERIMENT is the name of a built-in one or a .toml file. Exit code 3 if a run failed or diverged.
    """
    from harness.report import sweeps
    from harness.runs import sweep
    from harness.specs.experiment import Experiment
    from harness.specs.options import parse_factor, parse_jobs

    store, workers, scale = _store(results), parse_jobs(jobs), parse_factor("--budget-scale", budget_scale)
    chosen = Experiment(experiment)
    work = sweep.Sweep(_scheduler(store, workers, data_dir), chosen, only, scale)
    if dry_run:
        planned = work.plan()
        if as_json:
            _print_json([sweeps.planned_row(p) for p in planned])
        else:
            sweeps.print_plan(chosen.name, planned, workers)
        return
    ended = work.run()
    for study in work.chosen():
        print(f"tuned: {study}", file=sys.stderr)
    if as_json:
        _print_json([sweeps.outcome_row(outcome) for outcome in ended])
    else:
        sweeps.print_outcomes(chosen.name, ended)
    if any(outcome.status in ("failed", "diverged") for outcome in ended):
        raise SystemExit(3)


@cli.command("tune", context_settings=_open)
@click.option("--algo", required=True, help="Algorithm, by name or as a .py file.", shell_complete=_names("algorithms"))
@click.option("--dataset", default="mnist", show_default=True, help="Dataset.", shell_complete=_names("datasets"))
@click.option("--model", default="mlp", show_default=True, help="Model.", shell_complete=_names("models"))
@click.option("--n-train", metavar="N", help="Take the first N training points [all].")
@click.option("--samples", metavar="N", default="20000", show_default=True, help="Budget of a trial with each seed.")
@click.option(
    "--seeds", metavar="N,N", default="0", show_default=True, help="Every setting is tried with each of these."
)
@click.option("--trials", metavar="N", help="How many settings are tried, by TPE where that is not all [all, else 20].")
@click.option("--estimator", help="Whose training-set estimate decides [lower-bound, else hmc-density].")
@_jobs
@_json
@_data_dir
@_results
@_settings
def tune_settings(
    algo: str,
    dataset: str,
    model: str,
    n_train: str | None,
    samples: str,
    seeds: str,
    trials: str | None,
    estimator: str | None,
    jobs: str,
    as_json: bool,
    data_dir: str | None,
    results: str | None,
    settings: tuple[str, ...],
) -> None:
    """Choose settings by equal trials: the best training-set estimate after a short budget.

    All settings of the algorithm that have a search space are tuned, or those alone that are given the value tuned, such as
    --lr tuned; the others are given as to `harness run`. The choice is stored, and `harness run --lr tuned` uses it.
    """
    from harness.report import sweeps
    from harness.runs import tune
    from harness.specs import registry
    from harness.specs.options import parse_count, parse_jobs
    from harness.specs.recipes import TuneRule

    store, workers = _store(results), parse_jobs(jobs)
    options: dict[str, Any] = {"algo": algo, "dataset": dataset, "model": model, **_pairs(settings)}
    if n_train is not None:
        options["n-train"] = parse_count("--n-train", n_train)
    if estimator is not None:
        registry.get("estimators", estimator)
    rule = TuneRule(
        samples=parse_count("--samples", samples),
        seeds=tuple(parse_count("--seeds", seed, least=0) for seed in seeds.split(",")),
        trials=None if trials is None else parse_count("--trials", trials),
        estimator=estimator,
    )
    study = tune.Study(tune.to_tune(options), rule)
    store.require_writable()
    tuned = tune.tune(store, study, _scheduler(store, workers, data_dir).run)
    if as_json:
        _print_json({**tuned._asdict(), "trials": [{**t._asdict(), "value": t.value} for t in tuned.trials]})
    else:
        sweeps.print_tuned(study.estimator, tuned)


@cli.command(context_settings=_open)
@_run
@click.option("--estimator", required=True, help="Estimator of log p(x), by name.", shell_complete=_names("estimators"))
@click.option("--split", default="test", show_default=True, help="train, valid, test, or simulated from the model.")
@click.option("--points", metavar="N", default="1000", show_default=True, help="How many points of it.")
@_json
@_data_dir
@_results
@_settings
def evaluate(
    run: str,
    estimator: str,
    split: str,
    points: str,
    as_json: bool,
    data_dir: str | None,
    results: str | None,
    settings: tuple[str, ...],
) -> None:
    """Estimate log p(x) of a stored run's model; the estimate is added to the run.

    Every setting of the estimator is an option too; `harness estimators` lists them.
    """
    from harness.report import runs
    from harness.specs.options import parse_count
    from harness.specs.run import estimator_settings

    stored, n = _store(results).find(run), parse_count("--points", points)
    chosen = estimator_settings(estimator, _pairs(settings))
    from harness.runs.evaluate import Trained

    found, _ = Trained(stored, data_dir).estimate(estimator, split, n, chosen)  # type: ignore[arg-type]
    if as_json:
        _print_json(found.row())
    else:
        runs.print_estimates([found.row()])


@cli.command(context_settings=_open)
@_run
@click.option("--points", metavar="N", default="50", show_default=True, help="Simulated points, and test points.")
@click.option("--tolerance", metavar="NATS", type=float, default=0.5, show_default=True, help="What error may be.")
@_json
@_data_dir
@_results
@_settings
def certify(
    run: str,
    points: str,
    tolerance: float,
    as_json: bool,
    data_dir: str | None,
    results: str | None,
    settings: tuple[str, ...],
) -> None:
    """Say whether a run's likelihood can be trusted: annealed importance sampling from both sides.

    Every setting of the estimator `ais` is an option too. Exit code 1 if the likelihood cannot be trusted to the tolerance.
    """
    from harness.report import runs
    from harness.specs.options import parse_count
    from harness.specs.run import estimator_settings

    stored, n = _store(results).find(run), parse_count("--points", points)
    chosen = estimator_settings("ais", _pairs(settings))
    from harness.runs import certify, evaluate

    certificate = certify.certify(evaluate.Trained(stored, data_dir), n, tolerance, chosen)
    if as_json:
        fields = {**certificate._asdict(), "estimates": [e.row() for e in certificate.estimates]}
        _print_json({**fields, "trustworthy": certificate.trustworthy})
    else:
        runs.print_certificate(certificate)
    if not certificate.trustworthy:
        raise SystemExit(1)


@cli.command("compare")
@click.argument("first", metavar="A", shell_complete=_names("runs"))
@click.argument("second", metavar="B", shell_complete=_names("runs"))
@click.option("--y", "estimator", metavar="ESTIMATOR", help="What to compare [lower-bound if both have it].")
@click.option("--split", default="test", show_default=True, help="train or test.")
@click.option("--target", metavar="NATS", help="What is to be reached [the lower of both at the last common mark].")
@click.option("--out", metavar="FILE", help="Where to draw it [<store>/figures/...; nowhere with --json].")
@_json
@_results
def compare_sides(
    first: str,
    second: str,
    estimator: str | None,
    split: str,
    target: str | None,
    out: str | None,
    as_json: bool,
    results: str | None,
) -> None:
    """Put two runs, selections or stores side by side: paired differences, a picture, what a target cost each.

    A and B are a run, a group of the store or a folder, each with conditions if need be, such as figure2:algo=aevb,nz=20.
    """
    from harness.analysis import compare
    from harness.report import comparisons
    from harness.specs.options import parse_numbers

    if split not in ("train", "test"):
        raise BadInput(f"--split is {split!r}: choose train or test")
    nats = parse_numbers("--target", target, "-140")
    store = _store(results)
    sides = compare.side(store, first), compare.side(store, second)
    judge = compare.estimator_of(*sides, estimator)
    found = compare.compare(*sides, judge, split, nats[0] if nats else None)
    drawn = []
    if out or not as_json:
        from harness.figures import output
        from harness.figures.compare import draw

        name = "-".join(re.sub(r"[^A-Za-z0-9._=-]+", "-", word).strip("-.") for word in (first, "and", second))
        path = Path(out) if out else store.root / "figures" / f"compare-{name[:150]}.png"
        records = [run.record for side in sides for run in side.runs]
        formats = () if path.suffix else output.FORMATS
        drawn = output.save(draw(found, (first, second), judge, split), path, records, formats)
    if as_json:
        _print_json(compare.plain(found))
    else:
        comparisons.print_comparisons(found, judge, split)
    for written in drawn:
        print(written, file=sys.stderr if as_json else sys.stdout)


_claims = click.argument("claims", shell_complete=_names("claims"))

_make = click.option("--run", "make", is_flag=True, help="Make the runs that are missing, by the code as it is now.")

_only = click.option("--only", metavar="OPTION=VALUE,...", help="Runs that have these alone, such as nz=20,algo=aevb.")


def _made(
    claims: Any, store: "Store", jobs: str, only: str | None, data_dir: str | None
) -> tuple[dict[str, str], list[str]]:
    """Make the runs that claims are about; return their groups, and in words those that ended without a result."""
    from harness.claims import check
    from harness.specs.options import parse_jobs

    groups, ended = check.make(claims, _scheduler(store, parse_jobs(jobs), data_dir), only)
    made, lost = sum(outcome.status == "done" for outcome in ended), check.lost(ended)
    print(f"made {made} of {len(ended)} runs, in {', '.join(groups.values())}", *lost, sep="\n", file=sys.stderr)
    return groups, lost


@cli.command("check")
@_claims
@_make
@_jobs
@_only
@click.option("--baseline", metavar="FILE", help="The baseline [the one that the claims name].")
@click.option("--benchmarks", metavar="FILE", help="What pytest-benchmark saved [the one that the claims name].")
@click.option("--strict", is_flag=True, help="Fail on what cannot be told, too.")
@click.option("--junit", metavar="FILE", help="Write a JUnit report, too.")
@_json
@_data_dir
@_results
def check_claims(
    claims: str,
    make: bool,
    jobs: str,
    only: str | None,
    baseline: str | None,
    benchmarks: str | None,
    strict: bool,
    junit: str | None,
    as_json: bool,
    data_dir: str | None,
    results: str | None,
) -> None:
    """Hold runs to claims: bounds, orders, a stored baseline, the paper's curves, invariants, cost.

    CLAIMS is the name of a built-in file or a .toml file. Exit code 0 if all hold, 1 if one fails, 2 for bad input, 3 if a run
    failed or diverged. On GitHub Actions what fails is annotated.
    """
    from harness.claims import check, wording
    from harness.claims.evidence import Evidence
    from harness.claims.file import Claims
    from harness.claims.junit import publish

    chosen, store = Claims(claims), _store(results)
    groups, lost = _made(chosen, store, jobs, only, data_dir) if make else ({}, [])
    evidence = Evidence(
        chosen, store, groups, only, Path(baseline) if baseline else None, Path(benchmarks) if benchmarks else None,
        data_dir, trains=make,
    )  # fmt: skip
    try:
        verdicts = check.check(evidence)
    except BadInput as error:
        if not lost:
            raise
        print(f"harness: {error}", file=sys.stderr)  # which the lost runs explain
        verdicts = []
    if as_json:
        _print_json([wording.verdict_row(verdict) for verdict in verdicts])
    elif verdicts:
        wording.print_verdicts(verdicts)
    publish(chosen, verdicts, lost, Path(junit) if junit else None)
    if lost:
        raise SystemExit(3)
    if check.failed(verdicts, strict=strict):
        raise SystemExit(1)


@cli.group("baseline")
def baseline_group() -> None:
    """Store what runs reached, for claims to compare later runs with."""


@baseline_group.command("save")
@_claims
@_make
@_jobs
@click.option("--out", metavar="FILE", help="Where to [the file that the claims name].")
@_data_dir
@_results
def save_baseline(
    claims: str, make: bool, jobs: str, out: str | None, data_dir: str | None, results: str | None
) -> None:
    """Write the reference file of a claims file's baseline claims: text, to be committed."""
    from harness.claims import baseline, check, evidence
    from harness.claims.file import Claims

    chosen, store = Claims(claims), _store(results)
    path = Path(out) if out else chosen.baseline
    if path is None:
        raise BadInput(f'{chosen.path} names no baseline: give baseline = "FILE" in it, or --out FILE')
    groups, lost = _made(chosen, store, jobs, None, data_dir) if make else ({}, [])
    if lost:
        raise SystemExit(3)
    content = check.baseline_content(evidence.Evidence(chosen, store, groups))
    baseline.save(path, content)
    print(f"{path}: {len(content['runs'])} runs, {baseline.origin(content)}")


@baseline_group.command("show")
@click.argument("what", metavar="CLAIMS | FILE", shell_complete=_names("claims"))
@_json
def show_baseline(what: str, as_json: bool) -> None:
    """Show a baseline: where it comes from, and what runs reached."""
    from harness.claims import baseline
    from harness.claims.file import Claims
    from harness.report import text

    path: Path | None = Path(what)
    if what.endswith(".toml") or not Path(what).is_file():
        path = Claims(what).baseline
    if path is None:
        raise BadInput(f"{what} names no baseline: give the file itself")
    content = baseline.read(path)
    if as_json:
        _print_json(content)
    else:
        print(f"{path}: {baseline.origin(content)}\n")
        text.print_table(("run", "samples", "estimator", "split", "points", "nats"), baseline.summary(content))


@cli.command("list")
@_json
@_results
def list_runs(as_json: bool, results: str | None) -> None:
    """List the runs in the store."""
    from harness.report import runs

    store = _store(results)
    rows = [runs.run_row(run) for run in store.runs()]
    if as_json:
        _print_json(rows)
    else:
        runs.print_runs(store, rows)


@cli.command()
@_run
@_json
@_results
def show(run: str, as_json: bool, results: str | None) -> None:
    """Show a run: settings, spending, estimates, and a line a mark. RUN is its id, or the beginning of it."""
    from harness.report import runs

    stored = _store(results).find(run)
    record, rows, evaluations = stored.read(), stored.rows(), stored.evaluations()
    if as_json:
        _print_json({**record.__dict__, "rows": rows, "evaluations": evaluations})
    else:
        runs.print_run(stored, record, rows, evaluations)


@cli.command()
@click.argument("what", nargs=-1, required=True, metavar="EXPERIMENT | RUN...", shell_complete=_names("figures"))
@click.option("--y", "estimator", metavar="ESTIMATOR", help="What to draw [the experiment's, or lower-bound].")
@click.option(
    "--x", "counter", help="Counter on the x axis: samples, datapoints, cpu_seconds, wall_seconds, … [samples]."
)
@click.option("--scale", help="Scale of the x axis: log or linear [the experiment's, or log].")
@click.option("--out", metavar="FILE", help="Where to; without an ending as PNG, SVG and PDF [<store>/figures/...].")
@_data_dir
@_results
def plot(
    what: tuple[str, ...],
    estimator: str | None,
    counter: str | None,
    scale: str | None,
    out: str | None,
    data_dir: str | None,
    results: str | None,
) -> None:
    """Draw from the store: an experiment's figure, runs at their marks, or what a run's model looks like.

    \b
    harness plot figure2                  the experiment's panels
    harness plot RUN...                   an estimate of runs at their marks: train dashed, test solid
    harness plot manifold RUN             what a model of two latents has learned, over their plane
    harness plot samples RUN              draws from a model
    """
    from harness.analysis import selection
    from harness.figures import output
    from harness.specs.experiment import is_experiment

    store = _store(results)
    if what[0] in ("manifold", "samples") and len(what) > 1:
        if len(what) > 2:
            raise BadInput(f"`harness plot {what[0]}` draws one run, and {len(what) - 1} are given: name one")
        from harness.figures import images

        run = store.find(what[1])
        figure, records = images.DRAW[what[0]](run, data_dir), [run.read()]
        name = f"{what[0]}-{run.id}"
    elif len(what) == 1 and is_experiment(what[0]):
        from harness.figures import panels
        from harness.specs.experiment import Experiment

        experiment = Experiment(what[0])
        stored = selection.group(store, experiment, _say)
        figure = panels.draw(experiment, stored, counter, estimator, scale)
        records = [one.record for one in stored]
        name = experiment.name + ("" if counter is None else f"-{counter}")
    else:
        from harness.figures import trace

        runs = {run.id: run for run in map(store.find, what)}
        stored = selection.load(runs.values())
        figure, records = (
            trace.draw(stored, counter or "samples", scale or "log", estimator),
            [one.record for one in stored],
        )
        name = next(iter(runs)) + (f"-and-{len(runs) - 1}-more" if len(runs) > 1 else "") + f"-{counter or 'samples'}"
    path = Path(out) if out else store.root / "figures" / name
    formats = () if out and path.suffix else output.FORMATS
    for written in output.save(figure, path, records, formats):
        print(written)


@cli.command()
@_experiment
@click.option("--at", metavar="N,...", help="Compare at these numbers of samples [the experiment's, else the last].")
@click.option("--targets", metavar="NATS,...", help="Tell what it cost to reach these on the test set.")
@click.option("--format", "form", default="text", show_default=True, help="text, markdown, csv or latex.")
@_json
@_results
def table(experiment: str, at: str | None, targets: str | None, form: str, as_json: bool, results: str | None) -> None:
    """Compare the algorithms of an experiment in numbers, from the store.

    Means over seeds ± the standard deviation between them; differences to the best are paired over seeds, ± half their 95 %
    confidence interval.
    """
    from harness.analysis import selection, table
    from harness.report import tables, text
    from harness.specs.experiment import Experiment
    from harness.specs.options import parse_numbers

    if form not in ("text", "markdown", "csv", "latex"):
        raise BadInput(f"--format is {form!r}: choose text, markdown, csv or latex")
    chosen = Experiment(experiment)
    marks, nats = parse_numbers("--at", at, "1e6,1e7"), parse_numbers("--targets", targets, "-140,-120")
    rows = table.rows(chosen, selection.group(_store(results), chosen, _say), marks, nats)
    if as_json:
        _print_json(table.plain(rows))
    elif form == "csv":
        print(tables.comma_separated(rows))
    elif form == "text":
        text.print_table(*tables.cells(rows))
    else:
        print((tables.markdown if form == "markdown" else tables.latex)(*tables.cells(rows)))


_groups = click.argument("groups", nargs=-1, metavar="[GROUP]...", shell_complete=_names("groups"))


@cli.command("export")
@_groups
@click.option("--format", "form", required=True, help="csv, parquet (which needs pyarrow) or json.")
@click.option(
    "--out", required=True, metavar="PATH", help="A file for json, else a folder; replaced if it is an export."
)
@_only
@_results
def export_runs(groups: tuple[str, ...], form: str, out: str, only: str | None, results: str | None) -> None:
    """Write the store, or groups of it, for other tools: as one JSON file, or a folder of tables in CSV or Parquet.

    \b
    runs        a line a run: status, settings, budget, spending, provenance
    rows        a line a mark of a run: spending, what steps reported
    estimates   a line an estimate, at a mark or after training (no row): nats, with both standard errors

    Nothing is lost: `harness.export.read` gives back what the store has. Exit code 3 if a run could not be read; the others
    are exported.
    """
    from harness.analysis import export
    from harness.report import store

    export.require_place(form, Path(out))
    runs, unreadable = export.load(_store(results), groups, only)
    for reason in unreadable:
        _say(f"left out {reason}")
    export.write(runs, form, Path(out))
    store.print_exported(runs, Path(out))
    if unreadable:
        raise SystemExit(3)


@cli.command("gc")
@_groups
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@_json
@_results
def collect_garbage(groups: tuple[str, ...], dry_run: bool, as_json: bool, results: str | None) -> None:
    """Remove checkpoints of runs that are done, quarantined runs, and what killed processes left half written.

    A run without its checkpoint keeps its settings, curves and estimates, but has no model: it can no more be extended, nor go
    through `harness evaluate`, `certify` and `plot samples`. So see what would go first, with --dry-run. A run that some process
    is writing is left alone. Exit code 3 if something could not be removed.
    """
    from harness.report import store
    from harness.store import gc

    found = gc.collect(_store(results), groups, dry_run=dry_run)
    if as_json:
        _print_json(store.garbage_data(found, dry_run=dry_run))
    else:
        store.print_garbage(found, dry_run=dry_run)
    if any(one.reason for one in found):
        raise SystemExit(3)


def _plugin_command(name: str, kind: str, what: str) -> None:
    """Add a command that lists the plugins of a kind."""

    def command(as_json: bool) -> None:
        from harness.report.plugins import plugin_data, print_plugins
        from harness.specs import registry

        plugins = registry.listing(kind)  # type: ignore[arg-type]
        if as_json:
            _print_json([plugin_data(plugin) for plugin in plugins])
        else:
            print_plugins(plugins)

    cli.command(name, help=f"List the {what}: source, description, settings with their defaults.")(_json(command))


_plugin_command("algos", "algorithms", "algorithms")

_plugin_command("models", "models", "models")

_plugin_command("datasets", "datasets", "datasets")

_plugin_command("estimators", "estimators", "estimators")


@cli.command()
@click.option("--store", "deep", is_flag=True, help="Read every byte of every run instead, and list what is damaged.")
@click.option(
    "--repair", is_flag=True, help="The same, and move what is damaged to the folder quarantine of the store."
)
@_json
@_data_dir
@_results
def doctor(deep: bool, repair: bool, as_json: bool, data_dir: str | None, results: str | None) -> None:
    """Check versions, threads, plugins, data, the store, and this machine's speed; or all that is stored.

    Exit code 1 if something is wrong that was not repaired.
    """
    from harness.report.store import print_damage
    from harness.report.text import print_table
    from harness.runs import doctor

    store = _store(results)
    if deep or repair:
        damaged = doctor.examine_store(store, repair=repair)
        if as_json:
            _print_json(damaged)
        else:
            print_damage(store, damaged)
        if any(one["moved_to"] is None for one in damaged):
            raise SystemExit(1)
        return
    findings = doctor.examine(store, data_dir)
    if as_json:
        _print_json(findings)
    else:
        print_table(("", "", "found"), [(f["what"], "ok" if f["ok"] else "!!", f["found"]) for f in findings])
    if not all(finding["ok"] for finding in findings):
        raise SystemExit(1)


def _scheduler(store: "Store", workers: int, data_dir: str | None) -> "Scheduler":
    """Return a scheduler for workers on this machine whose progress is shown."""
    from harness.report.progress import SweepProgress
    from harness.runs.local import LocalExecutor
    from harness.runs.sweep import Scheduler

    def say(words: str) -> None:
        if sys.stderr.isatty():
            print(words, file=sys.stderr)

    executor = LocalExecutor(store, workers, data_dir)
    return Scheduler(executor, lambda planned: SweepProgress(planned, workers), say)


def _print_json(value: Any) -> None:
    from harness.files import to_json

    print(json.dumps(json.loads(to_json(value)), indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command; every error of ours is one sentence on standard error, with its exit code."""
    debug = "--debug" in sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names and stored words may be what it could not encode
        sys.stdout.reconfigure(errors="backslashreplace")

    try:
        code = cli.main(standalone_mode=False)
    except HarnessError as error:
        if debug:
            raise
        _say(str(error))
        code = error.exit_code
    except click.ClickException as error:
        if debug:
            raise
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "harness"
        _say(f"{error.format_message().rstrip('.')}: see `{where} --help`")
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _say("stopped at once: a run goes on with `harness resume RUN`, a sweep with the same command")
        code = 130
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stderr.close()
        code = 0
    except OSError as error:
        if debug:
            raise
        given = error.errno == errno.ENAMETOOLONG  # no name of ours is
        what = "give a shorter name" if given else "make room or mend it"
        _say(f"{error.filename or 'the output'}: {error.strerror or error}: {what}")
        code = 2 if given else 3
    except Exception as error:
        if debug:
            raise
        if out_of_memory(error):
            _say("there is not enough memory: give smaller numbers, or use a machine with more")
            code = 3
        else:  # what nobody thought of
            _say(
                f"a fault of the harness itself, {type(error).__name__}: {str(error)[:300]!r}: please report what "
                "`harness --debug` with the same words prints"
            )
            code = 70
    sys.exit(code or 0)
