"""Claims in a project's own tests: what `inference_harness_pytest`, which pytest loads without this package, does when used."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.claims.evidence import Verdict


class Bounds:
    """What the fixture `inference_bounds` is."""

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
        allow_unmatched_seeds: bool = False,
        plugins: Sequence[str | Path] = (),
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
            allow_unmatched_seeds: compare the seeds that both sides have, where one has more.
            plugins: plugin files of stored runs, which are executed only if they are named here or in an experiment.

        Returns:
            All verdicts.

        Raises:
            BadInput: as `harness.claims.check.check`.
            RunFailed: a run failed or diverged, or is not what it says; see `harness verify`.
        """
        __tracebackhide__ = True
        from harness.claims import check, evidence
        from harness.claims.file import Claims
        from harness.claims.wording import sentence
        from harness.errors import RunFailed
        from harness.safe_text import line
        from harness.specs import named
        from harness.store.store import Store, default_root

        named.note(*plugins)
        chosen = Claims(str(claims))
        store = Store(Path(results) if results else default_root())
        groups: dict[str, str] = {}
        if run:
            from harness.runs import verify
            from harness.runs.local import LocalExecutor
            from harness.runs.sweep import Scheduler
            from harness.specs.cores import usable_cores

            executor = LocalExecutor(store, jobs or usable_cores(), data_dir)
            groups, ended = check.make(chosen, Scheduler(executor), only)
            if failures := check.failures(ended) + verify.failures(ended, executor):
                raise RunFailed("; ".join(failures))
        verdicts = check.check(
            evidence.Evidence(
                chosen, store, groups, only, data_dir=data_dir, trains=run, unmatched=allow_unmatched_seeds
            )
        )
        if check.failed(verdicts, strict=strict):
            bad = [line(sentence(one)) for one in verdicts if one.says not in ("holds", "better")]
            pytest.fail(f"{chosen.path}:\n" + "\n".join(bad), pytrace=False)
        return verdicts
