"""The store of results: one folder for each run (DESIGN §6).

    <root>/<group>/<run id>/run.json                specification, status, ledger, provenance, summary
                            trace.jsonl             a row for each mark; append-only
                            checkpoint.safetensors  everything that the next step depends on (not committed)
                            best-valid.safetensors  what is kept of the best mark, if it is (not committed)
                            evaluations.json        estimates made after training
                            gradients.json          measurements of gradient estimators
                            imputations.json        and of entries that were hidden
                            owner.lock, owner.json  the process that is writing the run (see `harness.store.lease`)
    <root>/tune/<study>.json                        what `harness tune` has chosen
    <root>/quarantine/<group>/<run id>/             damaged files that were moved away

Every file except the trace is replaced as a whole, and carries a checksum of all its bytes. run.json and the checkpoint record
the length and the checksum that the trace had when they were written. Resuming a run removes the rows after its checkpoint.
"""

import os
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from harness.errors import BadInput, StoreTrouble, suggestion
from harness.files import require_inside, sync_folder
from harness.store.record import NAME
from harness.store.run import FILES, Damage, Run

_RUN_ID = re.compile(NAME)

QUARANTINE = "quarantine"

STUDIES = "tune"
"""The folder of what `harness tune` has chosen, and the group of its trials."""


def default_root() -> Path:
    """Return HARNESS_RESULTS, or `results` in the current folder."""
    return Path(os.environ.get("HARNESS_RESULTS") or "results")


class Store:
    """A folder of runs.

    Args:
        root: the folder; it need not exist before something is written.

    Attributes:
        root: its absolute path without links, as it was at the beginning: code that changes the working folder moves no store.
    """

    def __init__(self, root: Path):
        self.root = Path(os.path.realpath(root))
        if root.exists() and not root.is_dir():
            raise BadInput(f"the store {str(root)!r} is a file: name a folder with --results")

    def require_writable(self) -> None:
        """Raise BadInput unless runs can be written here; leaves nothing behind."""
        folder = self.root
        while not folder.exists() and folder != folder.parent:  # as a drive that is not there
            folder = folder.parent
        if not folder.is_dir():
            why = "a file" if folder.exists() else "not there"
            raise BadInput(
                f"the store {str(self.root)!r} is no folder, as {str(folder)!r} is {why}: name a folder with --results"
            )
        try:
            tempfile.TemporaryFile(dir=folder).close()  # which has no name, so a kill leaves nothing
        except OSError as error:
            raise BadInput(
                f"the store {str(self.root)!r} cannot be written ({error.strerror}): name another folder with --results"
            ) from error

    def runs(self, group: str = "*") -> Iterator["Run"]:
        """Yield every run of a group, or of every group, sorted by group and id."""
        if self.root.is_dir():
            for path in sorted(self.root.glob(f"{group}/*/run.json")):
                yield Run(path.parent)

    def folders(self) -> list["Run"]:
        """Return every folder that has a file of a run, even one without a run.json, sorted by group and id."""
        return [Run(path) for path in sorted({path.parent for path in self.root.glob("*/*/*") if path.name in FILES})]

    def studies(self) -> list[Path]:
        """Return the files of what `harness tune` has chosen."""
        return sorted((self.root / STUDIES).glob("*.json"))

    def damage(self) -> Iterator["Damage"]:
        """Yield the damage found in the runs that no process is writing."""
        for run in self.folders():
            if not run.owned():
                yield from run.damage()

    def require_groups(self, groups: Collection[str], known: Collection[str]) -> None:
        """Raise BadInput unless each of these groups is one of the known ones."""
        for group in groups:
            if group not in known:
                raise BadInput(
                    f"there is no group {group!r} in {str(self.root)!r}{suggestion(group, known)}: "
                    f"choose {', '.join(sorted(known)) or 'another store with --results'}"
                )

    def quarantine(self, damage: "Damage") -> Path:
        """Move a damaged file or run into the folder `quarantine`, and return its new path.

        Raises:
            BadInput: the run's folder is a link out of the store, or the run is no longer damaged.
            Busy: another process has begun to write the run.
            StoreTrouble: it cannot be moved.
        """
        run = damage.run
        require_inside(self.root, self.root / QUARANTINE / run.path.parent.name)
        run.claim()
        try:
            if damage.file not in [now.file for now in run.damage()]:
                raise BadInput(f"{run.path} has been mended meanwhile: see `harness doctor --store`")
            there = self.root / QUARANTINE / run.path.parent.name
            number = 1
            while (moved := there / (run.id if number == 1 else f"{run.id}.{number}")).exists():
                number += 1
            if damage.file is None:
                there.mkdir(parents=True, exist_ok=True)
                os.rename(run.path, moved)
                sync_folder(there)
                for name in ("owner.json", "owner.lock"):
                    (moved / name).unlink(missing_ok=True)
                return moved
            moved.mkdir(parents=True)
            os.rename(run.path / damage.file, moved / damage.file)
            return moved / damage.file
        except OSError as error:
            raise StoreTrouble(f"{run.path} cannot be moved ({error.strerror}): make the store writable") from error
        finally:
            run.release()

    def run(self, run_id: str, group: str = "runs") -> "Run":
        """Return where a run of this id is or would be."""
        if not _RUN_ID.fullmatch(run_id):
            raise BadInput(f"{run_id!r} is no run id: letters a-z, digits, '.', '_' and '-'; see `harness list`")
        return Run(self.root / group / run_id)

    def find(self, name: str) -> "Run":
        """Return the stored run with this id, or whose id alone begins so or has these last digits; see `beginning`.

        Where names leave a choice a single run in the group `runs`, the user's own, goes before those of other groups.

        Raises:
            BadInput: there is none, or several.
        """
        near = self.beginning(name)
        own = [run for run in near if run.path.parent.name == "runs"]
        if len(own) == 1:
            return own[0]
        if len(near) > 1:
            ids = [f"{run.path.parent.name}/{run.id}" for run in near[:5]]
            raise BadInput(f"{name!r} could be {', '.join(ids)}: write more of the id")
        return near[0]

    def beginning(self, name: str) -> list["Run"]:
        """Return the stored runs with this id, else those whose ids begin so, else those with these last digits.

        Only those of one group are meant where `group/` stands before the id.

        Raises:
            BadInput: there is none.
        """
        group, slash, begin = name.rpartition("/")
        if not _RUN_ID.fullmatch(begin) or (slash and not _RUN_ID.fullmatch(group)):
            hint = "put the id before all settings" if name.startswith("-") else "letters a-z, digits, '.', '_' and '-'"
            raise BadInput(f"{name!r} is no run id: {hint}; see `harness list`")
        runs = [run for run in self.runs() if not slash or run.path.parent.name == group]
        near = (
            [run for run in runs if run.id == begin]
            or [run for run in runs if run.id.startswith(begin)]
            or [run for run in runs if run.id.rpartition("-")[2] == begin]
        )
        if not near:
            ids = [run.id for run in runs]
            raise BadInput(f"there is no run {name!r} in {str(self.root)!r}{suggestion(name, ids)}: see `harness list`")
        return near
