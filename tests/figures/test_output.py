"""The look of figures."""

import seaborn as sns

from harness.figures.output import COLOURS, TICKS, distinct_colours


def test_the_look_is_that_of_seaborn() -> None:
    """Except for its map of colours, which none uses, and for the grid, which all have."""
    assert sns.axes_style("ticks") == {**TICKS, "image.cmap": "rocket", "axes.grid": False}
    assert list(COLOURS) == sns.color_palette("colorblind")
    assert distinct_colours(12) == sns.color_palette("colorblind", 12)
