"""`harness check` and `baseline`: claims about runs, and whether they hold."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import engines
from harness.cli.engines import engine_options
from harness.cli.options import (
    FILE,
    claims_argument,
    complete_claims,
    data_folder,
    in_store,
    jobs_option,
    json_flag,
    named_files,
    only_option,
)
from harness.cli.output import print_json, say
from harness.cli.settings import KeepsWords
from harness.cli.sweep import scheduler
from harness.errors import BadInput
from harness.safe_text import show

if TYPE_CHECKING:
    from harness.claims.file import Claims
    from harness.store.store import Store

run_flag = click.option("--run", "make", is_flag=True, help="Make the runs that are missing, by the code as it is now.")


@click.command(cls=KeepsWords)
@claims_argument
@run_flag
@jobs_option
@engine_options
@only_option
@click.option("--baseline", type=FILE, metavar="FILE", help="The baseline [the one that CLAIMS names].")
@click.option(
    "--benchmarks", type=FILE, metavar="FILE", help="What pytest-benchmark saved [the file that CLAIMS names]."
)
@click.option("--allow-unmatched-seeds", is_flag=True, help="Compare the seeds that both sides have.")
@click.option("--strict", is_flag=True, help="Also fail if a claim cannot be decided.")
@click.option("--junit", type=FILE, metavar="FILE", help="Also write a JUnit report.")
@named_files()
@json_flag
@data_folder
@in_store
def check(
    claims: str,
    make: bool,
    jobs: int,
    engine: engines.Chosen,
    only: str | None,
    baseline: Path | None,
    benchmarks: Path | None,
    allow_unmatched_seeds: bool,
    strict: bool,
    junit: Path | None,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
) -> None:
    """Check claims about runs.

    Claims are about bounds, orders of algorithms, a stored baseline, the curves of the paper, invariants and cost. CLAIMS is
    the name of a built-in file or a .toml file. Exit code 0 if all claims hold, 1 if one fails, 2 for bad input, 3 if a run
    failed or diverged. On GitHub Actions, claims that fail become annotations.
    """
    from harness.claims import check, wording
    from harness.claims.evidence import Evidence
    from harness.claims.file import Claims
    from harness.claims.junit import publish

    if junit is not None:
        junit.exists()  # a name that is too long is told before anything else

    chosen = Claims(claims)
    if engine.on != "local" and not make:
        raise BadInput(f"--on is {engine.on!r}, and without --run no runs are made: give --run, or leave it out")
    if engine.on == "slurm":
        engines.on_slurm(store, engine, chosen.path.stem, {}, as_json=as_json)
        return
    groups, failures = _make_runs(chosen, store, jobs, only, data_dir, engine) if make else ({}, [])
    evidence = Evidence(chosen, store, groups, only, baseline, benchmarks, data_dir, make, allow_unmatched_seeds, say)
    try:
        verdicts = check.check(evidence)
    except BadInput as error:
        if not failures:
            raise
        say(str(error))  # which these failures explain
        verdicts = []
    if as_json:
        print_json([wording.verdict_row(verdict) for verdict in verdicts])
    elif verdicts:
        wording.print_verdicts(verdicts)
    publish(chosen, verdicts, failures, junit)
    if failures:
        raise SystemExit(3)
    if check.failed(verdicts, strict=strict):
        raise SystemExit(1)


def _make_runs(
    claims: "Claims",
    store: "Store",
    jobs: int,
    only: str | None,
    data_dir: str | None,
    engine: engines.Chosen | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Make the runs that claims are about; return their groups, and in words those that ended without a result."""
    from harness.claims import check
    from harness.runs import verify
    from harness.runs.local import LocalExecutor

    groups, ended = check.make(claims, scheduler(store, jobs, data_dir, engine), only)
    made, failures = sum(outcome.status == "done" for outcome in ended), check.failures(ended)
    failures += verify.failures(ended, LocalExecutor(store, jobs, data_dir))
    show(f"made {made} of {len(ended)} runs, in {', '.join(groups.values())}", *failures, file=sys.stderr)
    return groups, failures


@click.command("save")
@claims_argument
@run_flag
@jobs_option
@click.option("--out", type=FILE, metavar="FILE", help="Where to write it [the file that CLAIMS names].")
@data_folder
@in_store
def save_baseline(claims: str, make: bool, jobs: int, out: Path | None, data_dir: str | None, store: "Store") -> None:
    """Write the baseline of a claims file.

    It is a text file, to be committed.
    """
    from harness.claims import baseline, check, evidence
    from harness.claims.file import Claims

    chosen = Claims(claims)
    path = out or chosen.baseline
    if path is None:
        raise BadInput(f'{chosen.path} names no baseline: give baseline = "FILE" in it, or --out FILE')
    groups, failures = _make_runs(chosen, store, jobs, None, data_dir) if make else ({}, [])
    if failures:
        raise SystemExit(3)
    content = check.baseline_content(evidence.Evidence(chosen, store, groups, say=say))
    baseline.save(path, content)
    show(f"{path}: {len(content['runs'])} runs, {baseline.origin(content)}")


@click.command("show")
@click.argument("what", metavar="CLAIMS | FILE", shell_complete=complete_claims)
@json_flag
def show_baseline(what: str, as_json: bool) -> None:
    """Show a baseline: where it comes from, and what the runs reached."""
    from harness.analysis import reliability
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
        print_json(content)
    else:
        show(f"{path}: {baseline.origin(content)}", "")
        lines = baseline.summary(content)
        text.print_table(("run", "samples", "estimator", "split", "points", "nats"), lines)
        if any(line[-1].endswith(reliability.MARK) for line in lines):
            show(reliability.LEGEND)
