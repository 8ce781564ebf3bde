"""What stands behind a click for every run: its estimates and their diagnostics, settings, spending, and what it ran on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.analysis import foreign
from harness.analysis.reliability import MARK, doubts
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.page.again import run_command
from harness.page.markup import Content, Markup, block, described, folded, join, table, tag
from harness.report.runs import estimate_cells, sessions
from harness.report.text import are_numbers, estimate_text, quantity
from harness.safe_text import short
from harness.specs.where import PLUGINS
from harness.store.record import BOUNDS, Record, over_most_points

MOST_ITEMS = 60
"""Of what a run has many of: settings, diagnostics, files."""


def details(runs: Sequence[StoredRun]) -> Markup:
    """Return all runs, each behind a click."""
    return join(_run(run) for run in runs)


def name_of(run: StoredRun) -> str:
    """Return the id of a run, with the mark of foreign ones."""
    return short(run.id, 120) + (foreign.MARK if run.origin is not None else "")


def _run(run: StoredRun) -> Markup:
    record, last = run.record, list(run.rows[-1]["estimates"]) if run.rows else []
    status = tag("span", record.status, class_=f"status {record.status}")
    head = join([tag("code", name_of(run)), " ", status, " ", _best_known(last)])
    return folded(
        head,
        tag("p", *foreign.remarks([run])) if run.origin is not None else None,
        tag("p", f"Ended: {record.reason}") if record.reason else None,
        *(tag("p", f"Note: {words}") for words in _few(sessions(record))),
        *(tag("p", f"Warning: {words}") for words in _warnings(record)),
        _estimates("Last estimates", last, run.id),
        _evaluations(run),
        table("Settings", ("of", "is", "with"), [_plugin(record.spec, part) for part in PLUGINS.values()], of=run.id),
        described(_settings(record)),
        described(_spent(record)),
        described(_ran_on(run)),
        described([("means of what steps reported, at the last mark", _info(run))]),
        *_sources(record),
        tag("p", "Made again by ", tag("code", short(run_command(record), 3000))),
        id=f"run-{record.run}",
    )


def _best_known(last: Sequence[dict[str, Any]]) -> str:
    """Return which of its last estimates the headline of a run tells."""
    on_test = [e for e in over_most_points(last) if e["split"] == "test"]
    on_test.sort(key=lambda e: e["estimator"] not in BOUNDS)
    return f"{on_test[0]['estimator']} on test {estimate_text(on_test[0])}" if on_test else "no estimate on test"


def _few(lines: Iterable[str]) -> list[str]:
    """Return some of many lines, and how many there are."""
    every = list(dict.fromkeys(lines))
    more = [f"and {len(every) - MOST_ITEMS:,} more"] if len(every) > MOST_ITEMS else []
    return [*every[:MOST_ITEMS], *more]


def _warnings(record: Record) -> list[str]:
    return _few(words for session in record.provenance for words in session.get("warnings", ()))


def _estimates(caption: str, estimates: Sequence[dict[str, Any]], of: str) -> Markup:
    if not estimates:
        return tag("p", f"{caption}: none")
    heads, rows = estimate_cells([_few_diagnostics(e) for e in estimates[:MOST_ITEMS]])
    numbers = [are_numbers([row[i] for row in rows]) for i in range(len(heads))]
    why = [tag("p", f"{MARK} {words}") for words in _few(doubts(estimates))]
    return join([table(f"{caption}, nats per datapoint", heads, rows, numbers=numbers, of=of), *why])


def _few_diagnostics(estimate: dict[str, Any]) -> dict[str, Any]:
    return {
        **estimate,
        "diagnostics": {short(n, 100): v for n, v in list(estimate["diagnostics"].items())[:MOST_ITEMS]},
    }


def _evaluations(run: StoredRun) -> Content:
    """Return what was estimated after training."""
    if run.folder is None:
        return None
    try:
        found = run.folder.evaluations()
    except BadInput as error:
        return tag("p", str(error))
    return _estimates("Estimated after training", [row["estimate"] for row in found], run.id) if found else None


def _plugin(spec: Mapping[str, Any], part: str) -> list[str]:
    own = spec[part]
    settings = _few(f"{name}={short(value, 200)}" for name, value in own["settings"].items())
    file = f" ({own['file']}, SHA-256 {str(own.get('sha256'))[:12]})" if own.get("file") else ""
    return [part, f"{own['name']}{file}", ", ".join(settings) or "nothing to set"]


def _settings(record: Record) -> list[tuple[str, Content]]:
    spec = record.spec
    evaluation = spec["evaluation"]
    estimators = [
        f"{e['name']} on {e['points']:,} points, at the end on {e['final_points']:,}" for e in evaluation["estimators"]
    ]
    return [
        ("training points", "all" if spec["n_train"] is None else f"{spec['n_train']:,}"),
        ("seed", str(spec["seed"])),
        ("step schedule", str(spec["schedule"])),
        ("mean of parameters", None if spec["average"] is None else f"from {spec['average']:,} samples on"),
        ("threads", str(spec["threads"])),
        ("evaluated by", "; ".join(_few(estimators)) or None),
        ("budget", ", ".join(f"{quantity(limit)} {name.replace('_', ' ')}" for name, limit in record.budget.items())),
    ]


def _spent(record: Record) -> list[tuple[str, Content]]:
    found = [f"{quantity(value)} {name.replace('_', ' ')}" for name, value in record.ledger.items() if value]
    return [("spent", ", ".join(_few(found)) or "nothing")]


def _ran_on(run: StoredRun) -> list[tuple[str, Content]]:
    """Return what the last session of a run ran on."""
    last = run.last_session
    code, machine = last.get("code", {}), last.get("machine", {})
    version = f"{code.get('version', '')} {code.get('commit') or code.get('source_sha256') or ''}".strip()
    packages = [f"{name} {one}" for name, one in last.get("packages", {}).items()]
    kernel = run.calibration_seconds
    return [
        ("sessions", f"{len(run.record.provenance)}, the last began {last.get('time', 'at an unknown time')}"),
        ("harness", version + (", with changes that are not committed" if code.get("dirty") else "")),
        ("packages", ", ".join(_few([*packages, f"Python {last['python']}"] if "python" in last else packages))),
        ("processor", str(machine.get("cpu") or "unknown")),
        ("calibration kernel", None if kernel is None else f"{kernel:.4f} CPU s"),
        ("primitives", str(last["primitives"]) if "primitives" in last else None),
        ("data, SHA-256", run.dataset_sha256),
    ]


def _info(run: StoredRun) -> str | None:
    info = run.rows[-1]["info"] if run.rows else {}
    return ", ".join(_few(f"{short(name, 100)} {value:.4g}" for name, value in info.items())) or None


def _sources(record: Record) -> list[Markup]:
    """Return what was in the plugin files of a run when it was made."""
    kept: dict[str, dict[str, str]] = next((s["sources"] for s in record.provenance if "sources" in s), {})
    files = [(name, text) for own in kept.values() for name, text in own.items()]
    return [folded(f"Source of {short(name, 200)}", block(text)) for name, text in files[:MOST_ITEMS]]
