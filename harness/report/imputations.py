"""What `harness impute` has found, for people."""

from collections.abc import Sequence
from typing import Any

from harness.report.text import counted, print_table, quantity, with_error
from harness.safe_text import show

BY = {
    "recognition": "z is drawn by the recognition model",
    "hmc": "z is drawn by HMC given what is observed, after a burn-in",
    "gibbs": "z is drawn by Gibbs sampling given what is observed",
}


def print_imputation(found: dict[str, Any]) -> None:
    """Print what was asked for, and the held-out log-likelihood at every iteration."""
    settings = found["settings"]
    show(f"--missing {settings['missing']} hides {quantity(found['entries'])} entries of a test point on average")
    points, chains = counted(settings["points"], "point"), counted(settings["chains"], "chain")
    show(f"{points}, {chains} each; {BY[settings['latents']]}")
    if settings["weights"] != "last":
        show(f"weights: {settings['weights']}")
    show("")
    rows = [
        (
            f"{int(one['iteration'])}",
            with_error(one["nats"], one["se"]),
            with_error(one["nats_per_entry"], one["se_per_entry"]),
            with_error(one["gain"], one["se_gain"]) if "gain" in one else "",
        )
        for one in found["curve"]
    ]
    print_table(("iteration", "nats per point", "nats per hidden entry", "gain, paired"), rows)
    show("")
    show("log of the mean over chains of p(hidden | z), mean over points ± standard error;")
    show("higher is better; it errs low, the less the more chains; the gain is to the")
    show("iteration before, nats per point, and its error is of the differences")


def print_imputations(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each of a run's imputations: its last iteration."""
    columns = (
        "missing",
        "points",
        "chains",
        "z by",
        "iterations",
        "nats per point",
        "nats per hidden entry",
        "samples",
    )
    lines = []
    for row in rows:
        settings, end = row["imputation"]["settings"], row["imputation"]["curve"][-1]
        of = "" if settings["weights"] == "last" else f" ({settings['weights']})"
        lines.append(
            (
                settings["missing"] + of,
                f"{settings['points']:,}",
                f"{settings['chains']:,}",
                settings["latents"],
                f"{settings['iterations']:,}",
                with_error(end["nats"], end["se"]),
                with_error(end["nats_per_entry"], end["se_per_entry"]),
                f"{row['ledger']['samples']:,}",
            )
        )
    print_table(columns, lines)
