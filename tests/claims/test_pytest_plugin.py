"""The fixture and the mark that every pytest has once the harness is installed."""

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

        def test_good(bounds):
            (verdict,) = bounds.check("good.toml")
            assert verdict.says == "holds"

        def test_bad(bounds):
            bounds.check("bad.toml")

        @pytest.mark.bounds("good.toml")
        def test_marked_good(): ...

        @pytest.mark.bounds("bad.toml")
        def test_marked_bad(): ...

        def test_none(bounds):
            bounds.check("none.toml")
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
    project.makepyfile("def test_it(bounds):\n    bounds.check('made.toml', run=True, jobs=1)\n")
    project.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_nothing_heavy_is_imported_before_a_check(project: pytest.Pytester) -> None:
    project.makepyfile("import sys\ndef test_it():\n    assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)\n")
    project.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
