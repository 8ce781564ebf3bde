"""Help and shell completion: commands under headings, settings of the plugins chosen, and no import that makes them slow."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from support import PLUGINS, Result, environment

from harness.cli import app
from harness.specs.options import BUDGETS, OPTIONS
from harness.specs.run import Evaluation, RunSpec, make_spec
from harness.specs.values import PluginName, Words

Harness = Callable[..., Result]


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command."""
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def section(text: str, heading: str) -> list[str]:
    """Return the lines of help under a heading."""
    return text.partition(f"\n{heading}:\n")[2].partition("\n\n")[0].splitlines()


def test_commands_stand_under_headings(harness: Harness) -> None:
    shown = harness("--help").out
    for heading, names in {
        "Run": ["run", "resume", "extend", "evaluate", "certify", "impute"],
        "Many runs": ["sweep", "tune"],
        "Look": ["list", "show", "plot", "table", "compare", "rank", "report", "history", "watch"],
        "Judge": ["check", "verify", "baseline", "gradients"],
        "Store": ["rm", "gc", "export", "import", "publish", "doctor"],
        "Plugins": ["algos", "models", "datasets", "estimators", "data"],
    }.items():
        assert [line.split()[0] for line in section(shown, heading)] == names
    assert "..." not in shown.partition("Run:")[2]  # every command is described by a whole sentence
    assert harness().out == shown
    assert "save" in harness("baseline").out


@pytest.mark.parametrize("words", list(commands(app.cli)), ids=" ".join)
def test_help_fits_80_columns(harness: Harness, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = harness(*words, "--help")
    assert shown.code == 0
    assert shown.err == ""
    assert max(map(len, shown.out.splitlines())) <= 80
    assert not any(line.startswith("  -") and len(line.split("  ", 2)) < 2 for line in shown.out.splitlines())


def test_run_has_every_option_of_the_table(harness: Harness) -> None:
    shown = harness("run", "--help").out
    for option in (*OPTIONS.values(), *BUDGETS.values()):
        assert re.search(rf"^  --{option.name} ", shown, re.MULTILINE), option.name
        if option.default is not None:
            assert f"[default: {option.default}]" in " ".join(shown.split())


def test_the_table_and_the_specification_agree() -> None:
    """What a run is without options is what the table says; every option has its place in the specification."""
    spec = make_spec("aevb")
    fields = {**RunSpec.model_fields, **{f"evaluation.{name}": f for name, f in Evaluation.model_fields.items()}}
    for option in OPTIONS.values():
        if option.field in fields and not isinstance(option.value, PluginName | Words):
            assert fields[option.field].default == option.default
    assert (spec.dataset.name, spec.model.name) == (OPTIONS["dataset"].default, OPTIONS["model"].default)
    assert spec.evaluation.estimators[0].points == OPTIONS["eval-points"].default
    assert spec.evaluation.estimators[0].final_points == OPTIONS["final-points"].default
    assert ",".join(spec.evaluation.splits) in OPTIONS["splits"].help
    assert make_spec("aevb", device="cuda").device in OPTIONS["device"].value.words


def test_help_of_a_run_lists_the_settings_of_the_plugins_chosen(harness: Harness) -> None:
    shown = harness("run", "--algo", "aevb", "--help").out
    assert [line.split()[:2] for line in section(shown, "Settings of algorithm aevb")[:1]] == [["--lr", "X"]]
    for words in ("--estimator A|B", "analytic KL", "[default: B]"):
        assert words in "\n".join(section(shown, "Settings of algorithm aevb"))
    assert "--hidden N" in "\n".join(section(shown, "Settings of model mlp"))
    assert "--binarize none|stochastic|threshold" in "\n".join(section(shown, "Settings of dataset mnist"))
    assert "Settings of estimator" not in shown
    assert harness("run", "--help", "--algo=aevb").out == shown
    shown = harness("run", "--algo", PLUGINS / "renyi.py", "--final-marginal", "importance", "--marginal", "--help").out
    for heading in ("algorithm renyi", "model mlp", "estimator importance", "estimator hmc-density"):
        assert f"Settings of {heading}:" in shown
    shown = harness("run", "--model", "linear-gaussian", "--help").out
    assert "Settings of model linear-gaussian" in shown
    assert "Settings of algorithm" not in shown


def test_help_of_tune_and_evaluate_lists_settings(harness: Harness) -> None:
    shown = harness("tune", "--algo", "wake-sleep", "--estimator", "importance", "--help").out
    assert "Settings of algorithm wake-sleep:" in shown
    assert "Settings of model mlp:" in shown
    assert "Settings of estimator" not in shown  # that one has its defaults
    shown = harness("evaluate", "some-run", "--estimator", "importance", "--help").out
    assert "--K N" in "\n".join(section(shown, "Settings of estimator importance"))


def test_a_command_without_standard_streams_ends_as_it_should() -> None:
    for closed in (">&-", "2>&-"):
        done = subprocess.run(["sh", "-c", f'"{sys.executable}" -m harness --version {closed}'], timeout=60)
        assert done.returncode == 0, closed


def test_help_with_an_unknown_or_broken_plugin_is_one_sentence(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind\n")
    for words, code, said in (
        (("run", "--algo", "avb"), 2, r"there is no algorithm 'avb' \(did you mean 'aevb'\?\)"),
        (("tune", "--algo", "avb"), 2, r"there is no algorithm 'avb'"),
        (
            ("run", "--algo", tmp_path / "broken.py"),
            3,
            r"the algorithm 'broken' .* cannot be used: broken.py:1: ModuleNotFound",
        ),
        (("evaluate", "run", "--estimator", "aiz"), 2, r"there is no estimator 'aiz' \(did you mean 'ais'\?\)"),
    ):
        done = harness(*words, "--help")
        assert (done.code, done.out) == (code, "")
        assert re.fullmatch(rf"harness: {said}[^\n]*\n", done.err), done.err


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["tune", "--help"], ["evaluate", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; from harness import cli; sys.argv = ['harness', *{words}]\n"
    code += "try: cli.main()\nexcept SystemExit: pass\n"
    heavy = {
        "torch", "numpy", "pandas", "optuna", "seaborn", "matplotlib", "pydantic", "rich", "zstandard", "huggingface_hub",
        "tensorboardX", "altair", "vl_convert",
    }  # fmt: skip
    code += f"print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("set()")


def test_shell_completion_of_algorithms_and_runs(harness: Harness, tiny_run: list[str], tmp_path: Path) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]

    def complete(words: str) -> str:
        env = environment(
            _HARNESS_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - words.endswith("x")),
        )
        command = Path(sys.executable).with_name("harness")
        return subprocess.run([command], capture_output=True, text=True, env=env).stdout

    assert "plain,aevb" in complete("harness run --algo ")
    assert f"plain,{run_id}" in complete("harness show ")
