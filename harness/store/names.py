"""What settings, counters and diagnostics of stored runs were called before, and what they are called now.

Two things follow from one table. What was stored under a former name is read under today's: `modern_spec`, `modern_row`,
`modern_evaluation` and `modern_checkpoint`. And a specification is hashed under its former names (`former`), without the settings
that were added later where these have their default, so that a run is called today what it was called when it was made.

To rename a setting, enter it in `SETTINGS`; to add one to a plugin that stored runs have used, enter its default, which has to be
what these runs did without it, in `ADDED_SETTINGS`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Content = dict[str, Any]
"""Plain data, as JSON has them."""

Plugin = tuple[str, str]
"""Kind and name of a built-in plugin. A file of the user's has the names that it has."""

SETTINGS: Mapping[Plugin, Mapping[str, str]] = {
    ("algorithms", "mcem"): {"accept": "target_accept"},
    ("estimators", "ais"): {"accept": "target_accept"},
    ("estimators", "ais-reverse"): {"accept": "target_accept"},
}
"""Settings that were renamed: {former: today's}."""

ADDED_SETTINGS: Mapping[Plugin, Mapping[str, Any]] = {
    ("algorithms", "aevb"): {"optimiser": "adagrad"},
    ("algorithms", "full-vb"): {"optimiser": "adagrad"},
    ("algorithms", "iwae"): {"optimiser": "adagrad"},
    ("algorithms", "mcem"): {"flips": 10, "sampler": "gibbs", "optimiser": "adagrad"},
    ("algorithms", "mean-field"): {"optimiser": "adagrad"},
    ("algorithms", "svi-refined"): {"optimiser": "adagrad"},
    ("algorithms", "wake-sleep"): {"optimiser": "adagrad"},
    ("datasets", "toy-linear-gaussian"): {"missing": 0.0},
    ("estimators", "ais"): {"flips": 10, "sampler": "metropolis"},
    ("estimators", "ais-reverse"): {"flips": 10, "sampler": "metropolis"},
    ("models", "mlp"): {"activation": "tanh"},
}
"""Settings that a plugin has had only since some of its runs were stored, with their defaults."""

ADDED_OPTIONS: Mapping[str, Any] = {"device": "cpu", "schedule": "constant", "average": None}
"""The same of a run itself."""

ADDED_TO_EVALUATION: Mapping[str, Any] = {"splits": ["train", "test"], "keep": "last"}
"""The same of when and how a run is evaluated."""

COUNTERS: Mapping[str, str] = {"dreams": "fantasies"}
"""Counters of the ledger that were renamed."""

DIAGNOSTICS: Mapping[str, Mapping[str, str]] = {"mcem": {"jump": "esjd"}}
"""What an algorithm's steps report and was renamed, by algorithm."""

CHECKPOINT: Mapping[str, str] = {"trouble": "divergence"}
"""Entries of a checkpoint that were renamed."""

STATES: Mapping[str, Mapping[str, str]] = {
    name: {"adagrad": "optimiser"} for name in ("aevb", "iwae", "mcem", "mean-field")
}
"""Parts of an algorithm's state that were renamed, by built-in algorithm."""

_KINDS = {"algorithm": "algorithms", "model": "models", "dataset": "datasets"}

_CHANGED_ESTIMATORS = {name for kind, name in (*SETTINGS, *ADDED_SETTINGS) if kind == "estimators"}


def modern_spec(spec: Content) -> Content:
    """Return a stored specification under today's names, settings that were added later included."""
    evaluation = {**spec["evaluation"], **_missing(spec["evaluation"], ADDED_TO_EVALUATION)}
    return _with_settings({**spec, **_missing(spec, ADDED_OPTIONS), "evaluation": evaluation}, _modern_settings)


def modern_problem(problem: Content) -> Content:
    """Return what a stored study shares with its runs, a part of a specification, under today's names."""
    found = _with_settings({**problem, "evaluation": {"estimators": []}}, _modern_settings)
    return {name: found[name] for name in problem}


def former(spec: Content) -> Content:
    """Return what the digest of a specification is computed from: its content as the first version would have written it."""

    def settings(plugin: Plugin, content: Content) -> Content:
        known_as = {now: before for before, now in SETTINGS.get(plugin, {}).items()}
        return _renamed(_without_defaults(content, ADDED_SETTINGS.get(plugin, {})), known_as)

    evaluation = _without_defaults(spec["evaluation"], ADDED_TO_EVALUATION)
    return _with_settings({**_without_defaults(spec, ADDED_OPTIONS), "evaluation": evaluation}, settings)


def modern_record(record: Content) -> Content:
    """Return the content of a run.json under today's names."""
    return {
        **record,
        "spec": modern_spec(record["spec"]),
        "ledger": _renamed(record["ledger"], COUNTERS),
        "summary": [_modern_estimate(estimate) for estimate in record["summary"]],
    }


def modern_row(row: Content, algorithm: str) -> Content:
    """Return a row of a trace under today's names; see `modern_rows`."""
    return modern_rows([row], algorithm)[0]


def modern_rows(rows: Sequence[Content], algorithm: str) -> list[Content]:
    """Return the rows of a trace under today's names; nearly all have them, and stay what they are.

    Args:
        rows: as they were stored; a run that went on has rows of both.
        algorithm: the name of the run's algorithm.
    """
    found = _with_part_renamed(rows, "ledger", COUNTERS)
    found = _with_part_renamed(found, "info", DIAGNOSTICS.get(algorithm, {}))
    if _CHANGED_ESTIMATORS.isdisjoint([e["estimator"] for row in found for e in row["estimates"]]):
        return found
    parts = "estimates", "averaged"
    return [{**row, **{name: list(map(_modern_estimate, row[name])) for name in parts if name in row}} for row in found]


def _with_part_renamed(rows: Sequence[Content], part: str, names: Mapping[str, str]) -> list[Content]:
    """Return rows with a part of theirs renamed. Its entries are nearly always the same, and each is looked up once."""
    if not rows or names.keys().isdisjoint(set().union(*[row[part] for row in rows])):
        return list(rows)
    todays: dict[tuple[str, ...], list[str]] = {}
    found = []
    for row in rows:
        if (entries := tuple(row[part])) not in todays:
            todays[entries] = [names.get(name, name) for name in entries]
        found.append({**row, part: dict(zip(todays[entries], row[part].values(), strict=True))})
    return found


def modern_evaluation(row: Content) -> Content:
    """Return an estimate made after training under today's names."""
    estimate = row["estimate"] if row["file"] is not None else _modern_estimate(row["estimate"])
    return {**row, "ledger": _renamed(row["ledger"], COUNTERS), "estimate": estimate}


def modern_checkpoint(checkpoint: Content, algorithm: str) -> Content:
    """Return a checkpoint under today's names; `algorithm` is the name of the run's."""
    diagnostics = DIAGNOSTICS.get(algorithm, {})
    found = _renamed(checkpoint, CHECKPOINT)
    found |= {"ledger": _renamed(found["ledger"], COUNTERS), "info": _renamed(found["info"], diagnostics)}
    if found.get("due") is not None:
        mark, cpu_mark, info = found["due"]
        found["due"] = [mark, cpu_mark, _renamed(info, diagnostics)]
    return found


def modern_state(checkpoint: Content, spec: Callable[[], Content]) -> Content:
    """Return a checkpoint with the state of its algorithm under today's names; `spec` reads its run's specification."""
    state = checkpoint.get("algorithm")
    if not isinstance(state, dict) or set().union(*STATES.values()).isdisjoint(state):  # as nearly all
        return checkpoint
    algorithm = spec()["algorithm"]
    known_as = STATES.get(algorithm["name"], {}) if algorithm.get("sha256") is None else {}
    return {**checkpoint, "algorithm": _renamed(state, known_as)}


def _modern_estimate(estimate: Content) -> Content:
    if estimate["estimator"] not in _CHANGED_ESTIMATORS:  # a row has many, and most are of these
        return estimate
    return {**estimate, "settings": _modern_settings(("estimators", estimate["estimator"]), estimate["settings"])}


def _modern_settings(plugin: Plugin, settings: Content) -> Content:
    found = _renamed(settings, SETTINGS.get(plugin, {}))
    return {**found, **_missing(found, ADDED_SETTINGS.get(plugin, {}))}


def _with_settings(spec: Content, change: Callable[[Plugin, Content], Content]) -> Content:
    """Return a specification in which the settings of every built-in plugin are changed."""

    def changed(kind: str, part: Content) -> Content:
        if part.get("sha256") is not None:  # a file of the user's, which may be called as a plugin of today is
            return part
        return {**part, "settings": change((kind, part["name"]), part["settings"])}

    parts = {part: changed(kind, spec[part]) for part, kind in _KINDS.items()}
    estimators = [changed("estimators", part) for part in spec["evaluation"]["estimators"]]
    return {**spec, **parts, "evaluation": {**spec["evaluation"], "estimators": estimators}}


def _renamed(content: Content, names: Mapping[str, str]) -> Content:
    if names.keys().isdisjoint(content):
        return content
    return {names.get(name, name): value for name, value in content.items()}


def _missing(content: Content, defaults: Mapping[str, Any]) -> Content:
    return {name: value for name, value in defaults.items() if name not in content}


def _without_defaults(content: Content, defaults: Mapping[str, Any]) -> Content:
    return {name: value for name, value in content.items() if name not in defaults or value != defaults[name]}
