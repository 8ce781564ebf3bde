"""Which columns of a table or an array are points, by their names or numbers."""

import re
from collections.abc import Sequence

from harness.errors import BadInput, suggestion

MOST_NAMED = 10  # columns, in a message


def chosen_columns(
    source: str, shape: Sequence[int], names: tuple[str, ...] | None, columns: str, labels: str
) -> tuple[int, ...] | None:
    """Return the numbers of the columns that are points; None for all.

    Args:
        source: the file.
        shape: of a point.
        names: of the columns, where they have some.
        columns: those that are points, such as "age,height" or "0-15,20"; all if it is empty.
        labels: those of them that are left out.

    Raises:
        BadInput: there is no such column, or none is left.
    """
    if not columns and not labels:
        return None
    option = "--columns" if columns else "--labels"
    if len(shape) > 1:
        raise BadInput(f"{option} is {columns or labels!r}, and {source} has images: leave it out")
    kept = _numbers("--columns", columns, source, shape[0], names) if columns else list(range(shape[0]))
    left_out = set(_numbers("--labels", labels, source, shape[0], names)) if labels else set()
    found = tuple(number for number in kept if number not in left_out)
    if not found:
        raise BadInput(f"{option} is {columns or labels!r}, which leaves no column of {source}: leave fewer out")
    return found


def _numbers(option: str, given: str, source: str, dim: int, names: tuple[str, ...] | None) -> list[int]:
    """Return the numbers of columns that are given by names, numbers and ranges of numbers, with commas between."""
    found: list[int] = []
    for word in (word.strip() for word in given.split(",")):
        span = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", word)
        if names is not None and word in names:
            at = [number for number, name in enumerate(names) if name == word]
            if len(at) > 1:
                raise BadInput(f"{option} has {word!r}, and {len(at)} columns of {source} are called so: give numbers")
            found += at
        elif span and int(span[1]) <= int(span[2] or span[1]) < dim:
            found += range(int(span[1]), int(span[2] or span[1]) + 1)
        else:
            raise BadInput(
                f"{option} has {word!r}{suggestion(word, names or ())}, and {source} has no such column: it has "
                f"{_named(dim, names)}"
            )
    if len(set(found)) < len(found):
        raise BadInput(f"{option} is {given!r}, which names a column twice: give each once")
    return found


def _named(dim: int, names: tuple[str, ...] | None) -> str:
    numbers = f"columns 0 to {dim - 1:,}"
    if names is None:
        return numbers
    more = f" and {dim - MOST_NAMED:,} more" if dim > MOST_NAMED else ""
    return f"{numbers}: {', '.join(names[:MOST_NAMED])}{more}"
