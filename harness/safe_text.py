"""Text from runs, plugins and files, made safe for each medium that it goes to.

A run's name, an exception or a setting may have any characters: escape sequences that a terminal obeys, a newline and `::error`
that GitHub obeys, `=cmd` that a spreadsheet obeys, `\\input` that LaTeX obeys. Every writer of the harness takes what it did not
write itself through the function of its medium. What does not belong there becomes a visible escape such as `\\x1b`, and nothing
is left out. `show` and `show_exactly` are the only places that print.
"""

import re
import sys
import unicodedata
from typing import Any, TextIO

_FORMULA = tuple("=+-@＝＋－＠")  # what spreadsheets take for the beginning of a formula

_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$&]")

_BLOCK = re.compile(r"([-+=#]+|\d+[.)])(?=\s|$)")  # of Markdown, at the beginning of a line

_LATEX = {
    **{letter: f"\\{letter}" for letter in "_%&#${}"},
    "[": "{[}", "]": "{]}", "*": "{*}",  # which would be an argument of the end of a line
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$",
    "≤": r"$\leq$", "≥": r"$\geq$", "…": r"\ldots{}", "−": "$-$", "’": "'", "–": "--", "—": "---",
    "†": r"\dag{}",
}  # fmt: skip

_LATIN, _ACCENTS = "ÆæØøŒœßŁłı", "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
"""Letters, and accents of letters, that every LaTeX can set, with its fonts of 1978 too."""


_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})

MOST_LETTERS = 2_000
"""Of what a page shows of a stranger's text in one place, unless more is asked for."""


def line(text: object) -> str:
    """Return text as one line that a terminal shows as it is, and that is no command of GitHub Actions.

    Control characters, line breaks, overrides of the direction of writing and half surrogate pairs become escapes.
    """
    words = str(text)
    if not words.isprintable():
        words = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    if "##[" in words:
        words = words.replace("##[", r"\x23#[")
    return re.sub(r"^(\s*):(?=:)", r"\1\\x3a", words) if words.lstrip().startswith("::") else words


def show(*lines: object, file: TextIO | None = None) -> None:
    """Print each of these as a line of its own, made safe by `line`; on standard output unless a file is given."""
    print(*map(line, lines), sep="\n", file=file or sys.stdout)


def show_exactly(text: str, file: TextIO | None = None) -> None:
    """Print text that is safe already, such as a table in LaTeX or a command of GitHub Actions."""
    print(text, file=file or sys.stdout)


def command(level: str, words: str, **properties: object) -> str:
    """Return a workflow command of GitHub Actions, such as an annotation."""
    escaped = ",".join(f"{name}={_encoded(str(value), ':,')}" for name, value in properties.items())
    return f"::{level} {escaped}::{_encoded(words)}"


def _encoded(text: str, more: str = "") -> str:
    """Return text as GitHub's commands have it; what is not printable is escaped before, as everywhere."""
    return "".join(f"%{ord(c):02X}" if c in "%" + more else c for c in line(text))


def is_word(text: str) -> bool:
    """Say whether a shell takes text for one word, letter by letter: what it completes stands on the command line as it is."""
    return bool(re.fullmatch(r"[A-Za-z0-9_@%+=:,./][A-Za-z0-9_@%+=:,./-]*", text))


def xml(text: object) -> str:
    """Return text for an element or attribute of XML, which has no control characters; markup is the task of who writes it."""
    return line(text)


def short(text: object, most: int = MOST_LETTERS) -> str:
    """Return text as `line` does, or so many letters of its beginning, and how many there are."""
    words = str(text)
    return line(words) if len(words) <= most else f"{line(words[:most])}… ({len(words):,} letters)"


def html(text: object, most: int = MOST_LETTERS) -> str:
    """Return text for an element or attribute of HTML, cut as by `short`: nothing in it is markup."""
    return short(text, most).translate(_HTML)


def json_in_html(value: Any) -> str:
    """Return plain data as JSON that can stand in an element `script` of HTML, which nothing in it ends or begins."""
    import json  # here, as it is slow to import

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def markdown(text: object) -> str:
    """Return text for a cell of a table or a paragraph of Markdown: nothing in it is markup, HTML or a link."""
    words = _MARKDOWN.sub(lambda found: f"\\{found[0]}", line(text).lstrip())
    words = (
        _BLOCK.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", words, count=1) if _BLOCK.match(words) else words
    )
    words = words.replace("://", "&#58;//").replace("@", "&#64;")  # which GitHub makes links
    return re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:3]}&#46;", words)


def latex(text: object) -> str:
    """Return text as LaTeX sets it: no command, and no character without a font."""
    return "".join(map(_in_latex, line(text)))


def _in_latex(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if letter < "\x7f" or letter in _LATIN:
        return letter
    parts = unicodedata.normalize("NFD", letter)
    if letter < "\u0180" and parts[0] < "\x7f" and parts[1:] in _ACCENTS:
        return letter
    return rf"\texttt{{U+{ord(letter):04X}}}"


def csv_cell(value: Any) -> Any:
    """Return a value for a cell of CSV: words are no formula for a spreadsheet, and numbers stay numbers."""
    if not isinstance(value, str):
        return value
    words = line(value)
    return f"'{words}" if words.startswith(_FORMULA) and not _is_number(words) else words


def _is_number(words: str) -> bool:
    try:
        float(words)
    except ValueError:
        return False
    return True


def label(text: object) -> str:
    """Return text as matplotlib draws it letter by letter: no mathematics, and not hidden from legends."""
    words = line(text).replace("$", r"\$")
    return f" {words}" if words.startswith("_") else words


def title(text: str) -> str:
    """Return an experiment's title, in which mathematics is meant; letter by letter where it is none that can be set."""
    from matplotlib.mathtext import MathTextParser

    words = line(text)
    try:
        MathTextParser("path").parse(words)
    except (ValueError, RuntimeError, RecursionError):
        return label(text)
    return words


def json_text(text: str) -> str:
    """Return JSON as a terminal shows it: what is not printable, or would be a command of GitHub, as JSON escapes it."""
    import json  # here, as it is slow to import

    text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    return text.replace("\x7f", "\\u007f").replace("##[", "\\u0023#[")
