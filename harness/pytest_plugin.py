"""Claims in a project's own tests: a fixture and a mark, there for every pytest once the harness is installed.

    def test_learning(bounds):
        bounds.check("claims.toml", run=True)

    @pytest.mark.bounds("claims.toml", run=True)
    def test_learning(): ...

Arguments are those of `Bounds.check`. The test fails with a line for each claim that fails; with the mark it does so in its
set-up, which pytest calls an error. PyTorch is imported when something is checked, not before.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.claims.evidence import Verdict


class Bounds:
    """What the fixture `bounds` is."""

    def check(
        self,
        claims: str | Path,
        *,
        run: bool = False,
        results: str | Path | None = None,
        only: str | None = None,
        jobs: int | None = None,
        data_dir: str | None = None,
        strict: bool = False,
    ) -> "list[Verdict]":
        """Hold runs to claims, as `harness check` does, and fail the test unless all hold.

        Args:
            claims: name of a built-in file of claims, or path of a .toml file.
            run: make the runs that are missing, by the code as it is now.
            results: the store; by default HARNESS_RESULTS, else results.
            only: conditions on runs, such as "nz=20".
            jobs: runs at a time; by default one a core.
            data_dir: the folder of data files.
            strict: fail on what cannot be told, too.

        Returns:
            All verdicts.

        Raises:
            BadInput: as `harness.claims.check.check`.
            RunFailed: a run failed or diverged.
        """
        __tracebackhide__ = True
        from harness.claims import check, evidence
        from harness.claims.file import Claims
        from harness.claims.wording import sentence
        from harness.errors import RunFailed
        from harness.store.store import Store, default_root

        chosen = Claims(str(claims))
        store = Store(Path(results) if results else default_root())
        groups: dict[str, str] = {}
        if run:
            from harness.runs.local import LocalExecutor
            from harness.runs.sweep import Scheduler

            scheduler = Scheduler(LocalExecutor(store, jobs or os.cpu_count() or 1, data_dir))
            groups, ended = check.make(chosen, scheduler, only)
            if failures := check.failures(ended):
                raise RunFailed("; ".join(failures))
        verdicts = check.check(evidence.Evidence(chosen, store, groups, only, data_dir=data_dir, trains=run))
        if check.failed(verdicts, strict=strict):
            bad = [sentence(one) for one in verdicts if one.says not in ("holds", "better")]
            pytest.fail(f"{chosen.path}:\n" + "\n".join(bad), pytrace=False)
        return verdicts


@pytest.fixture
def bounds() -> Bounds:
    """Claims about runs: `bounds.check("claims.toml")`."""
    return Bounds()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers", "bounds(claims, **options): fail unless the claims of a file hold; see harness.pytest_plugin"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the claims that a test is marked with."""
    for mark in item.iter_markers("bounds"):
        Bounds().check(*mark.args, **mark.kwargs)
