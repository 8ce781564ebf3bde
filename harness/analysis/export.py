"""The store in one file or three tables, for other tools; and back, value for value.

    json        one file: a list of runs {group, record, rows, evaluations, gradients}; NaN and infinities are {"$float": "nan"}
    csv         a folder: runs.csv (a line a run), rows.csv (a line a mark), estimates.csv (a line an estimate)
    parquet     the same tables as runs.parquet, rows.parquet and estimates.parquet

Tables join on `group`, `run` and `row`; `row` counts marks from 1, and is empty for an estimate that was made after training.
Their columns are for data frames, which cannot tell everything apart, such as a setting that is None from one that is not there.
So a line of runs and of rows also has, in the column `json`, what the store has, and a line of runs its `evaluations` and
`gradients`, what was measured of gradient estimators: `read` needs nothing else. Of estimates of other parameters than the last
ones, `weights` says which: "average" or "best-valid". Those over documents have the `perplexity` a word and its standard error
`se_perplexity`, each in a column of its own.

Tables are written from lists, not by pandas: `DataFrame.to_csv` takes a fifth longer and writes NaN as it writes None, and a
column of whole numbers with a gap becomes one of floats.
"""

import io
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.analysis.selection import flat
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput, suggestion
from harness.files import encoded, from_json, replace_file, replace_folder, to_json, without_collection
from harness.safe_text import csv_cell
from harness.specs.where import parse_selection
from harness.store.best import best_row
from harness.store.record import Record
from harness.store.store import Store

TABLE_FORMATS = ("csv", "parquet")

FORMATS = (*TABLE_FORMATS, "json")

TABLES = ("runs", "rows", "estimates")

JSON = ("json", "evaluations", "gradients")

_JSON_BEGINS = b'[\n{"group": '

Line = dict[str, Any]


class Exported(NamedTuple):
    """A run as the store has it.

    Attributes:
        group: of the store.
        record: its run.json.
        rows: its trace.
        evaluations: what was estimated after training.
        gradients: what was measured of gradient estimators; exports that were made before there were any have none.
    """

    group: str
    record: Record
    rows: list[Line]
    evaluations: list[Line]
    gradients: Sequence[Line] = ()


def load(store: Store, selections: Sequence[str] = (), only: str | None = None) -> tuple[list[Exported], list[str]]:
    """Return runs of a store, and for every one that cannot be read the reason.

    Args:
        store: the store.
        selections: of runs; all of them by default.
        only: one more selection, which all of them have to be of.

    Raises:
        BadInput: there are none.
    """
    runs = store.folders()
    if not runs:
        raise BadInput(f"there are no runs in {str(store.root)!r}: make one with `harness run`, or name a --results")
    wanted, limit = [parse_selection(text) for text in selections or ("",)], parse_selection(only or "", "--only")
    for one in wanted:
        if not any(one.names(run.id, run.path.parent.name) for run in runs):
            known = sorted({run.path.parent.name for run in runs})
            raise BadInput(
                f"there is no group and no run {one.name!r} in {str(store.root)!r}{suggestion(one.name, known)}: choose of the "
                f"groups {', '.join(known)}, or see `harness list`"
            )
    found, unreadable = [], []
    with without_collection():
        for run in runs:
            group = run.path.parent.name
            if not any(one.names(run.id, group) for one in wanted):
                continue
            try:
                stored = run.content()
                option = StoredRun(*stored).option
                if any(one.meets(run.id, group, option) for one in wanted) and limit.meets(run.id, group, option):
                    found.append(Exported(group, *stored, run.evaluations(), run.gradients()))
            except (BadInput, OSError, ValueError) as error:
                unreadable.append(f"{group}/{run.id}: {error}")
    if not found and not unreadable:
        asked = " ".join([*selections, *([f"--only {only}"] if only else [])])
        raise BadInput(f"no run is meant by {asked}: see `harness list`")
    return found, unreadable


def require_place(form: str, path: Path) -> None:
    """Raise BadInput unless this format can be written, and there is nothing at this path but an earlier export."""
    if form not in FORMATS:
        raise BadInput(f"--format is {form!r}: choose {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if form == "parquet":
        _arrow()
    try:
        if form == "json":
            ours = path.is_file() and _begins(path, _JSON_BEGINS)
        else:
            ours = path.is_dir() and set(os.listdir(path)) in (set(), *map(_files, TABLE_FORMATS))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read ({error.strerror}): name another place with --out") from error
    if os.path.lexists(path) and not ours:
        kind = "file" if form == "json" else "folder"
        raise BadInput(
            f"{str(path)!r} is there already, and is no {kind} of an earlier export: name another with --out"
        )


def write(runs: Sequence[Exported], form: str, path: Path) -> None:
    """Write all of these runs, or nothing.

    Args:
        runs: as `load` returned them.
        form: csv, parquet or json.
        path: of the file, or of the folder of tables; an earlier export there is replaced.

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
        else:
            content = _csv if form == "csv" else _parquet
            with without_collection():
                files = {f"{name}.{form}": content(table) for name, table in _tables(runs).items()}
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
                return _from_tables(_lines(path / f"runs.{form}", JSON), _lines(path / f"rows.{form}", JSON[:1]))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise BadInput(f"{str(path)!r} is no whole export ({error}): export again with `harness export`") from error
    raise BadInput(f"{str(path)!r} is no export: make one with `harness export`")


class _Table:
    """Columns that grow by lines, which may have others than these."""

    def __init__(self, *columns: str) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._length = 0

    def add(self, lines: Sequence[Line]) -> None:
        """Add lines; what is nested in them becomes columns of dotted names."""
        for name, values in _columns(lines).items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._length - len(column)))
            column.extend(values)
        self._length += len(lines)

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns in the order of their first lines, those of one part together, JSON last."""
        for column in self._columns.values():
            column.extend([None] * (self._length - len(column)))
        parts = list(dict.fromkeys(name.partition(".")[0] for name in self._columns))
        order = sorted(self._columns, key=lambda name: (name in JSON, parts.index(name.partition(".")[0])))
        return {name: self._columns[name] for name in order}


def _tables(runs: Sequence[Exported]) -> dict[str, dict[str, list[Any]]]:
    """Return the columns of each table."""
    tables = _Table(), _Table("group", "run", "row", "json"), _Table("group", "run", "row", "estimator", "split")
    to_runs, to_rows, to_estimates = (table.add for table in tables)
    settings = _Settings()
    for group, record, rows, evaluations, gradients in runs:
        key = {"group": group, "run": record.run}
        stored = {
            "json": to_json(vars(record)), "evaluations": to_json(evaluations), "gradients": to_json(list(gradients)),
        }  # fmt: skip
        to_runs([key | _about(record) | _best(record, rows) | stored])
        numbered = list(enumerate(rows, 1))
        to_rows([{**key, "row": n, **_without_estimates(row), "json": to_json(row)} for n, row in numbered])
        estimated: list[Line] = []
        for n, row in [
            *numbered,
            *((None, {"ledger": e["ledger"], "estimates": [e["estimate"]]}) for e in evaluations),
        ]:
            begin = {**key, "row": n, **_spent(row)}
            for estimate in (*row.get("estimates", []), *row.get("averaged", [])):
                estimated.append({**begin, **estimate, "settings": settings.of(estimate)})
        to_estimates(estimated)
    return {name: table.columns() for name, table in zip(TABLES, tables, strict=True)}


def _about(record: Record) -> Line:
    """Return the columns of a record, such as algorithm and algorithm.lr; of its sessions, the last one's."""
    spec = {name.removesuffix(".name"): value for name, value in _leaves(record.spec).items()}
    spent = _leaves({"budget": record.budget, "ledger": record.ledger, "overshoot": record.overshoot})
    last = {"sessions": len(record.provenance), "provenance": record.provenance[-1] if record.provenance else {}}
    return {"status": record.status, "reason": record.reason} | spec | spent | _leaves(last)


def _best(record: Record, rows: Sequence[Line]) -> Line:
    """Return the columns of the mark that was best on the validation split, of a run that keeps it."""
    evaluation = record.spec.get("evaluation", {})
    if evaluation.get("keep") != "best-valid":
        return {}
    found = best_row(evaluation["estimators"], StoredRun(record, rows).sound_rows)
    if found is None:
        return {}
    row, estimate = found
    names = "mean", "se_points", "se_estimator", "perplexity", "se_perplexity"
    told = {name: estimate[name] for name in names if name in estimate}
    return _leaves({"best_valid": {"samples": row["ledger"]["samples"], **told}})


def _without_estimates(row: Line) -> Line:
    return {name: value for name, value in row.items() if name not in ("estimates", "averaged")}


def _spent(row: Line) -> Line:
    """Return the training that the model of an estimate had."""
    ledger = row.get("ledger", {})
    return {name: ledger.get(name) for name in ("samples", "datapoints", "cpu_seconds", "wall_seconds")}


class _Settings:
    """The settings of estimates as JSON, as each estimator has its own; a run has the same again and again."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, estimate: Line) -> str:
        """Return those of an estimate."""
        settings = estimate.get("settings", {})
        if (words := repr(settings)) not in self._known:
            self._known[words] = to_json(settings)
        return self._known[words]


def _leaves(content: Line) -> Line:
    """Return what is nested as columns of dotted names."""
    return {name: value for part, nested in content.items() for name, value in flat(part, nested).items()}


_NESTED = (dict, list, tuple)

_SPECIAL = re.compile(r'[",\r\n]')


def _columns(lines: Sequence[Line], begin: str = "") -> dict[str, list[Any]]:
    """Return lines as columns, with None where one has no such entry; `_leaves` of each would take six times as long."""
    found: dict[str, list[Any]] = {}
    for key in dict.fromkeys(itertools.chain.from_iterable(lines)):
        name = (begin if key == "settings" else f"{begin}.{key}") if begin else key
        column = [line.get(key) for line in lines]
        parts = {name: column}
        if not set(map(type, column)).isdisjoint(_NESTED):
            has_leaf = any(key in line and not isinstance(line[key], _NESTED) for line in lines)
            parts = {name: [None if isinstance(v, _NESTED) else v for v in column]} if has_leaf else {}
            for inner, values in _columns([_entries(value) for value in column], name).items():
                parts[inner] = _either(values, parts.get(inner))
        for part, values in parts.items():
            found[part] = _either(values, found.get(part))
    return found


def _either(column: list[Any], other: list[Any] | None) -> list[Any]:
    """Return a column, with another one of the same name where it has nothing."""
    if other is None:
        return column
    return [two if one is None else one for one, two in zip(column, other, strict=True)]


def _entries(value: Any) -> Line:
    """Return what is nested in a value by the last part of its dotted name."""
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, list | tuple) else {}  # type: ignore[arg-type]  # by number


def _csv(columns: dict[str, list[Any]]) -> bytes:
    """Return columns as CSV, as `csv.writer` has it, which takes four times as long: it looks at every letter by itself."""
    cells = [_cells(values, _quoted if name in JSON else _safe) for name, values in columns.items()]
    lines = [map(_safe, columns), *zip(*cells, strict=True)]
    return encoded("".join(f"{','.join(line)}\r\n" for line in lines))


def _cells(values: list[Any], cell: Callable[[str], str]) -> list[str]:
    """Return values as cells of CSV; most words of a column are there many times."""
    kinds = set(map(type, values))
    if kinds.isdisjoint((str, type(None))):
        return list(map(str, values))
    words: dict[Any, str] = {value: cell(value) for value in {value for value in values if isinstance(value, str)}}
    words[None] = ""
    return [words[value] if value is None or isinstance(value, str) else str(value) for value in values]


def _safe(word: str) -> str:
    """Return a word as a cell that is no formula."""
    return _quoted(str(csv_cell(word)))


def _quoted(word: str) -> str:
    """Return a word as a cell of CSV."""
    return '"' + word.replace('"', '""') + '"' if _SPECIAL.search(word) else word


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    arrow, parquet = _arrow()

    def array(values: list[Any]) -> Any:
        try:
            return arrow.array(values)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, OverflowError, UnicodeError):  # numbers and words, say
            return arrow.array([None if value is None else encoded(str(value)).decode() for value in values])

    buffer = io.BytesIO()
    parquet.write_table(
        arrow.table({encoded(name).decode(): array(values) for name, values in columns.items()}), buffer
    )
    return buffer.getvalue()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BadInput(
            "--format parquet needs pyarrow: `python -m pip install pyarrow`, or choose csv or json"
        ) from error
    return pyarrow, pyarrow.parquet


def _lines(path: Path, json: Sequence[str]) -> list[Line]:
    """Return the keys of a table's lines, and these columns of JSON decoded."""
    names = ["group", "run", *json]
    if path.suffix == ".parquet":
        parquet = _arrow()[1]
        there = [name for name in names if name in parquet.read_schema(path).names]
        lines = parquet.read_table(path, columns=there).to_pylist()
    else:
        import pandas as pd

        lines = pd.read_csv(path, usecols=lambda name: name in names, dtype=str, keep_default_na=False).to_dict(
            "records"
        )
    return [line | {name: from_json(line[name]) for name in json if name in line} for line in lines]


def _from_tables(runs: list[Line], rows: list[Line]) -> list[Exported]:
    found = {}
    for line in runs:
        later = line["evaluations"], line.get("gradients", ())
        found[line["group"], line["run"]] = Exported(line["group"], Record(**line["json"]), [], *later)
    for line in rows:
        found[line["group"], line["run"]].rows.append(line["json"])
    for run in found.values():
        if len(run.rows) < run.record.trace["rows"]:
            raise ValueError(f"run {run.record.run} has lost rows")
    return list(found.values())


def _files(form: str) -> set[str]:
    return {f"{name}.{form}" for name in TABLES}


def _begins(path: Path, content: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(content)) == content
