"""The table of an experiment, as text."""

import csv
import io
import itertools
from collections.abc import Sequence

from harness import safe_text
from harness.analysis.foreign import MARK as FOREIGN
from harness.analysis.machines import SECONDS
from harness.analysis.reliability import MARK
from harness.analysis.table import Row, Spread
from harness.report.text import PERPLEXITY, decimals, either, interval_text, marked, quantity, with_error

SE = " ± se"  # what a head ends in whose numbers have their standard errors


def cells(rows_: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells for people; empty columns are left out. `±` is a standard error (se), as heads say."""
    if not rows_:
        return [], []
    options = list(itertools.takewhile(lambda name: name != "mark", rows_[0]))
    estimates = list(dict.fromkeys(key for row in rows_ for key in row if key.endswith((" train", " valid", " test"))))
    names = {row["estimator"] for row in rows_}
    difference = f"{names.pop()}: difference to best" if len(names) == 1 else "difference to best"
    columns: dict[str, list[str]] = {}
    for name in options:
        if all(row[name] is None for row in rows_):
            continue
        columns[name] = ["all" if row[name] is None and name == "n-train" else _text(row[name]) for row in rows_]
    columns["estimator"] = [_text(row["estimator"]) if "bias" in row else "" for row in rows_]
    columns["bias"] = [row.get("bias", "") for row in rows_]
    columns["at"] = [row["mark"] if isinstance(row["mark"], str) else "" for row in rows_]
    columns["at samples"] = [_samples(row) for row in rows_]
    data = [row.get("datapoints") for row in rows_]
    both = any(n not in (None, row.get("samples")) for n, row in zip(data, rows_, strict=True))
    columns["datapoints"] = ["" if n is None or not both else f"{n:,.0f}" for n in data]
    columns["seeds"] = [seeds(row) for row in rows_]
    for key in estimates:
        for name in (key, f"{key} perplexity"):
            columns[name] = [
                marked(_spread(row.get(name)), key in row["unreliable"]) if name in row else "" for row in rows_
            ]
    columns[difference] = [
        marked(_difference(row), "difference" in row["unreliable"] and row.get("difference") is not None)
        for row in rows_
    ]
    columns["95% interval"] = [_interval(row) for row in rows_]
    columns["paper"] = ["" if row["paper"] is None else f"{row['paper']:.2f}" for row in rows_]
    columns["difference to paper"] = [_distance(row) for row in rows_]
    for i, target in enumerate(target["target"] for target in rows_[0]["targets"]):
        for name, cost in (("samples", "samples"), (cpu(rows_), "cpu_seconds")):
            columns[f"{name} to {target:g}"] = [_cost(row["targets"][i], cost) for row in rows_]
    heads = {
        name: f"{name}{SE}" if any("±" in cell for cell in column) else name
        for name, column in columns.items()
        if any(column)
    }
    return list(heads.values()), [list(line) for line in zip(*(columns[name] for name in heads), strict=True)]


def note(rows_: Sequence[Row]) -> str:
    """Return what the numbers of the table are, in a sentence."""
    points: dict[str, set[int]] = {"train": set(), "test": set()}
    for row in rows_:
        for key, n in row["points"].items():
            points.setdefault(key.rpartition(" ")[2], set()).add(n)
    over = " and ".join(f"{either(sorted(n))} {split}" for split, n in points.items() if n)
    of = " of averaged weights" if any(row.get("weights") == "average" for row in rows_) else ""
    documents = any(key.endswith(" perplexity") for row in rows_ for key in row)
    per_word = f"; {PERPLEXITY}" if documents else ""
    return f"nats per datapoint{of} over {over} points, means over seeds; ± is the standard error (se) over seeds{per_word}"


def notes(rows_: Sequence[Row]) -> list[str]:
    """Return what has to stand below the table: which figures are not to be trusted, and which runs are somebody else's."""
    doubts = dict.fromkeys(f"{MARK} {words}" for row in rows_ for words in row["doubts"])
    foreign = dict.fromkeys(words for row in rows_ for words in row["foreign"])
    scaled = any(row["targets"] for row in rows_) and cpu(rows_) != "CPU s"
    kernels = ["CPU time is in calibration kernels, as the runs are of several machines"] if scaled else []
    return [*doubts, *foreign, *kernels]


def cpu(rows_: Sequence[Row]) -> str:
    """Return what CPU time is counted in."""
    return "CPU s" if rows_[0]["cpu_unit"] == SECONDS else "kernels"


def _samples(row: Row) -> str:
    """Return the number of samples that was asked for, or how many were spent at a mark that is a word."""
    number = row["samples"] if isinstance(row["mark"], str) else row["mark"]
    return "" if number is None else f"{number:,.0f}"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def seeds(row: Row) -> str:
    """Return how many seeds a row rests on, marked where runs are somebody else's, and how many diverged or are unfinished."""
    others = ", ".join(f"{len(row[what])} {what}" for what in ("diverged", "unfinished") if row[what])
    return f"{len(row['seeds'])}{FOREIGN if row['foreign'] else ''}{f' ({others})' if others else ''}"


def _spread(spread: Spread | None) -> str:
    return "" if spread is None else with_error(spread.mean, spread.error)


def _difference(row: Row) -> str:
    found = row.get("difference")
    return "best" if found == 0 else "" if found is None else with_error(found, row["error"], sign=True)


def _interval(row: Row) -> str:
    if row.get("difference") is None or row["interval"] is None:
        return ""
    return interval_text(row["difference"], row["interval"], row["error"])


def _distance(row: Row) -> str:
    """Return the difference to the paper, which is no surer than our estimate and the paper's curve."""
    if row["distance"] is None:
        return ""
    ours: Spread | None = row.get(f"{row['estimator']} test")
    return f"{row['distance']:+.{min(decimals(ours.error if ours else None), 2)}f}"


def _cost(target: Row, cost: str) -> str:
    if target[cost] is None:
        return "never" if target["of"] else ""
    short = "" if target["reached"] == target["of"] else f" ({target['reached']} of {target['of']})"
    return f"{quantity(target[cost])}{short}"


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    safe = [list(map(safe_text.markdown, line)) for line in (heads, *lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (safe[0], ["---"] * len(heads), *safe[1:]))


def comma_separated(rows_: Sequence[Row]) -> str:
    """Return CSV for programs: a number a cell, and full precision."""
    flat = []
    for row in rows_:
        line: Row = {}
        for name, value in row.items():
            if isinstance(value, Spread):
                line |= {name: value.mean, f"{name} se": value.error, f"{name} sd": value.sd}
            elif name == "points":
                line |= {f"{key} points": n for key, n in value.items()}
            elif name == "targets":
                for target in value:
                    line |= {
                        f"{cost} to {target['target']:g}": target[cost]
                        for cost in ("samples", "cpu_seconds", "reached")
                    }
            else:
                between = "; " if name in ("unreliable", "doubts", "foreign") else " "
                line[name] = between.join(map(str, value)) if isinstance(value, list) else value
        flat.append(line)
    return lines_of_csv(flat)


def lines_of_csv(flat: Sequence[Row]) -> str:
    """Return CSV of rows of plain values, which need not have the same columns."""
    names = list(dict.fromkeys(name for line in flat for name in line))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([safe_text.csv_cell(name) for name in names])
    writer.writerows([[safe_text.csv_cell(line.get(name)) for name in names] for line in flat])
    return out.getvalue().rstrip("\n")
