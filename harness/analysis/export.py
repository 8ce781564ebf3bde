"""The store in one file or a folder, for other tools; of the first three, back again value for value.

    json            one file: a list of runs {group, record, rows, evaluations, gradients, origin, imputations}; NaN is
                    {"$float": "nan"}
    csv             a folder: runs.csv (a line a run), rows.csv (a line a mark), estimates.csv (a line an estimate)
    parquet         the same tables as runs.parquet, rows.parquet and estimates.parquet
    tensorboard     a folder that TensorBoard reads; see `harness.analysis.export_tensorboard`
    json-benchmark  what actions for continuous benchmarks take; see `harness.analysis.export_benchmark`

Tables join on `group`, `run` and `row`; `row` counts marks from 1, and is empty for an estimate that was made after training.
Their columns are for data frames, which cannot tell everything apart, such as a setting that is None from one that is not there.
So a line of runs and of rows also has, in the column `json`, what the store has, and a line of runs its `evaluations`,
`gradients`, what was measured of gradient estimators, `origin` and `imputations`: `read` needs nothing else. Of estimates of
other parameters than the last ones, `weights` says which: "average" or "best-valid". Those over documents have the `perplexity`
a word and its standard error `se_perplexity`, each in a column of its own. A foreign run has its maker in `foreign`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.analysis import export_tables, export_tensorboard
from harness.analysis.exported import Exported
from harness.errors import BadInput
from harness.files import (
    encoded,
    from_json,
    replace_file,
    replace_folder,
    replacing_folder,
    to_json,
    without_collection,
)
from harness.store.record import Record

TABLE_FORMATS = ("csv", "parquet")

FILE_FORMATS = {"json": b'[\n{"group": ', "json-benchmark": b'[\n {\n  "name": '}
"""Formats that are one file, and how it begins."""

FORMATS = (*TABLE_FORMATS, "json", "tensorboard", "json-benchmark")


def require_place(form: str, path: Path) -> None:
    """Raise BadInput unless this format can be written, and there is nothing at this path but an earlier export."""
    if form not in FORMATS:
        raise BadInput(f"--format is {form!r}: choose {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if form == "parquet":
        export_tables.arrow()
    if form == "tensorboard":
        export_tensorboard.library()
    try:
        if form in FILE_FORMATS:
            ours = path.is_file() and _begins(path, FILE_FORMATS[form])
        elif form == "tensorboard":
            ours = path.is_dir() and _has_events_alone(path)
        else:
            ours = path.is_dir() and set(os.listdir(path)) in (set(), *map(export_tables.files, TABLE_FORMATS))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read ({error.strerror}): name another place with --out") from error
    if os.path.lexists(path) and not ours:
        kind = "file" if form in FILE_FORMATS else "folder"
        raise BadInput(
            f"{str(path)!r} is there already, and is no {kind} of an earlier export: name another with --out"
        )


def write(runs: Sequence[Exported], form: str, path: Path, pictures: export_tensorboard.Pictures | None = None) -> None:
    """Write all of these runs, or nothing.

    Args:
        runs: as `exported.load` returned them.
        form: csv, parquet, json or tensorboard.
        path: of the file, or of the folder; an earlier export there is replaced.
        pictures: for TensorBoard.

    Raises:
        BadInput: as `require_place`; or there are no runs, or the place cannot be written.
    """
    require_place(form, path)
    if not runs:
        raise BadInput("no run can be read, so there is nothing to export: see `harness doctor`")
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "json":
            text = ",\n".join(to_json({**run._asdict(), "record": vars(run.record)}) for run in runs)
            replace_file(path, encoded(f"[\n{text}\n]\n"))
        elif form == "tensorboard":
            with replacing_folder(path) as new:
                export_tensorboard.write(runs, pictures or {}, new)
        else:
            with without_collection():
                files = export_tables.contents(runs, form)
            replace_folder(path, files)
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be written ({error.strerror}): name another with --out") from error


def read(path: Path) -> list[Exported]:
    """Return what was exported to a path, as the store had it.

    Raises:
        BadInput: there is no export, or it is damaged.
    """
    try:
        if path.is_file():
            content = from_json(path.read_text(encoding="utf-8"))
            return [Exported(**{**run, "record": Record(**run["record"])}) for run in content]
        for form in TABLE_FORMATS:
            if (path / f"runs.{form}").is_file():
                return export_tables.read(path, form)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise BadInput(f"{str(path)!r} is no whole export ({error}): export again with `harness export`") from error
    raise BadInput(f"{str(path)!r} is no export: make one with `harness export`")


def write_benchmark(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the entries of `harness.analysis.export_benchmark`; raises as `write`."""
    require_place("json-benchmark", path)
    if not entries:
        raise BadInput("no run is done, so there is nothing to export: see `harness list`")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path.resolve(), encoded(to_json(entries, indent=1) + "\n"))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be written ({error.strerror}): name another with --out") from error


def _has_events_alone(folder: Path) -> bool:
    return all(name.startswith(export_tensorboard.EVENTS) for _, _, names in os.walk(folder) for name in names)


def _begins(path: Path, content: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(content)) == content
