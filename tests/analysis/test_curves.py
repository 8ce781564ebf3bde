"""Means over seeds."""

import math

import pandas as pd
from support import stored

from harness.analysis.curves import over_seeds, points


def test_means_of_several_counters_are_at_the_same_marks() -> None:
    data = points([stored(seed=0), stored(seed=1)], "lower-bound")
    found = over_seeds(data[data["split"] == "test"], "samples", "cpu_seconds")
    assert list(found["x"]) == [1e4, 1e5, 1e6]
    assert list(found["cpu_seconds"]) == [15.0, 150.0, 1500.0]  # of seeds that take 10 and 20 ms a sample


def test_seeds_without_a_common_mark_are_shown_as_far_as_the_farthest() -> None:
    """Such as estimates of the end alone, where one seed goes on longer."""
    data = points([stored(seed=0, test=(-200.0,)), stored(seed=1, test=(-200.0, -150.0))], "lower-bound")
    last = data.groupby("run")["mark"].transform("max")
    found = over_seeds(data[(data["split"] == "test") & (data["mark"] == last)], "samples")
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True),
        pd.DataFrame({"x": [1e5], "nats": [-150.0], "low": [-150.0], "high": [-150.0], "seeds": [1]}),
    )


def test_a_counter_that_a_seed_does_not_tell_is_left_out_of_its_mean_and_the_seed_is_not() -> None:
    """Such as a counter that runs have only since one of them was stored."""
    data = points([stored(seed=0), stored(seed=1)], "lower-bound")
    data.loc[(data["seed"] == 1) & (data["mark"] == 1e5), "cpu_seconds"] = math.nan
    data.loc[data["mark"] == 1e6, "cpu_seconds"] = math.nan
    found = over_seeds(data[data["split"] == "test"], "samples", "cpu_seconds")
    assert list(found["seeds"]) == [2, 2, 2]
    assert list(found["cpu_seconds"])[:2] == [15.0, 100.0]
    assert math.isnan(found["cpu_seconds"].iloc[2])
    nats = data[(data["split"] == "test") & (data["mark"] == 1e5)]["nats"]
    assert (found["low"].iloc[1], found["nats"].iloc[1], found["high"].iloc[1]) == (nats.min(), nats.mean(), nats.max())
