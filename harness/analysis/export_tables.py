"""Runs as three tables, in CSV or Parquet, and back: see `harness.analysis.export`.

Tables are written from lists, not by pandas: `DataFrame.to_csv` takes a fifth longer and writes NaN as it writes None, and a
column of whole numbers with a gap becomes one of floats.
"""

import io
import itertools
import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from harness.analysis.exported import Exported, Line
from harness.analysis.selection import flat
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.files import encoded, from_json, to_json
from harness.safe_text import csv_cell
from harness.store.best import best_row
from harness.store.record import Record

TABLES = ("runs", "rows", "estimates")

JSON = ("json", "evaluations", "gradients", "origin", "imputations")

TOGETHER = 4096  # lines that become columns at once: of many more, those that wait would take much memory


def contents(runs: Sequence[Exported], form: str) -> dict[str, bytes]:
    """Return the files of the tables, by name; `form` is csv or parquet."""
    content = _csv if form == "csv" else _parquet
    return {f"{name}.{form}": content(table) for name, table in _tables(runs).items()}


def files(form: str) -> set[str]:
    """Return what the files of the tables are called."""
    return {f"{name}.{form}" for name in TABLES}


def read(folder: Path, form: str) -> list[Exported]:
    """Return what was written as tables into a folder; raises nearly anything where they are damaged."""
    return _from_tables(_lines(folder / f"runs.{form}", JSON), _lines(folder / f"rows.{form}", JSON[:1]))


class _Table:
    """Columns that grow by lines, which may have others than these."""

    def __init__(self, *columns: str) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._length = 0
        self._waiting: list[Line] = []

    def add(self, lines: Sequence[Line]) -> None:
        """Add lines; what is nested in them becomes columns of dotted names."""
        self._waiting += lines
        if len(self._waiting) >= TOGETHER:
            self._put_down()

    def _put_down(self) -> None:
        """Enter the lines that wait into the columns."""
        for name, values in _columns(self._waiting).items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._length - len(column)))
            column.extend(values)
        self._length += len(self._waiting)
        self._waiting = []

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns in the order of their first lines, those of one part together, JSON last."""
        self._put_down()
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
    for group, record, rows, evaluations, gradients, origin, imputations in runs:
        key = {"group": group, "run": record.run}
        stored = {
            "json": to_json(vars(record)), "evaluations": to_json(evaluations), "gradients": to_json(list(gradients)),
            "origin": to_json(origin), "imputations": to_json(list(imputations)),
        }  # fmt: skip
        to_runs(
            [
                key
                | ({"foreign": origin["by"] or "nobody knows whom"} if origin else {})
                | _about(record)
                | _best(record, rows)
                | stored
            ]
        )
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
        column = _values(lines, key)
        parts = {name: column}
        if not set(map(type, column)).isdisjoint(_NESTED):
            has_leaf = any(key in line and not isinstance(line[key], _NESTED) for line in lines)
            parts = {name: [None if isinstance(v, _NESTED) else v for v in column]} if has_leaf else {}
            for inner, values in _columns([_entries(value) for value in column], name).items():
                parts[inner] = _either(values, parts.get(inner))
        for part, values in parts.items():
            found[part] = _either(values, found.get(part))
    return found


def _values(lines: Sequence[Line], key: str) -> list[Any]:
    """Return an entry of each line, None where there is none; nearly always all have it, which is twice as fast."""
    try:
        return list(map(itemgetter(key), lines))
    except KeyError:
        return [line.get(key) for line in lines]


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
    """Return values as cells of CSV; most words of a column are there many times, but not those of JSON."""
    kinds = set(map(type, values))
    if kinds == {str} and cell is _quoted:
        return list(map(cell, values))
    if kinds.isdisjoint((str, type(None))):
        return list(map(str, values))
    if kinds <= {str, type(None)}:
        words = {value: "" if value is None else cell(value) for value in set(values)}
        return list(map(words.__getitem__, values))
    return ["" if value is None else cell(value) if isinstance(value, str) else str(value) for value in values]


def _safe(word: str) -> str:
    """Return a word as a cell that is no formula."""
    return _quoted(str(csv_cell(word)))


def _quoted(word: str) -> str:
    """Return a word as a cell of CSV."""
    return '"' + word.replace('"', '""') + '"' if _SPECIAL.search(word) else word


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    library, parquet = arrow()

    def array(values: list[Any]) -> Any:
        try:
            return library.array(values)
        except (library.ArrowInvalid, library.ArrowTypeError, OverflowError, UnicodeError):  # numbers and words, say
            return library.array([None if value is None else encoded(str(value)).decode() for value in values])

    buffer = io.BytesIO()
    parquet.write_table(
        library.table({encoded(name).decode(): array(values) for name, values in columns.items()}), buffer
    )
    return buffer.getvalue()


def arrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet; BadInput with the command that installs it where it is missing."""
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
        parquet = arrow()[1]
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
        later = line["evaluations"], line.get("gradients", ()), line.get("origin"), line.get("imputations", ())
        found[line["group"], line["run"]] = Exported(line["group"], Record(**line["json"]), [], *later)
    for line in rows:
        found[line["group"], line["run"]].rows.append(line["json"])
    for run in found.values():
        if len(run.rows) < run.record.trace["rows"]:
            raise ValueError(f"run {run.record.run} has lost rows")
    return list(found.values())
