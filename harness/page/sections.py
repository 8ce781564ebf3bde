"""The sections of a page, in the order in which a reader needs them."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.analysis import foreign
from harness.analysis.machines import comparable
from harness.analysis.rank import Ranking
from harness.analysis.reliability import MARK
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures.labels import differing_settings, seeds_in_words
from harness.files import read_file
from harness.page.again import commands
from harness.page.content import Content, Table
from harness.page.details import details, name_of
from harness.page.markup import Markup, block, described, folded, join, table, tag
from harness.report import histories, ranks
from harness.report.text import are_numbers, counted, quantity
from harness.safe_text import short

MOST_NAMED = 20  # of names in a sentence


class Section(NamedTuple):
    """A part of the page: what links to it, its heading, and what it has."""

    id: str
    title: str
    body: Markup


def sections(content: Content) -> list[Section]:
    """Return those that have something to say."""
    parts: list[tuple[str, str, Callable[[Content], Markup | None]]] = [
        ("compared", "What was compared", _compared),
        ("curves", "Curves", _curves),
        ("ranking", "Who is best, how surely, at what price", _ranking),
        ("claims", "Claims", _claims),
        ("models", "Where models stand", _models),
        ("estimates", "All estimates", _estimates),
        ("history", "What commits changed", _history),
        ("pictures", "What models have learned", _pictures),
        ("runs", "Runs", _runs),
        ("again", "Make all of it again", _again),
    ]
    return [Section(id, title, body) for id, title, make in parts if (body := make(content))]


def title(content: Content) -> str:
    """Return the heading of the page."""
    given = content.compared.title.replace("$", "")  # which experiments have around mathematics
    called = content.compared.name + (content.asked.where if content.experiment is not None else "")
    return f"{called}: {given}" if given else called


def _compared(content: Content) -> Markup:
    runs, compare = content.runs, content.compared.figure.compare
    members: dict[str, list[StoredRun]] = {}
    for run in runs:
        members.setdefault(run.curve(compare), []).append(run)
    hidden = {*compare, *(name for panel in content.panels for name in panel.where)}
    settings = differing_settings(members, hidden, content.compared.varying)
    curves = [f"{name} ({settings[name]})" if settings.get(name) else name for name in members]
    budgets = dict.fromkeys(
        " and ".join(f"{quantity(limit)} {name.replace('_', ' ')}" for name, limit in run.record.budget.items())
        for run in runs
    )
    counts = {status: sum(run.status == status for run in runs) for status in dict.fromkeys(run.status for run in runs)}
    estimators = dict.fromkeys(name for run in runs for name in run.estimators)
    processors = dict.fromkeys(run.processor for run in runs if run.processor)
    words = described(
        [
            ("methods", _listed(curves)),
            ("models", _listed(_names(runs, "model"))),
            ("data sets", _listed(_names(runs, "dataset"))),
            ("panels", _listed(panel.about or "all runs" for panel in content.panels)),
            ("budget of a run", _listed(budgets)),
            ("seeds", seeds_in_words(runs)),
            ("estimators", _listed(estimators)),
            ("runs", ", ".join(f"{n} {status}" for status, n in counts.items())),
            ("missing", _missing(content)),
            ("processors", _listed(processors)),
            ("runs of others", _listed(foreign.remarks(runs))),
            ("parameters", "the mean over steps" if content.asked.weights == "average" else None),
        ]
    )  # fmt: skip
    return join([words, *(tag("p", f"Note: {one}", class_="note") for one in content.said), _without_result(runs)])


def _names(runs: Sequence[StoredRun], part: str) -> Iterable[str]:
    """Return the names of the plugins of a part, each once."""
    return dict.fromkeys(str(run.spec[part]["name"]) for run in runs)


def _listed(words: Iterable[str]) -> str:
    every = list(words)
    more = f" and {len(every) - MOST_NAMED:,} more" if len(every) > MOST_NAMED else ""
    return "; ".join(short(one, 200) for one in every[:MOST_NAMED]) + more


def _missing(content: Content) -> str | None:
    """Return in words which runs the experiment asks for and the store lacks."""
    found = [
        f"{panel} {curve} seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        for (panel, curve), seeds in content.missing.items()
    ]
    return f"{counted(sum(map(len, content.missing.values())), 'run')}: {_listed(found)}" if found else None


def _without_result(runs: Sequence[StoredRun]) -> Markup | None:
    """Return the runs that diverged, failed, or are not at their end."""
    bad = [run for run in runs if run.status != "done"]
    rows = [[name_of(run), run.status, run.record.reason or "", _reached(run)] for run in bad]
    return table("Runs that are not done", ("run", "status", "reason", "reached"), rows, sorts=True) if rows else None


def _reached(run: StoredRun) -> str:
    return f"{quantity(run.record.ledger.get('samples', 0))} samples"


def _curves(content: Content) -> Markup:
    unlike = [panel.about or "all runs" for panel in content.panels if not panel.alike]
    why = f"No means over seeds in {_listed(unlike)}: these runs differ in more than seed and what is compared."
    no_time = _why_no_cpu_time(content.runs)
    return join(
        [
            tag("noscript", tag("p", "Curves are drawn by JavaScript, which is off. The tables have the numbers.")),
            tag("p", why, class_="note") if unlike else None,
            tag("p", f"There is no axis of CPU time: {no_time}.", class_="note") if no_time else None,
            tag("form", id="choices", aria_label="What the curves show"),
            tag("p", id="shown", role="status"),
            tag("ul", id="legend", aria_label="Curves"),
            tag("div", id="panels"),
        ]
    )


def _why_no_cpu_time(runs: Sequence[StoredRun]) -> str | None:
    try:
        comparable(runs)
    except BadInput as error:
        return str(error)
    return None


def _ranking(content: Content) -> Markup:
    found = content.ranking
    if isinstance(found, str):
        return tag("p", f"There is no ranking: {found}.")
    names = [short(panel.about or "all runs", 200) for panel in found.panels]
    entries = [(panel, name, e) for panel, name in zip(found.panels, names, strict=True) for e in panel.entries]
    standing = [
        [
            name,
            *(short(cell, 200) for cell in ranks.standing(panel, e)),
            str(len(_missing_of(content, panel.about, e.entrant)) or ""),
        ]
        for panel, name, e in entries
    ]
    costs = [[name, short(e.entrant, 200), f"{panel.target:.2f}", *ranks.cost(e)] for panel, name, e in entries]
    doubts = dict.fromkeys(
        f"{MARK} {e.entrant}: {words}" for panel in found.panels for e in panel.entries for words in e.doubts
    )
    marks = dict.fromkeys(p.mark if isinstance(p.mark, str) else f"{p.mark:,.0f} samples" for p in found.panels)
    judges = dict.fromkeys(panel.estimator for panel in found.panels)
    head = f"Compared by {_listed(judges)} at {_listed(marks)}: {ranks.MEANT}."
    return join(
        [
            tag("p", head),
            _table("Methods in every panel, the best first", ("panel", *ranks.STANDING, "missing seeds"), standing),
            _table(
                "What reaching the target cost, the median over seeds, with tuning",
                ("panel", "entrant", "target", *ranks.COST),
                costs,
            ),
            tag(
                "p",
                f"The target is what every seed of the second best reaches, unless another was given. {ranks.units(found)}.",
            ),
            *(tag("p", words, class_="note") for words in [*doubts, *ranks.of_others(found), *ranks.not_ranked(found)]),
            _drawn(found),
            *_profiles(found),
        ]
    )


def _missing_of(content: Content, panel: str, entrant: str) -> Sequence[int]:
    """Return the missing seeds of an entrant, who may be called after its curve and whether it is tuned."""
    names = (entrant, entrant.removesuffix(", tuned"), entrant.removesuffix(", not tuned"))
    return next((content.missing[panel, name] for name in names if (panel, name) in content.missing), ())


def _drawn(ranking: Ranking) -> Markup:
    """Return the picture of `harness rank`, drawn by the same code."""
    from harness.figures.output import style
    from harness.figures.ranks import draw

    drawn = io.BytesIO()
    with style():
        draw(ranking).savefig(drawn, format="svg", metadata={"Date": None})
    image = _image(
        "image/svg+xml",
        drawn.getvalue(),
        "Differences to the best in every panel, with their 95 % intervals; the table above has the numbers",
    )
    return tag("figure", tag("div", image, class_="scrolls", role="region", aria_label="Picture of the ranking", tabindex="0"),
               tag("figcaption", "Differences to the best, as ", tag("code", "harness rank"), " draws them."))  # fmt: skip


def _profiles(ranking: Ranking) -> list[Markup]:
    found = [_table(f"{words[0].upper()}{words[1:]}", heads, rows) for words, heads, rows in ranks.profiles(ranking)]
    said = ranks.SCORE if found else ranks.too_few(ranking)
    return [*found, _sentence(said)]


def _image(kind: str, content: bytes, described_as: str) -> Markup:
    return tag("img", alt=described_as, src=Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}"))


def _claims(content: Content) -> Markup | None:
    parts: list[Markup | None] = []
    for one in content.verdicts:
        fails = f"{counted(one.failed, 'claim')} of {len(one.cells)} {'fails' if one.failed == 1 else 'fail'}"
        said = fails if one.failed else f"None of {counted(len(one.cells), 'verdict')} fails"
        parts.append(tag("h3", f"{one.claims.called}: {one.claims.title}" if one.claims.title else one.claims.called))
        parts.append(tag("p", said + ".") if one.cells else None)
        rows = [[_verdict(cell) if i == 4 else short(cell, 400) for i, cell in enumerate(row)] for row in one.cells]
        caption, numbers = (
            f"Verdicts on the claims of {one.claims.called}",
            [head.startswith("observed") for head in one.heads],
        )
        parts.append(table(caption, one.heads, rows, numbers=numbers, sorts=True) if rows else None)
        parts += map(_sentence, one.notes)
    return join(parts) if parts else None


def _verdict(says: str) -> Markup:
    return tag("span", says, class_=f"verdict {says.split()[0]}")


def _estimates(content: Content) -> Markup:
    if isinstance(content.table, str):
        return tag("p", f"There is no table: {content.table}.")
    return _explained("Estimates by panel and method", content.table)


def _models(content: Content) -> Markup | None:
    if isinstance(content.models, str):
        return tag("p", f"There is no table of models: {content.models}.")
    return (
        None if content.models is None else _explained("Models, by what they reached on the test set", content.models)
    )


def _history(content: Content) -> Markup | None:
    if not content.histories:
        return None
    parts = [_sentence(histories.note("test"))]
    for one in content.histories:
        rows = [[short(cell, 200) for cell in histories.cells(point)] for point in one.points]
        parts.append(_table(f"{short(one.kind, 200)}: {short(one.estimator, 200)}", histories.heads("test"), rows))
    return join([*parts, *(tag("p", words, class_="note") for words in histories.notes(content.histories))])


def _sentence(words: str) -> Markup:
    """Return what a terminal shows as a line of its own, as a sentence."""
    return tag("p", f"{words[0].upper()}{words[1:]}.")


def _explained(caption: str, found: Table) -> Markup:
    """Return a table with what stands above and below it."""
    rows = [[short(cell, 200) for cell in row] for row in found.cells]
    inner = [_sentence(found.note), _table(caption, found.heads, rows)]
    return join([*inner, *(tag("p", words, class_="note") for words in found.notes)])


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table that can be sorted; columns of numbers stand at the right."""
    numbers = [are_numbers([row[i] for row in rows]) for i in range(len(heads))]
    return table(caption, heads, rows, numbers=numbers, sorts=True)


def _pictures(content: Content) -> Markup:
    if not content.pictures:
        run = content.runs[0].id
        example = tag("code", short(f"harness plot samples {run}", 200))
        return tag(
            "p",
            "No pictures are stored: ",
            example,
            " draws from a model, and this page shows it when it is made again.",
        )
    drawn = [
        tag("figure", _image("image/png", one.png, f"{WHAT[one.what]} of run {short(one.run, 120)}"),
            tag("figcaption", f"{WHAT[one.what]}: ", tag("code", short(one.run, 120))))
        for one in content.pictures
    ]  # fmt: skip
    return tag("div", *drawn, class_="pictures")


WHAT = {"manifold": "Latent plane", "samples": "Draws from the prior"}


def _runs(content: Content) -> Markup:
    return join(
        [tag("p", "Settings, provenance and diagnostics of each run are behind its name."), details(content.runs)]
    )


def _again(content: Content) -> Markup:
    rows = [[Markup(tag("code", short(command, 2000))), what] for command, what in commands(content)]
    found: list[Markup] = [table("Commands", ("command", "what it makes"), rows)]
    if content.experiment is not None:
        found.append(
            folded(f"The experiment, {content.experiment.path.name}", block(_text_of(content.experiment.path)))
        )
    found += [
        folded(f"The claims, {one.claims.path.name}", block(_text_of(one.claims.path))) for one in content.verdicts
    ]
    return join(found)


def _text_of(path: Path) -> str:
    """Return the text of a file that was read before."""
    return read_file(path).decode(errors="replace")
