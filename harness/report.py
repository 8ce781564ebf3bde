"""Tables and summaries for people, and the same as plain data for programs."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from harness import registry
from harness.errors import BadInput
from harness.progress import quantity
from harness.store import Record, Run, Store


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table: fitted to a terminal, and uncut where the output is no terminal."""
    rows = [tuple(row) for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        numbers = all(row[i].lstrip("-")[:1].isdigit() or not row[i] for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=width, highlight=False, markup=False).print(table)


def estimate_text(estimate: dict[str, Any]) -> str:
    """Return mean ± the standard error over points and over the estimator's noise together."""
    error = (estimate["se_points"] ** 2 + estimate["se_estimator"] ** 2) ** 0.5
    return f"{estimate['mean']:.2f} ± {error:.2f}"


def final(record: Record) -> list[dict[str, Any]]:
    """Return a run's last estimates, of each estimator and split the one over most points."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for estimate in record.summary:
        key = estimate["estimator"], estimate["split"]
        if key not in best or estimate["points"] > best[key]["points"]:
            best[key] = estimate
    return list(best.values())


def run_row(run: Run) -> dict[str, Any]:
    """Return a line of `harness list` as plain data; an unreadable run's has its reason."""
    try:
        record = run.read()
    except BadInput as error:
        return {"run": run.id, "status": "unreadable", "reason": str(error)}
    spec = record.spec
    bounds = {e["split"]: e for e in final(record) if e["estimator"] == "lower-bound"}
    return {
        "run": run.id,
        "group": run.path.parent.name,
        "status": record.status,
        "reason": record.reason,
        "algorithm": spec["algorithm"]["name"],
        "dataset": spec["dataset"]["name"],
        "nz": spec["model"]["settings"].get("nz"),
        "n_train": spec["n_train"],
        "seed": spec["seed"],
        "samples": record.ledger.get("samples", 0),
        "cpu_seconds": record.ledger.get("cpu_seconds", 0.0),
        "train": bounds["train"]["mean"] if "train" in bounds else None,
        "test": bounds["test"]["mean"] if "test" in bounds else None,
    }


def print_runs(store: Store, rows: Sequence[dict[str, Any]]) -> None:
    """Print the lines of `harness list`."""
    if not rows:
        print(f"no runs in {store.root}; make one with `harness run --algo aevb --nz 20`")
        return
    table = []
    for row in rows:
        if row["status"] == "unreadable":
            table.append((row["run"], "unreadable", "", "", "", "", ""))
            continue
        bound = [f"{row[split]:.2f}" if row[split] is not None else "" for split in ("train", "test")]
        seconds = f"{row['cpu_seconds']:.1f}"
        table.append((row["run"], row["status"], row["group"], quantity(row["samples"]), seconds, *bound))
    print_table(("run", "status", "group", "samples", "CPU s", "train bound", "test bound"), table)
    for row in rows:
        if row["status"] == "unreadable":
            print(f"harness: {row['reason']}", file=sys.stderr)


def print_run(run: Run, record: Record, rows: Sequence[dict[str, Any]]) -> None:
    """Print all about one run: specification, spending, estimates, and a line a mark."""
    spec = record.spec
    plugins = [
        (part, spec[part]["name"], " ".join(f"{k}={v}" for k, v in spec[part]["settings"].items()))
        for part in ("algorithm", "model", "dataset")
    ]
    print(f"run {run.id}: {record.status}" + (f", {record.reason}" if record.reason else ""))
    print(f"{run.path}\n")
    print_table(("", "plugin", "settings"), plugins)
    rest = {"n_train": spec["n_train"] or "all", "seed": spec["seed"], "threads": spec["threads"]}
    print("\n" + "  ".join(f"{name}={value}" for name, value in rest.items()))
    print("budget: " + "  ".join(f"{name}={quantity(limit)}" for name, limit in record.budget.items()) + "\n")
    print_table(("spent", ""), [(name, quantity(value)) for name, value in record.ledger.items()])
    print()
    print_estimates(record.summary)
    if rows:
        print("\nat every mark (nats per datapoint, higher is better)")
        heads = list(dict.fromkeys(f"{e['estimator']} {e['split']}" for row in rows for e in row["estimates"]))
        table = []
        for row in rows:
            curve = {f"{e['estimator']} {e['split']}": estimate_text(e) for e in reversed(row["estimates"])}
            counters = (f"{row['ledger']['samples']:,}", f"{row['ledger']['cpu_seconds']:.1f}")
            table.append((*counters, *(curve.get(head, "") for head in heads)))
        print_table(("samples", "CPU s", *heads), table)


def print_estimates(estimates: Sequence[dict[str, Any]]) -> None:
    """Print estimates with both standard errors and the direction of their bias."""
    if not estimates:
        print("no estimates yet, or none that applies to this algorithm and model")
        return
    rows = [
        (
            e["estimator"],
            e["split"],
            f"{e['points']:,}",
            f"{e['mean']:.2f}",
            f"{e['se_points']:.2f}",
            f"{e['se_estimator']:.3f}",
            e["direction"],
        )
        for e in estimates
    ]
    print_table(("estimate", "split", "points", "nats", "± points", "± estimator", "bias"), rows)


def print_summary(run: Run, record: Record, *, already: bool) -> None:
    """Print how a run ended, what it cost, where it is and what to do next."""
    print(f"{run.id}: {'was done already' if already else record.status}")
    for e in final(record):
        print(f"  {e['estimator']} on {e['points']:,} {e['split']} points: {estimate_text(e)} nats")
    spent = record.ledger
    excluded = sum(spent[f"{phase}_wall_seconds"] for phase in ("setup", "output"))
    print(
        f"  spent {spent['samples']:,} samples, {spent['cpu_seconds']:.1f} CPU s and {spent['wall_seconds']:.1f} s of training; "
        f"evaluation {spent['evaluation_wall_seconds']:.1f} s, set-up and output {excluded:.1f} s"
    )
    print(f"  stored in {run.path}")
    print(f"next: harness show {run.id}   or   harness plot {run.id}")


def plugin_data(plugin: registry.Plugin) -> dict[str, Any]:
    """Return all about a plugin as plain data."""
    settings = []
    if plugin.module is not None:
        for name, field in plugin.module.Config.model_fields.items():
            default = None if field.is_required() else field.default
            kind = getattr(field.annotation, "__name__", str(field.annotation))
            choices = [str(a) for a in getattr(field.annotation, "__args__", ())]
            settings.append(
                {"name": name, "default": default, "type": "|".join(choices) or kind, "help": field.description or ""}
            )
    return {
        "name": plugin.name,
        "source": plugin.source,
        "description": plugin.description,
        "broken": plugin.broken,
        "settings": settings,
    }


def print_plugins(plugins: Sequence[registry.Plugin]) -> None:
    """Print name, source, description and settings of plugins."""
    for plugin in plugins:
        data = plugin_data(plugin)
        print(f"{plugin.name} ({plugin.source})")
        print(f"  {'BROKEN: ' + plugin.broken if plugin.broken else plugin.description}")
        for s in data["settings"]:
            option = f"--{s['name'].replace('_', '-')} {s['default']}"
            print(f"    {option:<26}{s['help']}" + (f" ({s['type']})" if "|" in s["type"] else ""))
        print()
