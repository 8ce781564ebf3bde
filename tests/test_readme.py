"""README and the project agree."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support import PLUGINS

from harness.claims.file import KINDS, Claims
from harness.claims.invariants import HOLDS
from harness.cli.app import cli
from harness.runs.doctor import PACKAGES
from harness.specs.experiment import Experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_begins_with_the_two_commands_that_ci_runs() -> None:
    first, second = (
        "python -m pip install -e . && harness run --algo aevb --nz 20",
        'python -m pip install -e ".[test]" && pytest',
    )
    assert README.index(first) < README.index(second) < 1500
    assert second in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_is_described(command: str) -> None:
    assert re.search(rf"`harness {command}\b", README), f"README says nothing of `harness {command}`"


def test_the_algorithm_it_shows_is_the_tested_file() -> None:
    assert (PLUGINS / "iwae.py").read_text().strip() in README


def test_the_experiment_it_shows_is_sound(tmp_path: Path) -> None:
    (text,) = [block for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "[[grid]]" in block]
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("./my_algorithm.py", str(PLUGINS / "iwae.py")))
    experiment = Experiment(str(path))
    assert len(experiment.tasks()) == 3 * 2 * 2 * 3
    assert experiment.figure is not None
    assert experiment.tune.samples == 20_000


def test_the_claims_it_shows_are_sound(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (claims,) = [block for block in blocks if "[[claim]]" in block]
    (experiment,) = [block for block in blocks if "[[grid]]" in block]
    (tmp_path / "mine.toml").write_text(experiment.replace("./my_algorithm.py", str(PLUGINS / "iwae.py")))
    (tmp_path / "claims.toml").write_text(claims)
    assert [claim.kind for claim in Claims(str(tmp_path / "claims.toml")).claims] == ["baseline", "bound", "order"]
    for kind in KINDS:
        assert f"| `{kind}` |" in README
    for holds in HOLDS:
        assert f"(`{holds}`" in README or f"`{holds}`)" in README


def test_the_workflow_is_the_command_it_shows() -> None:
    command = "harness check quick --run --junit bounds.xml"
    assert command in README
    assert command in (ROOT / ".github" / "workflows" / "bounds.yml").read_text()


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_every_dependency_has_its_reason(requirement: str) -> None:
    name = re.split(r"[<>=!]", requirement)[0]
    assert re.search(rf"^\| {name} +\|", README, re.MULTILINE), f"README's dependency table lacks {name}"
    assert name in PACKAGES


def test_every_dependency_is_locked() -> None:
    locked = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[0] != "#"]
    assert all(str(pinned.specifier).startswith("==") for pinned in locked)
    for requirement in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]):
        versions = [pin.version for pinned in locked if pinned.name == requirement.name for pin in pinned.specifier]
        assert versions, f"{requirement.name} is not in requirements.lock"
        assert all(requirement.specifier.contains(version) for version in versions)


def test_every_picture_exists() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture
