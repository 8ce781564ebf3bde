"""The fixture and the mark that every pytest has once the harness is installed."""

import sys
from pathlib import Path

import pytest
import scipy.stats  # noqa: F401  # pytester forgets what an inner run imports, and NumPy can be loaded only once
from support import put, seeds

from harness.store.store import Store

CLAIMS = 'group = "mine"\n[[claim]]\nname = "learns"\nkind = "bound"\nat = 1e6\nleast = {}\n'


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with stored runs and two files of claims, of which one holds."""
    put(Store(Path(pytester.path) / "results"), seeds(-130.0, -134.0))
    monkeypatch.setenv("HARNESS_RESULTS", str(pytester.path / "results"))
    for name, least in (("good", -133), ("bad", -100)):
        (pytester.path / f"{name}.toml").write_text(CLAIMS.format(least))
    return pytester


def test_fixture_and_mark(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        def test_good(inference_bounds):
            (verdict,) = inference_bounds.check("good.toml")
            assert verdict.says == "holds"

        def test_bad(inference_bounds):
            inference_bounds.check("bad.toml")

        @pytest.mark.inference_bounds("good.toml")
        def test_marked_good(): ...

        @pytest.mark.inference_bounds("bad.toml")
        def test_marked_bad(): ...

        def test_none(inference_bounds):
            inference_bounds.check("none.toml")
        """
    )
    result = project.runpytest("--strict-markers", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=2, errors=1)  # a mark fails in set-up, which is an error of the test
    result.stdout.fnmatch_lines(
        ["*at 1,000,000 samples fails: 32 nats below what is allowed (≥ -100 required, observed -132*"]
    )
    result.stdout.fnmatch_lines(["*BadInput: the claims file 'none.toml' does not exist*"])


def test_runs_are_made(project: pytest.Pytester) -> None:
    from harness.testing import toy

    (project.path / "small.toml").write_text(
        f'[[grid]]\nalgo = "aevb"\ndataset = "{toy.__file__}"\nnz = 2\nhidden = 5\nbatch-size = 10\nsamples = 500\n'
    )
    (project.path / "made.toml").write_text(
        'experiment = "small.toml"\n[[claim]]\nkind = "invariant"\nholds = "ledger"\nper-datapoint = { samples = 1 }\n'
    )
    project.makepyfile("def test_it(inference_bounds):\n    inference_bounds.check('made.toml', run=True, jobs=1)\n")
    project.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_nothing_heavy_is_imported_before_a_check(project: pytest.Pytester) -> None:
    project.makepyfile("import sys\ndef test_it():\n    assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)\n")
    project.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


STRANGER = """
import pytest

@pytest.mark.bounds(1, upper=2)
def test_marked(): ...

def test_it():
    import harness
    assert harness.ANSWER == 42

@pytest.fixture
def bounds():
    return 0, 1

def test_fixture(bounds):
    assert bounds == (0, 1)
"""


def test_a_project_with_a_harness_and_bounds_of_its_own_is_not_disturbed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(harness="ANSWER = 42\n", test_theirs=STRANGER)
    pytester.makeini("[pytest]\npythonpath = .\nmarkers = bounds: of an interval\nfilterwarnings = error\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
    ]  # -m: their folder goes first
    result = pytester.run(*command)
    result.assert_outcomes(passed=3)
    assert "inference_harness" in pytester.run(*command, "--trace-config").stdout.str()  # and the plugin is there


def test_a_stranger_who_uses_the_mark_is_told_which_module_is_in_the_way(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        harness="",
        test_theirs="""
        import pytest

        @pytest.mark.inference_bounds("claims.toml")
        def test_it(): ...
        """,
    )
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*inference_bounds needs the package harness of inference-harness, and `import harness` gives*"]
    )


def test_the_package_is_not_imported_for_those_who_do_not_use_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_it():\n    assert 'harness' not in sys.modules\n")
    pytester.run(sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider").assert_outcomes(passed=1)
