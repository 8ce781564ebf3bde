"""The table of an experiment, as text."""

import csv
import io
from collections.abc import Sequence

from harness.analysis import selection
from harness.analysis.table import Row, Spread
from harness.report.text import quantity


def cells(rows_: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells for people; columns in which nothing stands are left out."""
    estimates = list(dict.fromkeys(key for row in rows_ for key in row if key.endswith((" train", " test"))))
    targets = [target["target"] for target in rows_[0]["targets"]] if rows_ else []
    judge = rows_[0]["estimator"] if rows_ else ""
    options = [name for name in selection.PANEL if any(row[name] is not None for row in rows_)]
    heads = [
        *options,
        "algorithm",
        "samples",
        "seeds",
        *estimates,
        f"{judge}: less the best",
        "paper",
        "less the paper",
    ]
    heads += [f"{cost} to {target:g}" for target in targets for cost in ("samples", "CPU s")]
    lines = []
    for row in rows_:
        line = ["all" if row[name] is None else str(row[name]) for name in options]
        lost = f" ({len(row['diverged'])} diverged)" if row["diverged"] else ""
        line += [row["algorithm"], f"{row['samples']:,.0f}", f"{len(row['seeds'])}{lost}"]
        line += [_with_error(*(row.get(key) or (None, None))) for key in estimates]
        line += [
            "best" if row.get("difference") == 0 else _with_error(row.get("difference"), row.get("interval"), sign=True)
        ]
        line += [_with_error(row["paper"], None), _with_error(row["distance"], None, sign=True)]
        for target in row["targets"]:
            short = "" if target["reached"] == target["of"] else f" ({target['reached']} of {target['of']})"
            for cost in ("samples", "cpu_seconds"):
                reached = "" if not target["of"] else "never"
                line.append(reached if target[cost] is None else f"{quantity(target[cost])}{short}")
        lines.append(line)
    kept = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    return [heads[i] for i in kept], [[line[i] for i in kept] for line in lines]


def _with_error(value: float | None, error: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''}.2f}" + ("" if error is None else f" ± {error:.2f}")


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))


def latex(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX tabular, with booktabs' rules."""

    def row(cells_: Sequence[str]) -> str:
        safe = (cell.replace("_", r"\_").replace("%", r"\%").replace(" ± ", r" $\pm$ ") for cell in cells_)
        return " & ".join(safe) + r" \\"

    body = [rf"\begin{{tabular}}{{{'l' * len(heads)}}}", r"\toprule", row(heads), r"\midrule", *map(row, lines)]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def comma_separated(rows_: Sequence[Row]) -> str:
    """Return CSV for programs: a number a cell, and full precision."""
    flat = []
    for row in rows_:
        line: Row = {}
        for name, value in row.items():
            if isinstance(value, Spread):
                line |= {name: value.mean, f"{name} sd": value.sd}
            elif name == "targets":
                for target in value:
                    line |= {
                        f"{cost} to {target['target']:g}": target[cost]
                        for cost in ("samples", "cpu_seconds", "reached")
                    }
            else:
                line[name] = " ".join(map(str, value)) if isinstance(value, list) else value
        flat.append(line)
    names = list(dict.fromkeys(name for line in flat for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue().rstrip("\n")
