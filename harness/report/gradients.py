"""What was measured of gradient estimators, for people."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.reliability import MARK
from harness.report.text import print_table, with_error
from harness.safe_text import show

ROUNDING = 1e-4
"""Of a scale, in single precision."""

PARTS = {"theta": "θ", "phi": "φ"}

Row = Mapping[str, Any]


def print_gradients(run: str, row: Row, *, every_block: bool = False) -> None:
    """Print what was measured at the parameters of a run: bounds, then bias, variance and cost of each estimator.

    Args:
        run: its id.
        row: as `Run.gradients` has it.
        every_block: whether parameters of each name are shown, too.
    """
    found = row["estimators"]
    of = "" if row["weights"] == "last" else f", {row['weights']} weights"
    show(f"run {run}")
    show(
        f"after {row['ledger']['samples']:,} samples{of}, {row['draws']:,} draws at {row['points']:,} training points",
        "",
    )
    columns = ("estimator", "bound", "estimate ± se", _reference_head(found), "samples", "CPU ms")
    print_table(columns, [_bound_cells(one) for one in found])
    for block in found[0]["blocks"]:
        if block["name"] and not every_block:
            continue
        name = f"{PARTS[block['part']]} {block['name']}".rstrip()
        rows = [_cells(one, _block_of(one, block)) for one in found]
        show("")
        print_table(
            ("estimator", "bias", "variance ± se", "× samples", "× CPU s"),
            rows,
            title=f"gradient by {name}, {block['parameters']:,} parameters",
        )
    show("", *_legend(row, found))


def _reference_head(found: Sequence[Row]) -> str:
    exact = {one["reference"]["exact"] for one in found}
    return {(True,): "exact", (False,): "reference ± se"}.get(tuple(exact), "exact, or ± se")


def _bound_cells(one: Row) -> tuple[str, ...]:
    reference = one["reference"]
    error = one["bound_se"] if reference["exact"] else reference["bound_se"]
    known = with_error(reference["bound"], error)
    return (
        one["estimator"],
        f"L_{one['K']}",
        with_error(one["bound"], one["bound_se"]),
        known.partition(" ")[0] if reference["exact"] else known,
        f"{one['samples']:,.0f}",
        f"{1000 * one['cpu_seconds']:.3g}",
    )


def _block_of(one: Row, like: Row) -> Row:
    blocks: Sequence[Row] = one["blocks"]
    return next(b for b in blocks if (b["part"], b["name"]) == (like["part"], like["name"]))


def _cells(one: Row, block: Row) -> tuple[str, ...]:
    variance, error = block["variance"], block["se"]
    return (
        one["estimator"],
        bias_text(block),
        f"{variance:.3g} ± {error:.1g}",
        f"{variance * one['samples']:.3g}",
        f"{variance * one['cpu_seconds']:.3g}",
    )


def bias_text(block: Row) -> str:
    """Return the bias of a block's gradient relative to its length: its size where it was found, else what it is below."""
    if not block["norm"]:
        return "no gradient"
    if block["biased"]:
        return f"{block['bias'] / block['norm']:.2g} {MARK}"
    return f"< {max(block['bias'], block['bias_limit']) / block['norm']:.1g}"


def _legend(row: Row, found: Sequence[Row]) -> list[str]:
    """Return what the numbers are, and what else a reader should know, in lines of 80 columns."""
    said = [
        "Gradients are per datapoint. L_1 is the lower bound, L_K that of K weighted samples.",
        "bias: of the mean gradient, relative to the gradient's length; with < where none was found, and it is below that; with "
        f"{MARK} where it was found, as it is by chance in one of 100 such tables.",
        "variance: trace of the covariance. Lower is better, also times the samples or the CPU seconds of a draw: the cost of a "
        "mean of variance 1.",
    ]
    if not all(one["reference"]["exact"] for one in found):
        said.append(
            "Latents are not few and binary, so the gradient itself is not exact: it is the mean of "
            f"{row['reference']:,} draws of an unbiased estimate."
        )
    if fitted := [one["estimator"] for one in found if one["fitted"]]:
        said.append(f"Fitted to these parameters first, in {row['fit']:,} steps: {', '.join(fitted)}.")
    for one in found:
        if scales := _scales(one):
            factors = " and ".join(f"{scale:.3g}" for scale in scales)
            said.append(f"{one['estimator']} multiplies φ's gradient by {factors} on purpose. It is measured without.")
    if row["made_again"] == "another":
        said.append("The run was made again for this, and its last parameters are not those that are stored.")
    return [line for words in said for line in textwrap.wrap(words, 80, break_on_hyphens=False)]


def _scales(one: Row) -> list[float]:
    """Return by which factors an estimator multiplies the gradient on purpose, those of layers where they differ."""
    blocks = [b for b in one["blocks"] if b["name"]] or one["blocks"]
    return list(dict.fromkeys(float(f"{b['scale']:.3g}") for b in blocks if abs(b["scale"] - 1.0) > ROUNDING))
