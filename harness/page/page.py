"""The page as a file: a template with style, scripts and content in it, which needs no network and allows none."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from harness import __version__
from harness.errors import BadInput
from harness.files import write_output
from harness.page import charts
from harness.page.content import Content
from harness.page.lines import drawn
from harness.page.markup import Markup, join, tag
from harness.page.sections import sections, title
from harness.safe_text import html, json_in_html

HERE = Path(__file__).parent

NAME = "index.html"


def write(content: Content, folder: Path, refresh: float | None = None) -> Path:
    """Write the page of some runs into a folder, and return its path.

    Args:
        content: what it tells.
        folder: is made if it is not there.
        refresh: seconds after which a browser that shows the page reads it again; None for never.

    Raises:
        BadInput: the folder cannot be written, or what draws is not installed.
    """
    charts.require_extra()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_output(folder / NAME, page(content, refresh).encode())
    except OSError as error:
        raise BadInput(
            f"--out is {str(folder)!r}, which cannot be written ({error.strerror}): name another folder"
        ) from error
    return folder / NAME


def page(content: Content, refresh: float | None = None) -> str:
    """Return the page. No script runs but those two that are named by their hashes, and nothing is fetched."""
    scripts = {"library": charts.library(), "script": _own("page.js")}
    found = sections(content)
    links = tag("ul", *(tag("li", tag("a", one.title, href=f"#{one.id}")) for one in found))
    body = [
        tag(
            "section",
            tag("h2", one.title, id=f"{one.id}-title"),
            one.body,
            id=one.id,
            aria_labelledby=f"{one.id}-title",
        )
        for one in found
    ]
    data = drawn(content.compared, content.panels) | {"told": charts.TOLD, "dashes": charts.DASHES}
    parts: dict[str, str] = {
        "title": html(title(content)),
        "policy": policy(scripts),
        "style": _own("page.css"),
        "made": html(f"Made by harness {__version__} on {content.made}."),
        "links": links,
        "content": join(body),
        "refresh": "" if refresh is None else Markup(f' data-refresh="{refresh:g}"'),
        "data": json_in_html(data),
        "chart": json_in_html(charts.description()),
        **scripts,
    }
    return filled(_own("page.html"), parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with its `<!--name-->` replaced, once: what a part says is not looked at."""
    return re.sub(r"<!--(\w+)-->", lambda found: parts[found[1]], template)


def policy(scripts: Mapping[str, str]) -> str:
    """Return what a browser is to allow: these scripts, styles of the page, pictures in it, and no network."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts.values()
    ]
    return (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
