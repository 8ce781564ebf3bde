"""README, the pages of docs/ and the project agree."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support import PLUGINS

import harness
from harness.claims.file import KINDS, Claims
from harness.claims.invariants import HOLDS
from harness.cli.app import cli
from harness.runs.doctor import required_packages
from harness.specs.experiment import Experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
CLAIMS = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_begins_with_the_two_commands_that_ci_runs() -> None:
    first, second = (
        "python -m pip install -e . && harness run --algo aevb --nz 20",
        'python -m pip install -e ".[test]" && pytest',
    )
    assert README.index(first) < README.index(second) < 1500
    assert second in (ROOT / ".ci" / "run").read_text()
    assert second in (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_is_described(command: str) -> None:
    assert re.search(rf"`harness {command}\b", COMMANDS), f"docs/commands.md says nothing of `harness {command}`"


def test_the_algorithm_it_shows_is_the_tested_file() -> None:
    assert (PLUGINS / "renyi.py").read_text().strip() in README


def test_the_experiment_that_docs_show_is_sound(tmp_path: Path) -> None:
    (text,) = [block for block in re.findall(r"```toml\n(.*?)```", EXPERIMENTS, re.DOTALL) if "[[grid]]" in block]
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("./my_algorithm.py", str(PLUGINS / "renyi.py")))
    experiment = Experiment(str(path))
    assert len(experiment.tasks()) == 3 * 2 * 2 * 3
    assert experiment.figure is not None
    assert experiment.tune.samples == 20_000


def test_the_claims_that_docs_show_are_sound(tmp_path: Path) -> None:
    (claims,) = [block for block in re.findall(r"```toml\n(.*?)```", CLAIMS, re.DOTALL) if "[[claim]]" in block]
    (experiment,) = [block for block in re.findall(r"```toml\n(.*?)```", EXPERIMENTS, re.DOTALL) if "[[grid]]" in block]
    (tmp_path / "mine.toml").write_text(experiment.replace("./my_algorithm.py", str(PLUGINS / "renyi.py")))
    (tmp_path / "claims.toml").write_text(claims)
    assert [claim.kind for claim in Claims(str(tmp_path / "claims.toml")).claims] == ["baseline", "bound", "order"]
    for kind in KINDS:
        assert f"| `{kind}` |" in CLAIMS
    for holds in HOLDS:
        assert f"(`{holds}`" in CLAIMS or f"`{holds}`)" in CLAIMS


def test_the_workflow_is_the_command_it_shows() -> None:
    command = "harness check quick --run --junit bounds.xml"
    assert command in README
    assert command in CLAIMS
    assert command in (ROOT / ".github" / "workflows" / "bounds.yml").read_text()


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_every_dependency_has_its_reason(requirement: str) -> None:
    name = re.split(r"[<>=!]", requirement)[0]
    assert re.search(rf"^\| {name} +\|", DEPENDENCIES, re.MULTILINE), f"docs/dependencies.md lacks {name}"
    assert name in required_packages()


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_every_extra_is_described(extra: str) -> None:
    assert re.search(rf"^\| `{extra}` +\|", DEPENDENCIES, re.MULTILINE), f"docs/dependencies.md lacks the extra {extra}"


def test_every_dependency_is_locked() -> None:
    locked = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[0] != "#"]
    assert all(str(pinned.specifier).startswith("==") for pinned in locked)
    for requirement in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]):
        versions = [pin.version for pinned in locked if pinned.name == requirement.name for pin in pinned.specifier]
        assert versions, f"{requirement.name} is not in requirements.lock"
        assert all(requirement.specifier.contains(version) for version in versions)


def test_the_oldest_dependencies_are_those_allowed() -> None:
    oldest = runpy.run_path(str(ROOT / ".github" / "oldest.py"))["oldest"]
    found = {line.partition("==")[0]: line.partition("==")[2] for line in oldest(["test"])}
    requirements = [*map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]])]
    assert set(found) == {requirement.name for requirement in requirements}
    for requirement in requirements:
        assert requirement.specifier.contains(found[requirement.name])
        assert [s.version for s in requirement.specifier if s.operator == ">="] == [found[requirement.name]]


def test_the_version_stands_in_one_place() -> None:
    assert Version(harness.__version__)
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert f"## [{harness.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_picture_exists() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture
