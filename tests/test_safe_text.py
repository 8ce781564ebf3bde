"""Text from strangers in every medium: random text over all of Unicode and what does harm, read back by real parsers."""

import ast
import csv
import io
import json
import re
import shlex
import unicodedata
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from harness import safe_text

ROOT = Path(__file__).parents[1]

NASTY = [
    "", " ", "\n", "\r", "\r\n::error::gone", "::error file=x::gone", "  ::stop-commands::x", "a%0A::error::b",
    "##[error]gone", "::", ":::", "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b5A", "\x00", "\x7f", "\x85",
    "\u2028", "\u202egnp.exe", "\u2066x\u2069", "\ud800", "\udcff", "\ufeff", "\ufffe", "\U0001f600", "中文", "e\u0301",
    "\t", "\b\b\b", "]]>", "<script>alert(1)</script>", "&lt;&#0;", "a|b", "`code", "**bold**", "__init__",
    "[x](http://evil)", "![x](y)", "<http://evil>", "https://evil.example", "www.evil.example", "me@evil.example",
    "# head", "- item", "1. item", "1) item", "===", "---", "> quote", "    code", "~~~", "$x$", "\\|", "\\", "&amp;",
    r"\input{/etc/passwd}", r"\\[1em]", "[1em]", "*", "100%", "a_b", "x^2", "~", "{", "}", "#1", '"',
    "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "-93.2", "-1e5", "-", "=", "\t=1", "\r=1", "'=1", "＝1",
    r"$\foo{$", "$", "$$", r"\$", "$x$ and $", "_hidden", "__", "a,b;c", '"quoted"', "{x.__class__}", "%s",
    "[bold]rich[/bold]", ":smile:", "..", "/", "a" * 300,
]  # fmt: skip

anything = st.lists(st.one_of(st.text(st.characters(exclude_categories=())), st.sampled_from(NASTY)), max_size=6)
text = anything.map("".join)
several = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def in_every_case(check: Callable[[str], None]) -> Callable[[], None]:
    """Return a test over what is known to do harm, and over random text."""

    def test() -> None:
        for words in NASTY:
            check(words)
        several(given(text)(check))()

    test.__doc__ = check.__doc__
    return test


@in_every_case
def test_a_terminal_draws_it_and_does_nothing_else(words: str) -> None:
    events, shown = io.StringIO(), io.StringIO()
    safe_text.show(words, file=shown)
    assert shown.getvalue().count("\n") == 1
    pyte.Stream(pyte.DebugScreen(to=events)).feed(shown.getvalue())
    assert {json.loads(event)[0] for event in events.getvalue().splitlines()} <= {"draw", "linefeed"}


@in_every_case
def test_a_line_is_no_command_of_github(words: str) -> None:
    shown = safe_text.line(words)
    assert shown.isprintable()
    assert not shown.lstrip().startswith("::")
    assert "##[" not in shown
    shown.encode()


@in_every_case
def test_a_command_of_github_has_the_words_as_its_message(words: str) -> None:
    shown = safe_text.command("error", words, title=words, line=3)
    assert shown.isprintable()
    found = re.fullmatch(r"::error title=([^:,]*),line=3::(.*)", shown)
    assert found
    for part in found.groups():
        decoded = re.sub("%(3A|2C|25)", lambda code: chr(int(code[1], 16)), part)
        assert decoded == safe_text.line(words)


@in_every_case
def test_xml_has_it_in_attributes_and_elements(words: str) -> None:
    element = ElementTree.Element("a", name=safe_text.xml(words))
    element.text = safe_text.xml(words)
    found = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    assert found.get("name") == safe_text.line(words)
    assert (found.text or "") == safe_text.line(words)


class OfHtml(HTMLParser):
    """The title and the text of one paragraph of HTML, in which no other element is allowed."""

    def __init__(self, source: str):
        super().__init__()
        self.title, self.text = "", ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the title."""
        assert tag == "p"
        assert [name for name, _ in attrs] == ["title"]
        self.title = attrs[0][1] or ""

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


@in_every_case
def test_html_has_it_in_attributes_and_elements(words: str) -> None:
    shown = safe_text.html(words)
    found = OfHtml(f'<p title="{shown}">{shown}</p>')
    assert found.title == found.text == safe_text.short(words)
    assert f"{shown}'".count("'") == 1


@in_every_case
def test_json_in_html_is_the_same_value_and_ends_no_script(words: str) -> None:
    value = {words: [words, 1.5, None]}
    shown = safe_text.json_in_html(value)
    assert json.loads(shown) == value
    assert shown.isascii()
    assert not set("<>&") & set(shown)


def test_long_text_is_cut_and_says_so() -> None:
    assert safe_text.short("a" * 2000) == "a" * 2000
    assert safe_text.short("\x1b" * 10_000_000, 3) == r"\x1b\x1b\x1b… (10,000,000 letters)"


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rendered(source: str, cell: int = 0) -> str:
    """Return the text of the nth inline part of a Markdown source, in which nothing but text is allowed."""
    inline = [token for token in MARKDOWN.parse(source) if token.type == "inline"]
    if not inline:
        return ""
    children = inline[cell].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    return "".join(child.content for child in children)


@in_every_case
def test_a_cell_of_markdown_is_plain_text(words: str) -> None:
    table = f"| head | b |\n| --- | --- |\n| {safe_text.markdown(words)} | {safe_text.markdown(words)} |"
    tokens = [token.type for token in MARKDOWN.parse(table)]
    assert (tokens.count("td_open"), tokens.count("tr_open")) == (2, 2)
    for cell in (2, 3):
        assert rendered(table, cell) == safe_text.line(words).strip()


@in_every_case
def test_a_paragraph_of_markdown_is_plain_text_and_no_link(words: str) -> None:
    source = safe_text.markdown(words)
    assert {token.type for token in MARKDOWN.parse(source)} <= {"paragraph_open", "inline", "paragraph_close"}
    assert rendered(source) == safe_text.line(words).strip()
    assert not re.search(r"://|@|(?i:\bwww\.)", source)  # of which GitHub makes links


LATEX = re.compile(
    r"\\(?P<escaped>[_%&#${}])|\\(?P<named>textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|char34|ldots)\{\}"
    r"|\$\\(?P<maths>pm|times|cdot|leq|geq)\$|(?P<minus>\$-\$)|\{(?P<braced>[\[\]*])\}|\\texttt\{U\+(?P<code>[0-9A-F]{4,6})\}"
    r"|(?P<plain>[^\\_%&#${}^~<>|\"\[\]*])"
)
NAMED = dict(
    zip(
        ("textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "char34", "ldots"),
        '\\^~<>|"…',
        strict=True,
    )
)
MATHS = {"pm": "±", "times": "×", "cdot": "·", "leq": "≤", "geq": "≥"}


@in_every_case
def test_latex_has_no_special_letter_left(words: str) -> None:
    """The whole source is letters, escapes and the commands of this file; and reads as the text."""
    source, place, read = safe_text.latex(words), 0, []
    while place < len(source):
        found = LATEX.match(source, place)
        assert found, source[place : place + 20]
        place = found.end()
        kind, value = next((name, value) for name, value in found.groupdict().items() if value is not None)
        read.append(
            {"named": NAMED.get, "maths": MATHS.get, "minus": lambda _: "−", "code": lambda n: chr(int(n, 16))}.get(
                kind, lambda letter: letter
            )(value)
        )
        assert kind != "plain" or value < "\x7f" or value in "ÆæØøŒœßŁłı" or unicodedata.decomposition(value)
    dashes = str.maketrans({"’": "'", "–": "--", "—": "---"})
    assert "".join(map(str, read)) == safe_text.line(words).translate(dashes)


def test_latex_has_only_letters_that_its_own_fonts_have() -> None:
    """Those of OT1, in which an ogonek, an eth or a kra is an error."""
    assert safe_text.latex("Müller Øçñ Čech") == "Müller Øçñ Čech"
    assert safe_text.latex("ąÐĸŉſĦºµ") == "".join(rf"\texttt{{U+{ord(c):04X}}}" for c in "ąÐĸŉſĦºµ")


@pytest.mark.parametrize(
    "words", ["runs", "aevb-mnist-nz3-s0-62fe3882", "mine:algo=my-dreg", "runs/aevb", "nz=3,lr=0.02"]
)
def test_a_shell_completes_words(words: str) -> None:
    assert safe_text.is_word(words)
    assert shlex.split(words) == [words]


@pytest.mark.parametrize(
    "words", [*NASTY[:7], "$(touch x)", "`touch x`", "a;b", "a b", "-rf", "a'", "a\\", "a>b", "é", "~x", "!x", "#x"]
)
def test_a_shell_completes_nothing_that_it_would_obey(words: str) -> None:
    assert not safe_text.is_word(words)


@in_every_case
def test_a_cell_of_csv_is_no_formula(words: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([safe_text.csv_cell(words), -93.2, None])
    ((cell, number, none),) = csv.reader(io.StringIO(out.getvalue()))
    assert (number, none) == ("-93.2", "")
    assert cell.removeprefix("'") == safe_text.line(words).removeprefix("'")
    if cell[:1] in tuple("=+-@＝＋－＠\t\r") and cell:
        float(cell)


@in_every_case
def test_json_is_the_same_value_and_shows_as_it_is(words: str) -> None:
    value = {words: [words, 1.5, None]}
    shown = safe_text.json_text(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(shown) == value
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "##[" not in shown
    assert not any(row.lstrip().startswith("::") for row in shown.splitlines())


@in_every_case
def test_matplotlib_draws_it_letter_by_letter(words: str) -> None:
    label = safe_text.label(words)
    assert not label.startswith("_")
    drawn, mathematics = Text(0, 0, label)._preprocess_math(label)
    assert not mathematics
    assert drawn.removeprefix(" ") == safe_text.line(words).removeprefix(" ")


def test_figures_are_drawn_with_it_everywhere() -> None:
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    legend = figure.legend(handles=[Line2D([], [], label=safe_text.label(words)) for words in NASTY])
    assert len(legend.get_texts()) == len(NASTY)
    axes.set_xticks(range(len(NASTY)), [safe_text.title(words) for words in NASTY])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font does not have
        figure.draw_without_rendering()
    assert safe_text.title("$N_z$ = 5") == "$N_z$ = 5"  # mathematics that an experiment's title means


def test_nothing_else_prints() -> None:
    """Whoever prints does so by `show`, which makes it safe; progress bars are rich's, which takes safe text."""
    found = []
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "click.echo", "sys.stdout.write", "sys.stderr.write", "click.secho"):
                    found.append(path.relative_to(ROOT / "harness").as_posix())
    assert set(found) == {"safe_text.py"}


@pytest.mark.parametrize("number", [-93.2, 3, 1e-9, float("nan"), True])
def test_numbers_stay_numbers(number: float) -> None:
    assert safe_text.csv_cell(number) is number
