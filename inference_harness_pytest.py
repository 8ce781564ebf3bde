"""Claims in a project's own tests: a fixture and a mark, there for every pytest once inference-harness is installed.

    def test_learning(inference_bounds):
        inference_bounds.check("claims.toml", run=True)

    @pytest.mark.inference_bounds("claims.toml", run=True)
    def test_learning(): ...

Arguments are those of `harness.pytest_plugin.Bounds.check`. The test fails with a line for each claim that fails; with the mark
it does so in its set-up, which pytest calls an error.

Every pytest of the environment loads this module. So it stands outside the package, and imports that only for a test that uses
the fixture or the mark: a project may have a module `harness` of its own.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.pytest_plugin import Bounds

NAME = "inference_bounds"


@pytest.fixture
def inference_bounds() -> "Bounds":
    """Claims about runs: `inference_bounds.check("claims.toml")`."""
    return _bounds()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers", f"{NAME}(claims, **options): fail unless the claims of a file hold; see inference-harness"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the claims that a test is marked with."""
    for mark in item.iter_markers(NAME):
        _bounds().check(*mark.args, **mark.kwargs)


def _bounds() -> "Bounds":
    try:
        from harness.pytest_plugin import Bounds
    except ImportError as error:
        import harness

        where = getattr(harness, "__file__", None)
        pytest.fail(
            f"{NAME} needs the package harness of inference-harness, and `import harness` gives {where!r} ({error}): rename "
            "that module, or take it off the path",
            pytrace=False,
        )
    return Bounds()
