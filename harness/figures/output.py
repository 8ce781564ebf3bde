"""Figures as files: the formats, and what is embedded in them."""

import io
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness import __version__
from harness.errors import BadInput
from harness.files import write_output
from harness.safe_text import line
from harness.store.record import Record

FORMATS = ("png", "svg", "pdf")

MINOR = 6  # points: labels between powers of ten, which lie close

MOST_LETTERS = 150  # of what a figure is of, in the name of its file


Name = TypeVar("Name")

PALETTES = ("colorblind", "dark", "pastel", "bright", "muted")  # of ten colours each, the same hues


@contextmanager
def style(**more: Any) -> Iterator[None]:
    """Draw and save in the style of all figures, with more of matplotlib's settings (`_` for `.`)."""
    settings: Any = {
        "svg.hashsalt": "harness",  # the same figure is the same file
        "pdf.fonttype": 42,
        "figure.autolayout": False,
        "figure.constrained_layout.use": False,  # `layout=` says it where it is wanted
        "text.usetex": False,  # whatever the user's own figures have: LaTeX need not be there
        "axes.grid": True,
        "axes.formatter.useoffset": False,
        "grid.alpha": 0.35,
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    with sns.axes_style("ticks"), mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # it is drawn as an empty box
        yield


def colours_of(names: Iterable[Name]) -> dict[Name, Any]:
    """Return a colour for each name; the first ten are told apart by the colour-blind, too, and more differ in lightness."""
    every = itertools.chain.from_iterable(map(sns.color_palette, PALETTES))
    return dict(zip(names, every, strict=False))


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int, note: str) -> float:
    """Put the legend below all panels, in so many columns or as many as the figure is wide enough for, under a note.

    Returns:
        Its height, inches.
    """
    settings: Any = {
        "loc": "outside lower center",
        "frameon": False,
        "title": note,
        "title_fontsize": "small",
        "alignment": "left",
    }
    for n in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, ncols=n, **settings)
        place = legend.get_window_extent()
        if n == 1 or place.width <= figure.bbox.width:
            break
        legend.remove()
    return float(place.height / figure.dpi)


def described(records: Sequence[Record]) -> str:
    """Return ids, code versions and data hashes of the runs in a figure, for its metadata."""
    sessions = [record.provenance[-1] for record in records if record.provenance]
    codes = dict.fromkeys(
        f"{p['code']['version']} {p['code']['commit'] or p['code']['source_sha256']}" for p in sessions
    )
    data = dict.fromkeys(p["dataset"]["sha256"] for p in sessions)
    parts = {"runs": [record.run for record in records], "made by harness": list(codes), "data SHA-256": list(data)}
    return line("; ".join(f"{name}: {', '.join(values)}" for name, values in parts.items() if values))


def file_name(what: str, kind: str, **shown: str | None) -> str:
    """Return the name of a figure's file without its ending: what it is of, and what it shows.

    Such as `figure2-curves-by-samples` and `aevb-mnist-nz2-s0-62fe3882-prior-samples`.

    Args:
        what: runs or an experiment, as they are called.
        kind: of figure.
        shown: what else was chosen, with the word before it, such as by="samples"; left out where it is None.
    """
    words = [what[:MOST_LETTERS], kind, *(f"{word}-{value}" for word, value in shown.items() if value is not None)]
    return "-".join(re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-.") for word in words)


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as an image, (height, width, 3), for tools that take no file."""
    canvas = FigureCanvasAgg(figure)
    with style():
        canvas.draw()  # type: ignore[no-untyped-call, unused-ignore]
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call, unused-ignore]
    return np.asarray(rgba)[..., :3].copy()


def save(figure: Figure, path: Path, records: Sequence[Record], formats: Sequence[str] = ()) -> list[Path]:
    """Write the figure in these formats, their endings appended; or in the one that the path ends in.

    What it shows goes into the files' metadata.

    Raises:
        BadInput: the format is not known, or the place cannot be written.
    """
    known = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lstrip(".").lower()
    if not formats and suffix not in known:
        raise BadInput(
            f"--out ends in .{suffix}: choose one of {', '.join(sorted(known))}, or no ending for PNG, SVG and PDF"
        )
    paths = [path.with_name(f"{path.name}.{format}") for format in formats] or [path]
    text, creator = described(records), f"harness {__version__}"
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Description": text, "Software": creator},
        "svg": {"Description": text, "Creator": creator, "Date": None},
        "pdf": {"Subject": text, "Creator": creator, "CreationDate": None},
    }
    with style():
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # it has done its work, and would do it again for every format
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target in paths:
            drawn, form = io.BytesIO(), target.suffix[1:].lower()
            with style():
                figure.savefig(drawn, format=form, dpi=150, metadata=metadata.get(form))
            write_output(target, drawn.getvalue())
    except OSError as error:
        raise BadInput(f"{path.parent} cannot be written ({error.strerror}): name another place with --out") from error
    return paths
