"""Your own data by path: an array, a table or a folder of images, `--dataset ./x.csv`; `harness data ./x.csv` describes it.

Several files are the parts of a split: `--dataset train.npy,test.npy`, or training, validation and test points. What identifies
the dataset is what is in the files, and these settings, wherever the files are.
"""

from typing import Literal

from harness import api

OWN_FILES = True
OTHER_KINDS = {"binary": "--kind unit --binarize stochastic"}


class Config(api.Config):
    """What is in the files, and how it is shared out."""

    kind: Literal["", "binary", "unit", "real", "counts"] = api.setting(
        "", "what a model sees: bits, values from 0 to 1, real numbers, or counts of words; it must be given"
    )
    scale: api.Scale = api.setting(
        1.0, "a value times this is what a model sees, such as 1/255; standardise: mean 0 and variance 1 in training"
    )
    binarize: Literal["none", "stochastic"] = api.setting(
        "none", "stochastic: bits drawn anew at each presentation, with values of --kind unit as probabilities"
    )
    split: api.Shares = api.setting(
        "0.8/0.1/0.1", "shares of training, validation and test points, or of training and test points"
    )
    order: Literal["random", "file"] = api.setting(
        "random", "random: a fixed random split; file: the first points are for training and the last for testing"
    )
    columns: str = api.setting("", "columns that are points, by name or number, such as a,b or 0-15; all if left out")
    labels: str = api.setting("", "columns that are left out, such as labels")
    shape: api.Size = api.setting("", "ROWSxCOLUMNS of an image, such as 28x28, where points are images")
    array: str = api.setting("", "name of the array in a .npz or .mat file, or of one for each part of a split")
    points: Literal["rows", "columns"] = api.setting("rows", "what is a point of an array: a row, or a column")
    missing: bool = api.setting(False, "an empty cell, or NaN, means that a value is missing; it is an error otherwise")


def load(config: Config, data_dir: str | None = None, files: api.files.DataFiles | None = None) -> api.Dataset:
    """Find, check and return the points; the same settings give the same split."""
    if files is None:
        raise api.files.MissingData("no file is named: give its path, such as --dataset ./x.csv")
    return api.files.own_data(files, config.model_dump(), data_dir)
