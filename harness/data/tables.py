"""Tables in text and in Parquet: columns of numbers, by name. What is text is told, and never guessed at."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.errors import BadInput

MISSING = ["?"]  # beside what pandas takes for missing: nothing, NA, N/A, NaN, nan, null, None and the like

SMALL = (np.uint8, np.int16, np.int32)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        values: (N, D), float64; NaN where one is missing, and in columns of text.
        names: of the columns; None where they have none.
        text: columns that have text, with the first row that does, and what it says.
    """

    values: np.ndarray[Any, Any]
    names: tuple[str, ...] | None
    text: Mapping[int, tuple[int, str]] = field(default_factory=dict)


def read_csv(content: bytes, most: int, *, tabs: bool = False) -> Table:
    """Return a table in text: commas, semicolons or tabs between the cells; a first line that is not all numbers names columns.

    The numbers from 0 or 1 on, three or more, as pandas writes them, are names, too.

    Args:
        content: of the file.
        most: bytes that its values may take.
        tabs: whether tabs stand between the cells, whatever the first line has.

    Raises:
        BadInput: it is no such table, with the line, or it is too large.
    """
    import pandas as pd

    first = content[: 1 << 20].lstrip(b"\xef\xbb\xbf").partition(b"\n")[0].strip()
    if not first:
        raise BadInput("begins with an empty line: a table has a line of names, or of numbers")
    sep = "\t" if tabs else max(",;\t", key=first.decode(errors="replace").count)
    cells = [cell.strip().strip('"') for cell in first.decode(errors="replace").split(sep)]
    if 8 * (content.count(sep.encode()) + content.count(b"\n")) > most:
        raise BadInput("has more cells than half of the memory takes: save the points as a .npy file")
    _require_one_width(content, sep.encode(), len(cells))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(content),
                sep=sep,
                header=0 if _are_names(cells) else None,
                index_col=False,
                na_values=MISSING,
                skipinitialspace=True,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except (ValueError, pd.errors.ParserWarning) as error:  # a decoding error is a ValueError
        raise BadInput(
            f"cannot be read as a table ({' '.join(str(error).split())}): give lines of as many cells"
        ) from error
    return _table(frame, named=_are_names(cells))


def _require_one_width(content: bytes, sep: bytes, width: int) -> None:
    """Raise BadInput, with the line, where one has more or fewer cells than the first, which pandas would fill up."""
    if b'"' in content:  # where a cell may have commas and line breaks of its own
        return
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip() and (there := line.count(sep) + 1) != width:
            raise BadInput(
                f"cannot be read as a table: line {number:,} has {there:,} cells, and the first has {width:,}"
            )


def _are_names(cells: list[str]) -> bool:
    """Say whether the cells of a first line name columns."""
    numbers = [str(k) for k in range(len(cells) + 1)]
    if len(cells) > 2 and cells in (numbers[:-1], numbers[1:]):
        return True
    return not all(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell in ("", "?", "NA")  # which says nothing of a name
    return True


def read_parquet(content: bytes, most: int) -> Table:
    """Return a table in Parquet.

    Args:
        content: of the file.
        most: bytes that its values may take.

    Raises:
        BadInput: pyarrow is not installed, it is no such file, or it is too large.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BadInput("is a Parquet file, for which pyarrow is needed: `python -m pip install pyarrow`") from error
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        rows, columns = file.metadata.num_rows, file.metadata.num_columns
        if rows * columns * 8 > most:
            raise BadInput(
                f"has {rows:,} rows and {columns:,} columns, more than half of the memory takes: save the points as a .npy file"
            )
        frame = file.read().to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from error
    return _table(frame, named=True)


def _table(frame: Any, *, named: bool) -> Table:
    """Return the columns of a table, but for a first one that numbers the rows and has no name, as pandas writes it."""
    from pandas.api import types

    if not len(frame) or not len(frame.columns):
        raise BadInput("has no points: give a line for each point")
    if named and str(frame.columns[0]).startswith("Unnamed:") and frame.iloc[:, 0].equals(frame.index.to_series()):
        frame = frame.iloc[:, 1:]
    values, text = np.full(frame.shape, np.nan), {}
    for number in range(frame.shape[1]):
        column = frame.iloc[:, number]
        if types.is_bool_dtype(column) or types.is_numeric_dtype(column):
            values[:, number] = column.to_numpy(np.float64, na_value=np.nan)
        else:
            words = [str(one) for one in column]
            row = next((k for k, one in enumerate(words) if not _is_number(one)), 0)
            text[number] = row, words[row][:40]
    return Table(values, tuple(map(str, frame.columns)) if named else None, text)


def smallest(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return numbers (N, D) in a small type that holds them: whole ones as integers, others in single precision."""
    if np.isfinite(values).all() and (values == np.rint(values)).all():
        low, high = values.min(), values.max()
        for small in SMALL:
            if np.iinfo(small).min <= low and high <= np.iinfo(small).max:
                return values.astype(small)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
        return values.astype(np.float32)
