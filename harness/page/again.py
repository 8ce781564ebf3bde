"""The commands that make all of a page again."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from harness.page.content import Asked, Content
from harness.specs.options import BUDGETS, OPTIONS
from harness.specs.where import PLUGINS
from harness.store.record import Record

FIELDS = {option.field: option.name for option in BUDGETS.values()}


def commands(content: Content) -> Iterator[tuple[str, str]]:
    """Yield commands, and what each does."""
    experiment, asked = content.experiment, content.asked
    of_table, of_rank = _asked(asked, "at", "weights", "versions"), _asked(asked, "at", "target", "weights", "versions")
    of_plot = _asked(asked, "weights", "versions")
    if experiment is not None:
        called = _quoted(experiment.called)
        yield (
            f"harness sweep {called}",
            "make the runs that are not there yet; settings are tuned first where it says so",
        )
        yield _command("table", *asked.what, *of_table), "all estimates in numbers"
        yield _command("rank", *asked.what, *of_rank), "the ranking, and its picture"
        yield _command("plot", *asked.what, *of_plot), "the curves as PNG, SVG and PDF"
    else:
        yield _command("plot", *asked.what, *of_plot), "the curves as PNG, SVG and PDF"
        yield _command("list", *asked.what), "the runs"
    for verdicts in content.verdicts:
        yield _command("check", verdicts.claims.called), "the claims"
    claims = [word for name in asked.claims for word in ("--claims", name)]
    yield _command("report", *asked.what, *claims, *of_rank, "--out", "FOLDER"), "this page"


def _asked(asked: Asked, *options: str) -> list[str]:
    """Return those of the options of a page that were given."""
    words = []
    for name in options:
        if (value := getattr(asked, name)) != getattr(Asked, name):
            words += [f"--{name}", f"{value:.12g}" if isinstance(value, float) else str(value)]
    return words


def _command(*words: str) -> str:
    return " ".join(map(_quoted, ("harness", *words)))


def run_command(record: Record) -> str:
    """Return the command that makes a run again, with all of its settings."""
    spec, words = record.spec, ["harness", "run"]
    for option, part in PLUGINS.items():
        words += _option(option, spec[part].get("file") or spec[part]["name"])
        words += _settings(option, spec[part]["settings"])
    for option_ in OPTIONS.values():
        value = _value(spec, option_.field)
        if option_.name not in PLUGINS and value is not None and value != option_.default:
            words += _option(option_.name, ",".join(value) if isinstance(value, list) else value)
    first, *others = spec["evaluation"]["estimators"] or [None]
    if first is not None:
        words += _option("eval-points", first["points"]) + _option("final-points", first["final_points"])
    for one in others:
        option = "marginal" if one["points"] else "final-marginal"
        words += _option(option, one.get("file") or one["name"]) + _settings(option, one["settings"])
        words += _option("marginal-points", one["final_points"]) if "--marginal-points" not in words else []
    for field, limit in record.budget.items():
        words += _option(FIELDS[field], limit) if field in FIELDS else []
    return " ".join(map(_quoted, words))


def _value(spec: Mapping[str, Any], field: str) -> Any:
    """Return what a specification has under the dotted name of an option's field; None if it is left out."""
    found: Any = spec
    for name in field.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return None if found == ["train", "test"] else found


def _settings(option: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a plugin as options; None is what is left out."""
    given = ((f"{option}.{name.replace('_', '-')}", value) for name, value in settings.items() if value is not None)
    return [word for name, value in given for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return [f"--{name}", str(int(value) if whole else value)]


def _quoted(word: str) -> str:
    return shlex.quote(word)
