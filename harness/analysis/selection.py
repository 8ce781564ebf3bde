"""Which stored runs are meant, which stand in one panel, and whether they can be compared there."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from harness.analysis.stored_run import StoredRun
from harness.analysis.versions import Versions, present
from harness.errors import BadInput, suggestion
from harness.files import without_collection
from harness.specs.options import OPTIONS, STORED
from harness.specs.where import PLUGINS, Index, Where
from harness.store.run import Run
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.specs.experiment import (
        Experiment,  # which `harness list` does without, as pydantic takes a tenth of a second
    )
    from harness.specs.recipes import Compared

T = TypeVar("T")

PANELS = ("dataset", "nz", "n-train")
"""Options by which panels differ where nobody says otherwise."""

COMPARE = ("algo",)
"""What is compared in a panel where nobody says otherwise."""


def load(runs: Iterable[Run]) -> list[StoredRun]:
    """Read runs."""
    with without_collection():
        return [StoredRun.load(run) for run in runs]


def group(
    store: Store,
    experiment: "Experiment",
    say: Callable[[str], None],
    versions: Versions = "now",
    where: Where | None = None,
) -> list[StoredRun]:
    """Return an experiment's runs, except those that are damaged. They are chosen by their records before traces are read.

    Args:
        store: where.
        experiment: whose.
        say: told of each that is damaged, and of what is of an earlier version.
        versions: whether runs of earlier versions are left out; see `harness.analysis.versions`.
        where: options that the runs have.

    Raises:
        BadInput: the store has none, none of the present version, or none that can be read.
    """
    found = _readable(store.runs(experiment.name), lambda run: StoredRun(run.read(), (), run), say)
    if not found:
        raise BadInput(
            f"there are no runs of {experiment.name} in {str(store.root)!r}: make them with `harness sweep {experiment.called}`"
        )
    found = present(found, experiment, say, versions)
    if where:
        if unknown := sorted(where.keys() - options(found)):
            raise BadInput(
                f"runs cannot be chosen by {unknown[0]!r}{suggestion(unknown[0], options(found))}: no run of "
                f"{experiment.name} has that option"
            )
        if not (found := select(found, where)):
            raise BadInput(
                f"no run of {experiment.name} meets {_conditions(where)}: see `harness list {experiment.name}`"
            )
    chosen = _readable(found, StoredRun.with_rows, say)
    if not chosen:
        raise BadInput(f"no run of {experiment.name} that is meant can be read: see `harness doctor --store`")
    return chosen


def _readable(them: Iterable[T], read: Callable[[T], StoredRun], say: Callable[[str], None]) -> list[StoredRun]:
    """Return what is read of runs; of those that are damaged it is said."""
    found = []
    with without_collection():
        for one in them:
            try:
                found.append(read(one))
            except BadInput as error:
                say(str(error))
    return found


def _conditions(where: Where) -> str:
    """Return conditions as they are given."""
    return ",".join(f"{name}={value}" for name, values in where.items() for value in sorted(values))


def select(runs: Iterable[StoredRun], where: Where) -> list[StoredRun]:
    """Return the runs that have one of the values of each option."""
    return [run for run in runs if run.matches(where)]


def index(runs: Sequence[StoredRun]) -> Index[StoredRun]:
    """Return runs by the values of their options, for many selections of them."""
    return Index(runs, StoredRun.option)


def options(runs: Iterable[StoredRun]) -> set[str]:
    """Return the options by which some of these runs can be told apart."""
    known = {*STORED, "status"}
    for run in runs:
        for part in PLUGINS.values():
            known |= {name.replace("_", "-") for name in run.spec[part]["settings"]}
    return known


def distinct(panels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each once of several options with their values."""
    found: dict[Any, dict[str, Any]] = {}
    for panel in panels:
        found.setdefault(_hashable(panel), panel)
    return list(found.values())


def _hashable(value: Any) -> Any:
    """Return plain data so that equal ones have the same hash."""
    if isinstance(value, dict):
        return dict, frozenset((name, _hashable(item)) for name, item in value.items())
    return (list, *map(_hashable, value)) if isinstance(value, list) else value


def panel_options(
    runs: Sequence[StoredRun], experiment: "Compared | None" = None, compare: Collection[str] = COMPARE
) -> tuple[str, ...]:
    """Return the options by which panels differ.

    They are those that the experiment names. By default they are data set, nz and n-train, and what else the experiment's grids
    vary of models and data sets; but no setting of a model where models are compared, which have different ones.

    Args:
        runs: the runs that are to be shown.
        experiment: theirs, which says what is compared; None where they are of no experiment.
        compare: what is compared where they are of no experiment.
    """
    if experiment is not None:
        compare = experiment.figure.compare
        if experiment.figure.panels is not None:
            return experiment.figure.panels
    of_models, of_data = (
        {name.replace("_", "-") for run in runs for name in run.spec[part]["settings"]} for part in ("model", "dataset")
    )
    hidden = {*compare, *(of_models if "model" in compare else ())}
    found = [name for name in PANELS if name not in hidden]
    for name in experiment.varying if experiment is not None else ():
        if name in hidden or name not in {"model", "dataset", *of_models, *of_data}:
            continue
        if _parts(runs, [*found, name, *compare]) > _parts(runs, [*found, *compare]):
            found.append(name)
    return tuple(found)


def _parts(runs: Iterable[StoredRun], options: Sequence[str]) -> int:
    """Return how many combinations of values of these options there are."""
    return len({str(run.options(options)) for run in runs})


class Unlike(NamedTuple):
    """A setting in which two runs differ, and its values."""

    setting: str
    first: Any
    second: Any


def unlike(
    one: StoredRun,
    two: StoredRun,
    compare: Sequence[str] = COMPARE,
    except_for: Collection[str] = (),
    *,
    code: bool = True,
) -> Unlike | None:
    """Return the first setting in which two runs differ besides their seed and what is compared; None if there is none.

    Where they have different plugins, and these are compared, the settings of these may differ, too.

    Args:
        one: a run.
        two: another.
        compare: options that are compared.
        except_for: more settings that may differ, as options of `harness run`.
        code: whether what is in plugin files counts.
    """
    allowed = {_leaf(name) for name in (*compare, *except_for)}
    compared = {PLUGINS[name] for name in compare if name in PLUGINS}
    apart = {part for part in compared if one.spec[part]["name"] != two.spec[part]["name"]}
    if one.version != two.version:  # both are shown, as curves of their own
        apart |= {part for part in PLUGINS.values() if one.spec[part].get("sha256") != two.spec[part].get("sha256")}
        apart.add("algorithm")
    contents: list[dict[str, Any]] = []
    for part in ("model", "dataset", "n_train", "threads", "device", "schedule", "average", "evaluation", "algorithm"):
        if part in apart or one.spec.get(part) == two.spec.get(part):  # as nearly all, without a look into them
            continue
        if not contents:
            one_curve = one.curve(compare) == two.curve(compare)
            contents = [_content(run, run if one_curve else other) for run, other in ((one, two), (two, one))]
        own, other = (flat(part, content.get(part)) for content in contents)
        for name in sorted(own.keys() | other.keys()):
            leaf = name.rpartition(".")[2]
            excused = (
                leaf == "file" or leaf in allowed or (leaf == "sha256" and not (code and one.version == two.version))
            )
            if own.get(name) != other.get(name) and not excused:
                return Unlike(name, own.get(name), other.get(name))
    hashes = [run.dataset_sha256[:12] if run.dataset_sha256 else None for run in (one, two)]
    if "dataset" not in apart and None not in hashes and hashes[0] != hashes[1]:
        return Unlike("data with SHA-256", hashes[0], hashes[1])
    return None


def _leaf(option: str) -> str:
    """Return the name under which a run's specification has an option, without what it is part of."""
    return OPTIONS[option].field.rpartition(".")[2] if option in OPTIONS else option.replace("-", "_")


def _content(run: StoredRun, other: StoredRun) -> dict[str, Any]:
    """Return a run's specification, with its estimators by name, and of those only the ones that the other has, too."""
    evaluation = run.spec.get("evaluation") or {}
    shared = {e["name"] for e in (other.spec.get("evaluation") or {}).get("estimators", ())}
    by_name = {e["name"]: e for e in evaluation.get("estimators", ()) if e["name"] in shared}
    return {**run.spec, "evaluation": {**evaluation, "estimators": by_name, "keep": None}}


def require_alike(
    runs: Sequence[StoredRun], place: str, compare: Sequence[str] = COMPARE, differ: Collection[str] = ()
) -> None:
    """Raise BadInput, naming the difference, unless runs differ in seed and in what is compared alone.

    Only then do the curves of one panel tell what is compared, and only then are the runs of a curve its seeds.

    Args:
        runs: those of one panel.
        place: which panel, for the message.
        compare: the options that are compared.
        differ: more options in which one curve may differ from another.
    """
    firsts: dict[str, StoredRun] = {}
    for run in runs:
        curve = run.curve(compare)
        first = next(iter(firsts.values()), None)
        for other, allowed in ((firsts.get(curve), ()), (first, differ)):
            if other is not None and (found := unlike(other, run, compare, allowed)):
                what = " and ".join("algorithm" if name == "algo" else name for name in (*compare, "seed"))
                raise BadInput(
                    f"{place} would mix runs that differ in more than {what}: {other.id} has {found.setting} {found.first} and "
                    f"{run.id} has {found.second}; name it in compare, panels or differ of the experiment's [figure], or move "
                    "the folders of one kind into a group of another name"
                )
        firsts.setdefault(curve, run)


def flat(name: str, value: Any) -> dict[str, Any]:
    """Return the leaves of nested data, each under a dotted name."""
    found: dict[str, Any] = {}
    _add_leaves(found, name, value)
    return found


def _add_leaves(found: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _add_leaves(found, name if key == "settings" else f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _add_leaves(found, f"{name}.{i}", item)
    else:
        found[name] = value
