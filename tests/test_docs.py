"""The pages of docs/: their links, examples and numbers."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support import user_names

from harness import api, testing
from harness.cli.app import cli
from harness.specs import registry

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG"))]
CHECKS = {
    "bars": testing.check_dataset,
    "dreg": testing.check_algorithm,
    "logistic_fa": testing.check_model,
    "prior_sampling": testing.check_estimator,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "_generated" not in target:
            assert (page.parent / target).is_file(), f"{page.name} names {target}"
    for target in re.findall(r"```\{literalinclude\} (\S+)", text):
        assert (page.parent / target).is_file(), f"{page.name} includes {target}"


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")} - {"index"}
    assert {page for page in pages if page not in index} == set()


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_an_example_keeps_the_contract(name: str) -> None:
    CHECKS[name](str(EXAMPLES / f"{name}.py"))  # type: ignore[operator]


def test_the_examples_work_together() -> None:
    """An algorithm, a model, a dataset and an estimator of the user's own: one run, one estimate."""
    runner = CliRunner()
    plugins = {"algo": "dreg", "model": "logistic_fa", "dataset": "bars"}
    chosen = [word for option, name in plugins.items() for word in (f"--{option}", str(EXAMPLES / f"{name}.py"))]
    ran = runner.invoke(cli, ["run", *chosen, "--samples", "20000", "--lr", "0.01"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    estimator = ["--estimator", str(EXAMPLES / "prior_sampling.py"), "--K", "100", "--points", "50"]
    refused = runner.invoke(cli, ["evaluate", "dreg", *estimator])
    assert "name it in this command by --model" in str(refused.exception)
    judged = runner.invoke(cli, ["evaluate", "dreg", *estimator, *chosen[2:]], catch_exceptions=False)
    assert judged.exit_code == 0, judged.output
    assert "prior-sampling" in judged.output


def test_dreg_has_no_gradient_of_phi_at_the_exact_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """There every weight is p(x), whatever z is: not a mean over noise, each sample's gradient vanishes."""
    dreg = registry.get("algorithms", user_names(EXAMPLES / "dreg.py")).module
    linear = registry.get("models", "linear-gaussian").module
    data = api.DataFacts("real", 12, 60)
    model, recognition = linear.build(linear.Config(nz=1, init_sd=0.5), data, api.Streams(0), torch.float64)
    x = model.sample(20, api.Streams(1)("points"))
    posterior = model.exact_posterior(x)
    variance = posterior.chol.detach()[0, 0] ** -2
    W, mean, log_noise = model.params.views
    A, a, log_var = recognition.params.views
    with torch.no_grad():
        A.copy_(variance * (W * (-log_noise).exp()).T)
        a.copy_(-mean @ A)
        log_var.fill_(variance.log())
    problem = api.Problem(model, recognition, data)
    state = dreg.init(problem, dreg.Config(K=5), api.Streams(2)("noise"))
    monkeypatch.setattr(state.adam, "step", lambda: None)
    info = dreg.step(state, api.Batch(x, torch.arange(20)))
    assert info.objective.item() == pytest.approx(model.log_p_x(x).mean().item())
    assert recognition.params.flat.grad.abs().max() < 1e-10
    assert model.params.flat.grad.abs().max() > 1e-3


def numbers(table: str) -> list[list[str]]:
    """Return the cells of a markdown table's rows, whatever its columns are called."""
    rows = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


TABLES = re.findall(r"(?:^\|.*\n)+", (DOCS / "reproduction.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("table", "arguments", "where"),
    [
        (TABLES[0], ("figure2", "--at", "1e7"), ""),
        (TABLES[1], ("figure2", "--at", "3162278"), "mnist"),
        (TABLES[2], ("figure3", "--at", "1e7"), ""),
    ],
    ids=["figure 2", "figure 2, three seeds", "figure 3"],
)
def test_the_tables_are_those_of_the_stored_runs(table: str, arguments: tuple[str, ...], where: str) -> None:
    results = ("--results", str(ROOT / "results"))
    ran = CliRunner().invoke(cli, ["table", *arguments, "--format", "markdown", *results], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert numbers(table) == [row for row in numbers(ran.stdout) if row[0].startswith(where)]


def test_the_ends_of_figure_3_are_those_of_the_stored_runs() -> None:
    """The table after 6·10⁷ samples: the last estimates by quadrature of seed 0."""
    from harness.store.store import Store

    rows = numbers(TABLES[3])
    assert len(rows) == 6
    for run in Store(ROOT / "results").runs("figure3"):
        record, _ = run.content()
        if record.spec["seed"]:
            continue
        key = [str(record.spec["n_train"]), record.spec["algorithm"]["name"]]
        ends = {e["split"]: f"{e['mean']:.2f}" for e in record.summary if e["estimator"] == "quadrature"}
        (row,) = [row for row in rows if row[:2] == key]
        assert row[2:4] == [ends["train"], ends["test"]]


def test_the_flow_is_drawn(tmp_path: Path) -> None:
    flow = runpy.run_path(str(DOCS / "flow.py"))
    arrows = flow["imports"]()
    assert {"cli", "claims", "training", "api", "store"} <= set(arrows)
    assert flow["levels"](arrows)["cli"] == max(flow["levels"](arrows).values())
    for room in arrows:
        assert flow["below"](room, flow["needed"](arrows)) == flow["below"](room, arrows)
    flow["draw"](tmp_path / "flow.svg")
    assert (tmp_path / "flow.svg").read_text().startswith("<?xml")
