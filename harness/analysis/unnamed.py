"""How runs of no experiment are compared: by what they differ in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.selection import PANELS
from harness.analysis.stored_run import StoredRun
from harness.specs.recipes import FigureRecipe, TableRecipe
from harness.specs.where import Where

OF_RUN = ("schedule", "average", "threads", "device")
"""Options of a run besides its plugins, by which curves may differ."""


@dataclass
class Unnamed:
    """What an experiment of these runs alone would say; see `harness.specs.recipes.Compared`. It asks for no more runs."""

    name: str
    called: str
    title: str
    figure: FigureRecipe
    table: TableRecipe

    @property
    def varying(self) -> list[str]:
        """None: whatever differs is compared, or tells panels apart."""
        return []

    @property
    def curves(self) -> list[str]:
        """None: curves are in the order of the runs."""
        return []

    def asked_for(self, where: Where) -> set[tuple[str, int]]:
        """Return none."""
        return set()


def comparison(called: str, runs: Sequence[StoredRun]) -> Unnamed:
    """Return how runs are compared: curves by all that training differs in, panels by data and by the models' settings.

    Where models differ, these are compared, and their settings tell curves apart, too.

    Args:
        called: the runs, by the user.
        runs: one or more.
    """
    models = _differ(run.option("model") for run in runs)
    compare = ["algo", *(["model"] if models else []), *_settings(runs, "algorithm")]
    panels = [*PANELS, *_settings(runs, "dataset")]
    (compare if models else panels).extend(name for name in _settings(runs, "model") if name not in (*compare, *panels))
    compare += [name for name in OF_RUN if _differ(run.option(name) for run in runs)]
    kept = [name for name in panels if name not in compare]
    recipe = FigureRecipe(compare=tuple(dict.fromkeys(compare)), panels=tuple(dict.fromkeys(kept)))
    return Unnamed(called, called, "", recipe, TableRecipe())


def _settings(runs: Sequence[StoredRun], part: str) -> list[str]:
    """Return the settings of a part, as options, in which runs with the same plugin differ."""
    by_plugin: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_plugin.setdefault(str(run.spec[part]["name"]), []).append(run.spec[part]["settings"])
    found: dict[str, None] = {}
    for own in by_plugin.values():
        for name in own[0]:
            if _differ(settings.get(name) for settings in own):
                found[name.replace("_", "-")] = None
    return list(found)


def _differ(values: Iterable[Any]) -> bool:
    """Say whether there are several values."""
    return len(set(map(str, values))) > 1
