"""Every command over a store whose runs are full of hostile text: what it prints and writes is read back by real parsers."""

import csv
import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pyte
import pytest
from markdown_it import MarkdownIt
from support import Result, put, stored

from harness.analysis.stored_run import StoredRun
from harness.store.store import Store

Harness = Callable[..., Result]

EVIL = "$\\foo{$ \n::error::gone\r\n##[error]x \x1b[2J\x1b]0;t\x07 \u202e \x00 \ud800 \\input{x} |<b>`[a](http://e) *_ @x www.e.e"
NAMES = ("$\\foo{$", "_hidden", "=1+1", "a|b<i>`", "\x1b[31mred\n::error::name")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with runs whose every word is a stranger's."""
    store = Store(tmp_path / "results")
    runs: list[StoredRun] = []
    for seed in (0, 1):
        for k, name in enumerate(NAMES):
            run = stored(name, seed, (-200.0, -150.0, -130.0 - seed - k), status="failed" if k == 4 else "done")
            run.record.run = f"evil{k}-s{seed}"
            run.record.reason = EVIL if k == 4 else None
            run.spec["algorithm"]["settings"] |= {"text": EVIL, EVIL: 1}
            run.spec["model"]["name"] = f"m {EVIL}"
            run.record.provenance[-1]["machine"]["cpu"] = EVIL
            run.record.provenance[-1]["time"] = EVIL
            for row in run.rows:
                row["info"] = {EVIL: 1.0}
                row["estimates"] += [{**e, "estimator": f"={EVIL}"} for e in row["estimates"]]
                for estimate in row["estimates"]:
                    estimate["diagnostics"] = {EVIL: 0.5}
            run.record.summary = run.rows[-1]["estimates"]
            runs.append(run)
    put(store, runs)
    return store


def obeyed(output: str) -> set[str]:
    """Return what a terminal does with an output besides drawing lines."""
    events = io.StringIO()
    pyte.Stream(pyte.DebugScreen(to=events)).feed(output)
    return {json.loads(event)[0] for event in events.getvalue().splitlines()} - {"draw", "linefeed"}


def is_safe(done: Result) -> None:
    """Assert that a terminal and GitHub would do nothing that a run's text says."""
    for output in (done.out, done.err):
        assert obeyed(output) == set()
        assert not [row for row in output.splitlines() if row.lstrip().startswith("::") or "##[" in row]
        assert all(c.isprintable() or c == "\n" for c in output)
    assert done.code in (0, 1, 2, 3)
    assert "a fault of the harness" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("list",), ("list", "--json"), ("show", "evil4-s0"), ("show", "evil0-s0"), ("show", "evil4-s0", "--json"),
        ("compare", "mine:algo=a|b<i>`", "mine:algo==1+1", "--y", "lower-bound", "--json"), ("doctor", "--store"),
        ("rm", "--dry-run", "status=failed"), ("show", "evil4-s0", "--traceback"), ("list", "algo=\x1b[2J"),
        ("show", "\x1b[2J\n::error::x"), ("table", "\x1b[2J"), ("\x1b[2J",),
        ("run", "--algo", "\x1b[2J\n::error::x"), ("check", "\x1b[2J\n::error::x"), ("baseline", "show", "\n::error::"),
    ],
    ids=lambda words: " ".join(words).encode("unicode_escape").decode()[:40],
)  # fmt: skip
def test_what_commands_print(harness: Harness, store: Store, words: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that a figure's font does not have
        is_safe(harness(*words))


def test_an_export_is_no_program(harness: Harness, store: Store, tmp_path: Path) -> None:
    from harness.analysis import export, exported

    found, _ = exported.load(store)
    for form in ("csv", "json", "parquet"):
        out = tmp_path / form
        is_safe(harness("export", "--format", form, "--out", out))
        back = export.read(out)
        assert [one.record for one in back] == [one.record for one in found]
        assert [one.rows for one in back] == [one.rows for one in found]
    for path in sorted((tmp_path / "csv").iterdir()):
        with path.open(newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                        float(cell)


def test_claims_in_every_form(harness: Harness, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, report, summary = tmp_path / "claims.toml", tmp_path / "report.xml", tmp_path / "summary.md"
    name = json.dumps("a|b <b>\n::error::x\x1b[2J\u202e`")
    path.write_text(
        f'group = "mine"\n[[claim]]\nname = {name}\nkind = "bound"\nleast = -100\nat = 1e6\nper = ["algo", "text", "model"]\n'
        '[[claim]]\nkind = "invariant"\nholds = "ledger"\n'
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = harness("check", path, "--junit", report)
    is_safe(done._replace(err=""))
    commands = done.err.splitlines()
    assert obeyed(done.err) == set()
    assert all(re.match(r"::error file=[^:,]*,line=\d+,title=[^:,]*::", command) for command in commands)
    suite = ElementTree.parse(report).getroot()
    assert int(str(suite.get("failures"))) == len(commands)
    tokens = MarkdownIt("commonmark").enable("table").parse(summary.read_text())
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {"text", "text_special"}
    assert sum(token.type == "tr_open" for token in tokens) == 1 + len(suite.findall("testcase"))


def test_figures_of_any_name(harness: Harness, store: Store, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = harness("plot", *(f"evil{k}-s0" for k in range(4)), "--y", f"={EVIL}", "--out", tmp_path / "figure.svg")
        assert done.code == 0, done.err
        ElementTree.parse(tmp_path / "figure.svg")
        done = harness("compare", "evil0-s0", "evil1-s0", "--out", tmp_path / "compare.svg")
        assert done.code == 0, done.err
        ElementTree.parse(tmp_path / "compare.svg")
    is_safe(done)


def test_a_table_in_every_form() -> None:
    from harness.analysis.table import Spread
    from harness.report import latex, tables

    rest = {
        "seeds": [0, 1],
        "diverged": [],
        "unfinished": [],
        "estimator": "lower-bound",
        "targets": [],
        "unreliable": [],
        "doubts": [EVIL],
        "foreign": [EVIL],
        "cpu_unit": "CPU seconds",
    }
    rest |= {"points": {"bound test": 100}, "paper": None, "distance": None}
    rows = [
        {"algorithm": name, "mark": 1e6, "bound test": Spread(-93.2 - k, 0.1, 0.2), **rest}
        for k, name in enumerate((EVIL, "=cmd|' /C calc'!A0"))
    ]
    heads, *lines = csv.reader(io.StringIO(tables.comma_separated(rows)))
    assert [line[heads.index("bound test")] for line in lines] == ["-93.2", "-94.2"]
    assert lines[1][heads.index("algorithm")] == "'=cmd|' /C calc'!A0"
    tokens = MarkdownIt("commonmark").enable("table").parse(tables.markdown(*tables.cells(rows)))
    assert {child.type for token in tokens for child in token.children or []} <= {"text", "text_special"}
    assert sum(token.type == "tr_open" for token in tokens) == 3
    source = latex.latex(rows, ("algo",))
    assert len(source.splitlines()) == 3 + 4 + 2 + 2  # comments, the head with its rules, lines, the end
    assert r"\input" not in source.replace(r"\textbackslash{}input", "")
