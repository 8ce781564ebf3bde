"""Where models stand, as a table for people and for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.reliability import MARK
from harness.analysis.standings import Row
from harness.report import tables
from harness.report.text import decimals, marked

APART = 1.0  # nats between two sides that agree

SIDE = {"exact": "exact", "lower": "from below", "upper": "from above"}


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells for people; empty columns are left out."""
    columns: dict[str, list[str]] = {
        "model": [row["model"] for row in rows],
        "algorithm": [row["algorithm"] or "no run" for row in rows],
        "seeds": [tables.seeds(row) for row in rows],
        "samples": [_whole(row["samples"]) for row in rows],
        "datapoints": [_whole(row["datapoints"]) if row["datapoints"] != row["samples"] else "" for row in rows],
        tables.cpu(rows): [_whole(row["cpu_seconds"]) for row in rows],
        "log p(x)": [_nats(row, "log_p") for row in rows],
        "se points": [_error(row["log_p"], "se_points") for row in rows],
        "se estimator": [_error(row["log_p"], "se_estimator") for row in rows],
        "se seeds": [_error(row["log_p"], "se_seeds") for row in rows],
        "by": [row["log_p"]["estimator"] if row["log_p"] else "" for row in rows],
        "side": [SIDE[row["log_p"]["direction"]] if row["log_p"] else "" for row in rows],
        "at most": [_nats(row, "at_most") for row in rows],
        "at most by": [row["at_most"]["estimator"] if row["at_most"] else "" for row in rows],
        "bound": [_nats(row, "bound") for row in rows],
        "published": ["" if row["published"] is None else f"{row['published']:.2f}" for row in rows],
        "difference": ["" if row["difference"] is None else f"{row['difference']:+.2f}" for row in rows],
    }
    shown = {name: column for name, column in columns.items() if any(column)}
    return list(shown), [list(line) for line in zip(*shown.values(), strict=True)]


def note(rows: Sequence[Row], cpu_seconds: float | str | None) -> str:
    """Return what the numbers of the table are, in a sentence."""
    points = sorted({row["log_p"]["points"] for row in rows if row["log_p"]})
    over = f" over {' or '.join(f'{n:,}' for n in points)} test points" if points else ""
    spent = "" if cpu_seconds is None else f"; every model within as many {rows[0]['cpu_unit']} of training"
    spent += f", {cpu_seconds:,g}" if isinstance(cpu_seconds, float) else ""
    return f"nats per datapoint{over}, means over seeds; higher is better{spent}"


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what has to stand below the table."""
    bounds = [row["model"] for row in rows if row["published"] is not None and row["against"] == "bound"]
    sources = dict.fromkeys(row["source"] for row in rows if row["source"])
    out = [f"published: {', '.join(sources)}"] if sources else []
    out += (
        [f"difference of the bound, as the published value is one: {', '.join(dict.fromkeys(bounds))}"]
        if bounds
        else []
    )
    apart = {
        row["model"]: row["at_most"]["nats"] - row["log_p"]["nats"] for row in rows if row["log_p"] and row["at_most"]
    }
    wide = [f"{model} ({nats:.1f} nats)" for model, nats in apart.items() if nats > APART]
    out += [f"log p(x) from below and from above is more than a nat apart: {', '.join(wide)}"] if wide else []
    missing = [row["model"] for row in rows if not row["seeds"]]
    out += [f"not reached: {', '.join(dict.fromkeys(missing))}"] if missing else []
    doubts = [f"{MARK} {words}" for row in rows for words in row["doubts"]]
    return [*out, *dict.fromkeys([*doubts, *(words for row in rows for words in row["foreign"])])]


def comma_separated(rows: Sequence[Row]) -> str:
    """Return CSV for programs: a number a cell, and full precision."""
    flat = []
    for row in rows:
        line: dict[str, Any] = {}
        for name, value in row.items():
            if name in ("log_p", "at_most", "bound"):
                line |= {f"{name} {part}": one for part, one in (value or {}).items()}
            elif name in ("seeds", "diverged", "unfinished"):
                line[name] = " ".join(map(str, value))
            else:
                line[name] = "; ".join(value) if name in ("doubts", "foreign") else value
        flat.append(line)
    return tables.lines_of_csv(flat)


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _nats(row: Row, name: str) -> str:
    """Return a figure to the digits that its errors allow, marked where it is not to be trusted."""
    found: Mapping[str, Any] | None = row[name]
    if found is None:
        return ""
    text = f"{found['nats']:.{decimals(found['se_points'])}f}"
    return marked(text, any(words.startswith(f"{found['estimator']} on ") for words in row["doubts"]))


def _error(found: Mapping[str, Any] | None, name: str) -> str:
    error = found and found[name]
    return "" if not error else f"{error:.{max(2, decimals(error))}f}"
