"""What files of the user's own look like, for people."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.report.text import counted, print_table
from harness.safe_text import show

NAMED = 5  # columns, in a line


def print_description(found: dict[str, Any], experiment: str | None = None) -> None:
    """Print what `harness.data.description.describe` returns, and what to do with an experiment that was written."""
    shape = "" if found["shape"] is None else f", images of {found['shape'][0]} × {found['shape'][1]}"
    show(f"{found['dataset']}: {found['points']:,} points of {found['values']:,} values{shape}", "")
    whole = "whole numbers" if found["whole"] else "not all whole numbers"
    missing = (
        f"{counted(found['missing'], 'value')} in {counted(found['points_missing'], 'point')}"
        if found["missing"]
        else "none"
    )
    n_test = found["splits"]["test"]
    rows = [
        ("values", f"{found['low']:,.6g} to {found['high']:,.6g}, {whole}, kept as {found['type']}"),
        ("missing", missing),
        ("columns", _listed(found["columns"]) if found["columns"] else "without names"),
        ("left out", _listed(found["aside"])),
        ("constant", _listed(found["constant"])),
        ("looks like", found["kind"]),
        ("split", ", ".join(f"{n:,} {name}" for name, n in found["splits"].items())),
        ("repeated", f"{found['repeated']:,} of {n_test:,} test points are training points, too"),
        ("SHA-256", found["sha256"][:16] + "…"),
    ]
    print_table(("", "found"), rows)
    if found["repeated"]:
        show(
            "",
            "A test point that is a training point, too, says nothing of new data; of few values some are to be expected.",
        )
    if found["constant"]:
        show("", "A constant column can be left out with --labels: nothing is to be learned of it.")
    show("", "train on it with:", f"  {found['command']}")
    if experiment is None:
        show("", "or write an experiment that compares algorithms on it, with --experiment FILE.toml")
    else:
        name = shlex.quote(experiment)
        page = shlex.quote(str(Path(experiment).with_suffix("")))
        show(
            "", "or compare algorithms on it with:", f"  harness sweep {name}", f"  harness report {name} --out {page}"
        )


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - NAMED:,} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more if words else "none"
