"""Which stored runs are of the code and of the experiment as they are now, and which are of earlier versions.

A run's specification has the SHA-256 of the user's plugin files, which tells its version. Nothing is executed here, so a file
that no longer works does no harm.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.specs import data_file, plugin_file
from harness.specs.where import KINDS, is_data, plugins

if TYPE_CHECKING:
    from harness.specs.experiment import Experiment

Versions = Literal["now", "all"]
"""Whether runs of the present version alone are taken, or those of earlier ones, too."""

Say = Callable[[str], None]


def remarks(runs: Iterable[StoredRun]) -> list[str]:
    """Return in words of which files these runs are earlier versions, and which files are gone."""
    now = PluginFiles()
    found = {run.id: now.differing(run) for run in runs}
    changed, gone = _by_file(found, "earlier"), _by_file(found, "gone")
    return [
        *(f"{_runs(ids)} of an earlier version of {file}" for file, ids in changed.items()),
        *(_unknown(file, ids) for file, ids in gone.items()),
    ]


def present(
    runs: Sequence[StoredRun], experiment: "Experiment | None", say: Say, versions: Versions = "now"
) -> list[StoredRun]:
    """Return the runs that are of the code and the experiment as they are now, or all, with what tells their versions apart.

    Args:
        runs: of one group.
        experiment: theirs; None where they are of none.
        say: told what was left out, or is shown though it is of an earlier version, and of which file.
        versions: "now" leaves earlier versions out; "all" names each by the date and time of its first run.

    Raises:
        BadInput: no run is of the present version.
    """
    now = PluginFiles(experiment.files if experiment else None)
    differ = {run.id: now.differing(run) for run in runs}
    changed = _by_file(differ, "earlier")
    earlier = {name for ids in changed.values() for name in ids}
    unasked = [run.id for run in runs if run.id not in earlier and experiment and not experiment.asks_for(run.option)]
    for file, ids in _by_file(differ, "gone").items():
        say(_unknown(file, ids))
    if versions == "all":
        shown = [f"{_runs(ids)} of an earlier version of {file}" for file, ids in changed.items()]
        shown += (
            [f"{_runs(unasked)} not asked for by {experiment.path.name} as it is now"] if unasked and experiment else []
        )
        for words in shown:
            say(words)
        return _dated(runs, earlier, unasked)
    kept = [run for run in runs if run.id not in earlier and run.id not in unasked]
    left = [f"{len(ids)} of an earlier version of {file}" for file, ids in changed.items()]
    left += (
        [f"{len(unasked)} that {experiment.path.name} does not ask for as it is now"] if unasked and experiment else []
    )
    called = experiment.called if experiment else "EXPERIMENT"
    how = f"`harness table {called} --versions all` shows them"
    if left and not kept:
        raise BadInput(
            f"none of the {len(runs)} stored runs is of the present version ({', '.join(left)}): make the present ones with "
            f"`harness sweep {called}`; {how}"
        )
    if left:
        say(f"left out of {len(runs)} runs: {' and '.join(left)}; {how}, `harness rm` removes them")
    return kept


class PluginFiles:
    """The user's plugin files as they are now. Each is read once.

    Args:
        files: where they are, by the option and the name of the plugin; by default where runs had them.
    """

    def __init__(self, files: Mapping[tuple[str, str], Path] | None = None):
        self._files, self._known = files or {}, dict[Path, str | None]()

    def differing(self, run: StoredRun) -> dict[str, Literal["earlier", "gone"]]:
        """Return the plugin files of a run that are not what they were when it was made."""
        found: dict[str, Literal["earlier", "gone"]] = {}
        for option, part in plugins(run.spec):
            if part.get("sha256") is not None:
                path = self._files.get((option, part["name"]), Path(part.get("file") or part["name"]))
                if path not in self._known:
                    own = (option, part["name"]) in self._files
                    self._known[path] = _sha256(option, path) if own or path.is_absolute() else None
                now = self._known[path]
                if now not in ("", part["sha256"]):  # of large data nothing is said
                    found[path.name] = "earlier" if now else "gone"
        return found


def _sha256(option: str, path: Path) -> str | None:
    """Return what identifies the content of a plugin file, or of data, now; None where it cannot be read."""
    try:
        return data_file.now(str(path)) if is_data(KINDS[option], str(path)) else plugin_file.read(path).sha256
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def _by_file(differ: Mapping[str, Mapping[str, str]], how: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run, files in differ.items():
        for file, what in files.items():
            if what == how:
                found.setdefault(file, []).append(run)
    return found


def _dated(runs: Sequence[StoredRun], earlier: Collection[str], unasked: Collection[str]) -> list[StoredRun]:
    """Return runs, those of earlier versions with the date of the first run of theirs."""
    code = {run.id: "".join(str(part.get("sha256"))[:8] for _, part in plugins(run.spec)) for run in runs}
    began: dict[str, str] = {}
    for run in runs:
        if time := next((str(session["time"]) for session in run.record.provenance if "time" in session), ""):
            began[code[run.id]] = min(time, began.get(code[run.id], time))
    dates = {key: time.replace("T", " ").removesuffix("Z") for key, time in began.items()}
    days = [dates[key][:10] for key in {code[name] for name in earlier} if key in dates]
    length = 10 if len(days) == len(set(days)) else 19  # two of one day are told apart by the time

    def version(run: StoredRun) -> str:
        if run.id in earlier:
            return dates.get(code[run.id], f"code {code[run.id]}")[:length]
        return "not asked for" if run.id in unasked else ""

    return [replace(run, version=version(run)) for run in runs]


def _runs(ids: Sequence[str]) -> str:
    return f"run {ids[0]} is" if len(ids) == 1 else f"{len(ids)} runs are"


def _unknown(file: str, ids: Sequence[str]) -> str:
    return f"{file} cannot be read, so nobody can tell whether {_runs(ids)} of its present version"
