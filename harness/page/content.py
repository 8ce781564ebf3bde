"""What a page tells, from stored runs: what is compared, the ranking, tables, verdicts and pictures. Nothing is computed anew."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from harness.analysis import chosen, rank, selection, standings, table, versions
from harness.analysis.history import History, histories
from harness.analysis.stored_run import StoredRun
from harness.analysis.unnamed import comparison
from harness.analysis.versions import Versions
from harness.analysis.weights import Weights
from harness.analysis.weights import chosen as of_weights
from harness.claims import check, level, wording
from harness.claims.evidence import Evidence
from harness.claims.file import Claims
from harness.claims.file import built_in as built_in_claims
from harness.errors import BadInput
from harness.figures import images
from harness.figures.output import file_name
from harness.files import read_file
from harness.page.lines import Panel
from harness.report import standings as models
from harness.report import tables
from harness.specs.asked import panels_without_runs
from harness.specs.experiment import Experiment, is_experiment
from harness.specs.recipes import Compared
from harness.specs.where import in_words, parse_selection
from harness.store.store import Store

MOST_PICTURES, PICTURE_BYTES = 12, 1_500_000
"""Of samples and latent planes that a page shows, and of each."""


@dataclass
class Asked:
    """What a page is asked for.

    Attributes:
        what: an experiment, with conditions perhaps, or selections of runs.
        claims: files of claims; by default the built-in ones about the experiment.
        at: where entrants are ranked; see `harness.analysis.rank`.
        target: nats to be reached there.
        weights: of which parameters estimates are.
        versions: whether runs of earlier versions are shown.
    """

    what: Sequence[str]
    claims: Sequence[str] = ()
    at: float | str | None = None
    target: float | None = None
    weights: Weights = "last"
    versions: Versions = "now"

    @cached_property
    def experiment(self) -> Experiment | None:
        """The experiment; None where runs are selected."""
        name = parse_selection(self.what[0]).name
        return Experiment(name) if len(self.what) == 1 and is_experiment(name) else None

    @property
    def where(self) -> str:
        """The conditions on the experiment's runs, with the colon; empty if there are none."""
        return self.what[0].removeprefix(parse_selection(self.what[0]).name)

    @property
    def called(self) -> str:
        """What is shown, in a word that can be a file's name."""
        experiment = self.experiment
        if experiment is not None:
            return experiment.name + self.where
        return self.what[0] + (f"-and-{len(self.what) - 1}-more" if len(self.what) > 1 else "")


class Table(NamedTuple):
    """A table as people read it, with what stands above and below it."""

    heads: Sequence[str]
    cells: Sequence[Sequence[str]]
    note: str
    notes: Sequence[str]


class Verdicts(NamedTuple):
    """The verdicts of a file of claims about the runs of a page.

    Attributes:
        claims: the file.
        heads: of the table of verdicts.
        cells: of the table of verdicts.
        failed: how many fail.
        notes: what stands below; why nothing could be checked, where there are no cells.
    """

    claims: Claims
    heads: Sequence[str]
    cells: Sequence[Sequence[str]]
    failed: int
    notes: Sequence[str]


class Picture(NamedTuple):
    """A stored picture of what a run's model has learned, and its bytes as PNG."""

    run: str
    what: str
    png: bytes


@dataclass
class Content:
    """What a page tells.

    Attributes:
        asked: what it was asked for.
        experiment: whose runs are shown; None where runs are selected.
        compared: how they are compared.
        runs: they.
        panels: they by panel.
        ranking: who is best, or why that cannot be said.
        table: of all estimates, or why there is none.
        models: the table of models, or why there is none; None where the experiment asks for none.
        histories: of kinds of runs that several commits made with the same seeds; of these, `runs` has the first alone.
        verdicts: those on claims.
        pictures: those that are stored.
        said: what a reader should know of runs that are left out or shown though they are old.
        made: when, in UTC.
    """

    asked: Asked
    experiment: Experiment | None
    compared: Compared
    runs: Sequence[StoredRun]
    panels: Sequence[Panel] = ()
    ranking: rank.Ranking | str = ""
    table: Table | str = ""
    models: Table | str | None = None
    histories: Sequence[History] = ()
    verdicts: Sequence[Verdicts] = ()
    pictures: Sequence[Picture] = ()
    said: list[str] = field(default_factory=list)
    made: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))

    @cached_property
    def missing(self) -> dict[tuple[str, str], list[int]]:
        """The seeds that the experiment asks for and the store lacks, by panel and curve; also where a panel has no run."""
        found: dict[tuple[str, str], list[int]] = {}
        if self.asked.where:
            return found
        for panel in self.panels:
            there = {(run.curve(self.compared.figure.compare), run.seed) for run in panel.runs}
            for curve, seed in sorted(self.compared.asked_for(panel.where) - there):
                found.setdefault((panel.about, curve), []).append(seed)
        if self.experiment is not None and self.panels:
            for where in panels_without_runs(self.experiment, [panel.where for panel in self.panels]):
                about = in_words(where)
                for curve, seed in sorted(self.experiment.asked_for(where)):
                    found.setdefault((about, curve), []).append(seed)
        return found

    @property
    def under_way(self) -> bool:
        """Whether more is to come: a run is being made, or the experiment asks for runs that are not there."""
        return bool(self.missing) or any(run.status == "running" for run in self.runs)


def gather(store: Store, asked: Asked) -> Content:
    """Return what the page of some runs tells.

    Raises:
        BadInput: there are no such runs, no such experiment, or no such claims.
    """
    said: list[str] = []
    experiment = asked.experiment
    if experiment is not None:
        where = parse_selection(asked.what[0]).where
        every = runs = selection.group(store, experiment, said.append, asked.versions, where)
        compared: Compared = experiment
    else:
        every = selection.load(chosen.several(store, asked.what, said.append))
        runs = chosen.each_once(every, said.append)
        said += versions.remarks(runs)
        compared = comparison(", ".join(asked.what), runs)
    runs = of_weights(runs, asked.weights, said.append)
    content = Content(asked, experiment, compared, runs, said=said)
    content.panels = _panels(compared, runs)
    content.ranking = _ranking(store, content)
    content.table = _table(content)
    content.models = _models(experiment, runs)
    content.histories = _histories(every)
    content.verdicts = [found for name in _claims(asked, experiment) if (found := _verdicts(store, name, content))]
    content.pictures = _pictures(store, runs)
    content.said = list(dict.fromkeys(said))
    return content


def _panels(compared: Compared, runs: Sequence[StoredRun]) -> list[Panel]:
    options, index = selection.panel_options(runs, compared), selection.index(runs)
    out = []
    for where in table.in_order([run.options(options) for run in runs]):
        here = index.meeting(where)
        about = in_words(where)
        alike = True
        try:
            selection.require_alike(here, about, compared.figure.compare, compared.figure.differ)
        except BadInput:
            alike = False
        out.append(Panel(about, where, here, alike))
    return out


def _ranking(store: Store, content: Content) -> rank.Ranking | str:
    """Return the ranking, or why there is none."""
    asked, experiment = content.asked, content.experiment
    tuning: dict[str, dict[str, float]] = {}
    if experiment is not None and experiment.tunes and store.studies():
        from harness.runs.tune import charges  # PyTorch

        tuning = charges(store, experiment)
    try:
        return rank.rank(content.compared, content.runs, tuning, asked.at, asked.target)
    except BadInput as error:
        return str(error)


def _table(content: Content) -> Table | str:
    """Return the table of all estimates, or why there is none."""
    at = [content.asked.at] if content.asked.at is not None else []
    try:
        rows = table.rows(content.compared, content.runs, at, [])
    except BadInput as error:
        return str(error)
    heads, cells = tables.cells(rows)
    return Table(heads, cells, tables.note(rows), tables.notes(rows))


def _models(experiment: Experiment | None, runs: Sequence[StoredRun]) -> Table | str | None:
    """Return the table of models that an experiment asks for, or why there is none."""
    if experiment is None or not experiment.table.rows:
        return None
    try:
        rows = standings.rows(experiment, runs)
    except BadInput as error:
        return str(error)
    return Table(*models.cells(rows), models.note(rows, None), models.notes(rows))


def _histories(runs: Sequence[StoredRun]) -> list[History]:
    """Return the histories in which a commit made runs of seeds that the one before had made, too."""
    try:
        return [one for one in histories(runs) if any(p.change is not None and p.change.paired for p in one.points)]
    except BadInput:  # nothing is done yet
        return []


def _claims(asked: Asked, experiment: Experiment | None) -> list[str]:
    """Return the files of claims whose verdicts are shown."""
    if asked.claims or experiment is None:
        return list(asked.claims)
    return [
        name for name in built_in_claims() if any(one.name == experiment.name for one in Claims(name).experiments())
    ]


def _verdicts(store: Store, name: str, content: Content) -> Verdicts | None:
    """Return the verdicts of a file of claims on those about the runs of the page; None where it has none about them."""
    claims, where = Claims(name), content.asked.where.removeprefix(":")
    only = where if where and content.experiment is not None else None
    own = content.experiment.name if content.experiment is not None else None
    said: list[str] = []
    evidence = Evidence(claims, store, only=only, absent=True, say=said.append)
    absent = dict.fromkeys(evidence.own(claim) for claim in claims.claims if not evidence.has_runs(claim))
    evidence.absent = any(map(evidence.has_runs, claims.claims))  # else it is an error that there are none
    try:
        found = check.check(evidence)
    except BadInput as error:
        return Verdicts(claims, (), (), 0, [f"these claims cannot be checked: {error}"])
    groups = {run.folder.path.parent.name for run in content.runs if run.folder is not None}
    about = []
    for verdict in found:
        if evidence.own(verdict.claim) in {own, *groups}:
            about.append(verdict)
    if not about:
        return None
    heads, cells = wording.verdict_cells(about)
    notes = [
        *level.in_words(found),
        *(f"not checked: claims about {name}, of which there are no runs" for name in absent),
        *(f"for the verdicts: {words}" for words in dict.fromkeys(said) if words not in content.said),
    ]
    return Verdicts(claims, heads, cells, sum(verdict.says == "fails" for verdict in about), notes)


def _pictures(store: Store, runs: Sequence[StoredRun]) -> list[Picture]:
    """Return the pictures that `harness plot samples` and `harness plot manifold` have stored of these runs."""
    out: list[Picture] = []
    for what, name in images.NAMES.items():
        for run in runs:
            path = store.root / "figures" / f"{file_name(run.id, name)}.png"
            if len(out) < MOST_PICTURES and (png := _png(path)):
                out.append(Picture(run.id, what, png))
    return out


def _png(path: Path) -> bytes | None:
    """Return the bytes of a picture; None where it is none, or too large."""
    try:
        found = read_file(path, PICTURE_BYTES)
    except OSError:
        return None
    return found if found.startswith(b"\x89PNG\r\n\x1a\n") else None
