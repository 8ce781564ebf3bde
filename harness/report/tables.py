"""The table of an experiment, as text."""

import csv
import io
import itertools
from collections.abc import Sequence

from harness.analysis.reliability import MARK
from harness.analysis.table import Row, Spread
from harness.report.text import marked, quantity

PM = " ± "


def cells(rows_: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells for people; empty columns are left out. A head says what `±` is in its column."""
    if not rows_:
        return [], []
    options = list(itertools.takewhile(lambda name: name != "samples", rows_[0]))
    estimates = list(dict.fromkeys(key for row in rows_ for key in row if key.endswith((" train", " test"))))
    names = {row["estimator"] for row in rows_}
    difference = f"{names.pop()}: difference to best" if len(names) == 1 else "difference to best"
    columns: dict[str, list[str]] = {}
    for name in options:
        if all(row[name] is None for row in rows_):
            continue
        columns[name] = ["all" if row[name] is None and name == "n-train" else _text(row[name]) for row in rows_]
    columns["estimator"] = [_text(row["estimator"]) if "bias" in row else "" for row in rows_]
    columns["bias"] = [row.get("bias", "") for row in rows_]
    columns["samples"] = [f"{row['samples']:,.0f}" for row in rows_]
    columns["seeds"] = [_seeds(row) for row in rows_]
    for key in estimates:
        columns[key] = [marked(_with_error(*(row.get(key) or (None, None))), key in row["unreliable"]) for row in rows_]
    columns[difference] = [
        marked(
            "best"
            if row.get("difference") == 0
            else _with_error(row.get("difference"), row.get("interval"), sign=True),
            "difference" in row["unreliable"] and row.get("difference") is not None,
        )
        for row in rows_
    ]
    columns["paper"] = [_with_error(row["paper"], None) for row in rows_]
    columns["difference to paper"] = [_with_error(row["distance"], None, sign=True) for row in rows_]
    for i, target in enumerate(target["target"] for target in rows_[0]["targets"]):
        for name, cost in (("samples", "samples"), ("CPU s", "cpu_seconds")):
            columns[f"{name} to {target:g}"] = [_cost(row["targets"][i], cost) for row in rows_]
    spread = {**dict.fromkeys(estimates, "sd"), difference: "95% half-width"}
    heads = {
        name: f"{name}{PM}{spread[name]}" if name in spread and any(PM in cell for cell in column) else name
        for name, column in columns.items()
        if any(column)
    }
    return list(heads.values()), [list(line) for line in zip(*(columns[name] for name in heads), strict=True)]


def notes(rows_: Sequence[Row]) -> list[str]:
    """Return what has to stand below the table: why figures in it are not to be trusted."""
    return list(dict.fromkeys(f"{MARK} {words}" for row in rows_ for words in row["doubts"]))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _seeds(row: Row) -> str:
    diverged = f" ({len(row['diverged'])} diverged)" if row["diverged"] else ""
    return f"{len(row['seeds'])}{diverged}"


def _with_error(value: float | None, error: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''}.2f}" + ("" if error is None else f"{PM}{error:.2f}")


def _cost(target: Row, cost: str) -> str:
    if target[cost] is None:
        return "never" if target["of"] else ""
    short = "" if target["reached"] == target["of"] else f" ({target['reached']} of {target['of']})"
    return f"{quantity(target[cost])}{short}"


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))


def latex(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX tabular, with booktabs' rules."""

    def row(cells_: Sequence[str]) -> str:
        return " & ".join(map(escaped, cells_)) + r" \\"

    body = [rf"\begin{{tabular}}{{{'l' * len(heads)}}}", r"\toprule", row(heads), r"\midrule", *map(row, lines)]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def escaped(text: str) -> str:
    """Return text as LaTeX has it."""
    return text.replace("_", r"\_").replace("%", r"\%").replace(PM, r" $\pm$ ").replace(" > ", " $>$ ")


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
                between = "; " if name in ("unreliable", "doubts") else " "
                line[name] = between.join(map(str, value)) if isinstance(value, list) else value
        flat.append(line)
    names = list(dict.fromkeys(name for line in flat for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue().rstrip("\n")
