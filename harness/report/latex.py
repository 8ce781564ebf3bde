"""The table of an experiment for LaTeX: booktabs' rules, real minus signs, the best in bold.

Only estimates by one estimator in one panel at one mark are compared, which are over the same points. In bold is the highest, and
what is less than `TIE` standard errors of the difference below it, for seeds that are not paired.
"""

import itertools
import math
import re
from collections.abc import Collection, Iterable, Sequence

from harness import safe_text
from harness.analysis.table import COLUMNS, Row, Spread
from harness.report import tables
from harness.report.text import are_numbers

TIE = 2.0

_NUMBER = re.compile(r"(?<![\w.+-])([+-]?)(\d[\d,]*(?:\.\d+)?)(?: ± (\d[\d,]*(?:\.\d+)?))?(?![\w.])")


def latex(rows: Sequence[Row], compare: Sequence[str]) -> str:
    """Return a tabular.

    Args:
        rows: of the table.
        compare: the options that are compared in a panel; the others tell panels apart.
    """
    heads, lines = tables.cells(rows)
    bold = _best(rows, {COLUMNS.get(option, option) for option in compare})
    best = f"bold: the highest of a panel by one estimator, and what is less than {TIE:g} standard errors of the difference below"
    return tabular(heads, lines, (tables.note(rows), best), bold)


def tabular(
    heads: Sequence[str], lines: Sequence[Sequence[str]], remarks: Iterable[str], bold: Iterable[Collection[str]] = ()
) -> str:
    """Return a tabular.

    Args:
        heads: of its columns.
        lines: cells in their order.
        remarks: comments above it.
        bold: of each line, the heads whose cells are in bold.
    """
    keys = [head.removesuffix(tables.SE) for head in heads]
    columns = "".join("r" if are_numbers(cells) else "l" for cells in zip(*lines, strict=True))
    out = [
        *(f"% {safe_text.line(words)}" for words in remarks),
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(map(safe_text.latex, heads)),
        r"\midrule",
    ]
    for best, line in itertools.zip_longest(bold, lines, fillvalue=()):
        out.append(_line(_bold(_cell(c)) if key in best else _cell(c) for key, c in zip(keys, line, strict=True)))
    return "\n".join([*out, r"\bottomrule", r"\end{tabular}"])


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _bold(cell: str) -> str:
    return rf"\textbf{{\boldmath {cell}}}"


def _cell(text: str) -> str:
    """Return a cell with its signed numbers, and those with errors, in mathematics, where a minus is one."""
    out, end = [], 0
    for found in _NUMBER.finditer(text):
        sign, number, error = found.groups()
        if sign or error:
            inner = sign + number + (rf" \pm {error}" if error else "")
            out += [safe_text.latex(text[end : found.start()]), f"${inner.replace(',', '{,}')}$"]
            end = found.end()
    return "".join([*out, safe_text.latex(text[end:])])


def _best(rows: Sequence[Row], compared: Collection[str]) -> list[set[str]]:
    """Return for every row which of its estimates are the best of its panel, or as good."""
    best: list[set[str]] = [set() for _ in rows]
    for members in _panels(rows, compared):
        for key in dict.fromkeys(key for i in members for key in rows[i]["points"]):
            sound = [i for i in members if key not in rows[i]["unreliable"]]
            there = {i: spread for i in sound if (spread := rows[i].get(key)) is not None}
            highest = max(there.values(), key=lambda spread: spread.mean, default=None)
            for i, spread in there.items():
                if len(there) > 1 and highest is not None and _ties(highest, spread):
                    best[i].add(key)
    return best


def _panels(rows: Sequence[Row], compared: Collection[str]) -> list[list[int]]:
    """Return the places of the rows of each panel at each mark."""
    panels: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        options = itertools.takewhile(lambda name: name != "mark", row)
        panels.setdefault(str([(n, row[n]) for n in (*options, "mark") if n not in compared]), []).append(i)
    return list(panels.values())


def _ties(highest: Spread, other: Spread) -> bool:
    """Say whether one is the highest, or not surely below it."""
    if highest.mean == other.mean:
        return True
    if highest.error is None or other.error is None:
        return False
    return highest.mean - other.mean < TIE * math.hypot(highest.error, other.error)
