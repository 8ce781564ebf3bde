"""The three ways in, doubled names, and plugins that do not import."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import harness.algorithms
import pytest
from support import PLUGINS, Result, environment, user_names

from harness.errors import BadInput, PluginFailed
from harness.specs import registry
from harness.testing import conformance


def test_built_in_plugins_are_found_by_scanning() -> None:
    assert "aevb" in registry.names("algorithms")
    assert "mnist" in registry.names("datasets")
    assert "mlp" in registry.names("models")
    assert "lower-bound" in registry.names("estimators")
    assert not [
        p.broken
        for kind in ("algorithms", "datasets", "models", "estimators")
        for p in registry.listing(kind)
        if p.broken
    ]


def test_names_are_listed_without_importing() -> None:
    code = "import sys; from harness.specs import registry; print(registry.names('algorithms'), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("False")
    assert "aevb" in out


def test_a_file_of_30_lines_is_an_algorithm(harness: Callable[..., Result], tiny_run: list[str]) -> None:
    path = PLUGINS / "renyi.py"
    assert len(path.read_text().splitlines()) <= 30
    conformance.check_algorithm(str(path))
    words = [w if w != "aevb" else str(path) for w in tiny_run]
    words = words[: words.index("--warmup")]
    done = harness(*words, "--samples", "30000", "--K", "3", "--lr", "0.01")
    assert done.code == 0, done.err
    assert "renyi-toy-nz2-s0-" in done.out
    assert "lower-bound on 40 test points: -" in done.out


def test_an_installed_package_brings_an_algorithm_by_its_entry_point(tmp_path: Path) -> None:
    """Really built and installed, into a folder of its own, and run by the command in a process that sees that folder."""
    site, source = tmp_path / "site", _copy(PLUGINS / "package", tmp_path / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    from harness.testing import toy

    words = [
        "run",
        "--algo",
        "someones",
        "--dataset",
        toy.__file__,
        "--nz",
        "2",
        "--hidden",
        "5",
        "--samples",
        "20000",
    ]
    env = environment(PYTHONPATH=str(tmp_path / "site"))
    done = subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "someones-toy-nz2-s0-" in done.stdout
    listed = subprocess.run(
        [sys.executable, "-m", "harness", "algos"], capture_output=True, text=True, env=env, check=True
    )
    assert "someones (package someones-algorithm (someones_algorithm))" in listed.stdout


def _copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.glob("*.*"):
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_two_plugins_of_one_name_are_refused_naming_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "aevb.py"
    path.write_text((PLUGINS / "renyi.py").read_text())
    with pytest.raises(BadInput, match=r"2 algorithms are called 'aevb': .*aevb\.py and built-in; rename one"):
        registry.get("algorithms", user_names(path))
    point = EntryPoint("aevb", "harness.algorithms.aevb", "harness.algorithms")
    monkeypatch.setattr(registry, "_installed", lambda group: [point] if group == "harness.algorithms" else [])
    with pytest.raises(BadInput, match=r"called 'aevb': built-in and package"):
        registry.get("algorithms", "aevb")
    assert all(
        p.broken == "another plugin has the same name" for p in registry.listing("algorithms") if p.name == "aevb"
    )


def test_a_broken_plugin_is_listed_with_its_reason_and_the_rest_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harness: Callable[..., Result]
) -> None:
    (tmp_path / "cracked.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "hollow.py").write_text('"""Lacks everything."""\n')
    monkeypatch.setattr(harness_algorithms := __import__("harness.algorithms").algorithms, "__path__", [
        *harness_algorithms.__path__, str(tmp_path)
    ])  # fmt: skip
    found = {p.name: p.broken for p in registry.listing("algorithms")}
    assert found["aevb"] is None
    said = "ModuleNotFoundError: No module named 'nothing_of_this_name': `import nothing_of_this_name`"
    assert found["cracked"] == f"cracked.py:1: {said}"
    assert found["hollow"] is not None
    assert found["hollow"].startswith("it has no TRAITS, no Config, no init, no step")
    done = harness("algos")
    assert done.code == 0
    assert "BROKEN: cracked.py:1: ModuleNotFoundError" in done.out
    with pytest.raises(PluginFailed, match="'cracked' .* cannot be used: cracked.py:1: ModuleNotFoundError"):
        registry.get("algorithms", "cracked")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aebv", "there is no algorithm 'aebv' (did you mean 'aevb'?): choose one of aevb"),
        ("zzz", "there is no algorithm 'zzz': choose one of"),
        ("./none.py", "the plugin file 'none.py' does not exist"),
    ],
)
def test_an_unknown_name_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(BadInput) as error:
        registry.get("algorithms", name)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("def f(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError: division by zero"), ("x = 1\n", "it has no TRAITS")],
)
def test_a_file_that_is_no_plugin_says_why(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad_file.py"
    path.write_text(content)
    with pytest.raises((BadInput, PluginFailed), match=reason) as caught:
        registry.get("algorithms", user_names(path))
    assert caught.value.exit_code == (2 if reason.startswith("it has no") else 3)


def test_a_binary_file_is_no_plugin(tmp_path: Path) -> None:
    path = tmp_path / "archive.py"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y" * 100)
    with pytest.raises(
        PluginFailed, match="cannot be used: (SyntaxError|ValueError): source code string cannot contain null bytes"
    ):
        registry.get("algorithms", user_names(path))
    assert harness.algorithms.__path__
