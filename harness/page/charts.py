"""How curves are drawn: by Altair, as a description that the page fills with data and axes when a reader chooses them.

Colours are variables of the page's style, so that curves are readable in the light, in the dark and in print.
"""

import contextlib
import importlib.metadata
import importlib.util
from typing import Any

from harness.data.download import cache_folder
from harness.errors import BadInput
from harness.files import read_file, replace_file

EXTRA = {"altair": "altair", "vl_convert": "vl-convert-python"}
"""What draws, and what the packages are called."""

DASHES = {
    "test": [1, 0], "train": [4, 2], "valid": [1, 1.5],
    "published test": [9, 2, 1.5, 2], "published train": [3, 2, 1.5, 2, 1.5, 2],
}  # fmt: skip
"""How the lines of a split are dashed, as in figures; those of a paper have dots between their dashes."""

HEIGHT = 260  # pixels of a panel


def require_extra() -> None:
    """Raise BadInput where what draws is not installed."""
    missing = [package for module, package in EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise BadInput(
            f"`harness report` draws by {' and '.join(missing)}, not installed here: install it with `python -m pip install "
            '"inference-harness[report]"`'
        )


def description() -> dict[str, Any]:
    """Return what the panels have in common, in Vega-Lite: lines, bands, points, and the rectangle that zooms.

    The data are called `lines`. Each is a point of a curve: x and y, low and high of a band, colour and dash of its line, and
    whether there is a dot, a cross or a triangle at it.
    """
    import altair as alt

    x, y = alt.X("x:Q"), alt.Y("y:Q")
    colour = alt.Color("colour:N", scale=None, legend=None)
    one_line = alt.Detail("line:N")
    dashes: list[Any] = list(DASHES.values())
    dash = alt.StrokeDash("split:N", scale=alt.Scale(domain=list(DASHES), range=dashes), legend=None)
    data = alt.NamedData(name="lines")
    band = (
        alt.Chart(data)
        .mark_area(clip=True, opacity=0.2, aria=False)
        .encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour, detail=one_line)
    )
    line = (
        alt.Chart(data)
        .mark_line(clip=True, aria=False)
        .encode(
            x=x, y=y, color=colour, strokeDash=dash, detail=one_line,
            strokeWidth=alt.StrokeWidth("width:Q", scale=None, legend=None),
        )
    )  # fmt: skip
    shapes = alt.Scale(domain=["dot", "cross", "triangle"], range=["circle", "cross", "triangle-down"])
    told = [alt.Tooltip(f"{name}:N", title=title) for name, title in TOLD.items()]
    point = (
        alt.Chart(data)
        .mark_point(clip=True, filled=True, size=45, aria=False)
        .encode(
            x=x, y=y, color=colour, tooltip=told, shape=alt.Shape("shape:N", scale=shapes, legend=None),
            opacity=alt.Opacity("shown:Q", scale=None, legend=None),
        )
    )  # fmt: skip
    zoom = alt.selection_interval(name="zoom")
    panel = alt.layer(band, line, point.add_params(zoom)).properties(width="container", height=HEIGHT)
    axes = {
        "labelColor": "var(--ink)", "titleColor": "var(--ink)", "gridColor": "var(--grid)", "domainColor": "var(--muted)",
        "tickColor": "var(--muted)", "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
        "labelOverlap": True, "aria": False,
    }  # fmt: skip
    panel = panel.configure(
        font="system-ui, sans-serif",
        background="transparent",
        axis=axes,
        view={"stroke": "var(--grid)"},
        axisX={"tickCount": 5},
        axisY={"tickCount": 5, "titleLimit": HEIGHT},
        autosize={"type": "fit", "contains": "padding"},
    )
    found: dict[str, Any] = panel.to_dict()
    return found


TOLD = {"name": "curve", "run": "runs", "set": "points of", "at": "at", "value": "nats"}
"""What the page tells of a point that a reader points at, and under which heads."""


def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one program in JavaScript, without any network.

    To put it together takes seconds, so the user's cache keeps it.
    """
    import altair as alt
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    by = importlib.metadata.version(EXTRA["vl_convert"])
    kept = cache_folder("vega") / f"vega-lite-{version}-by-vl-convert-{by}.js"
    with contextlib.suppress(OSError, UnicodeError):
        return read_file(kept).decode()
    found: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    with contextlib.suppress(OSError):  # of a cache that cannot be written
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, found.encode())
    return found
