"""What files of the user's own look like, before anything is trained on them, and with which settings they are a dataset."""

import hashlib
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from harness.data import own, own_files
from harness.data.dataset import Dataset
from harness.data.own import Selected, Settings
from harness.data.own_files import Points
from harness.specs.data_file import DataFiles

LABELS = ("label", "labels", "class", "classes", "target", "targets", "y", "id")
"""What columns are called that are likely to be none of the points."""

FULL = (255, 16, 15)
"""Greatest values of grey pixels, where these are whole numbers."""

SPARSE = 0.5
"""Share of zeros from which on whole numbers look like counts."""

LEARNS: dict[str, tuple[dict[str, str], list[str]]] = {
    "binary": ({}, ["aevb", "wake-sleep"]),
    "unit": ({}, ["aevb", "wake-sleep"]),
    "real": ({"gaussian-mean": "linear"}, ["aevb", "wake-sleep"]),
    "counts": ({"model": "sbn"}, ["nvil", "wake-sleep"]),
}
"""What learns data of each kind: settings of the model, and algorithms that the lower bound compares, the first by default."""


@dataclass(frozen=True)
class Values:
    """What is found in points.

    Attributes:
        low: the least value that is there.
        high: the greatest one.
        whole: whether all are whole numbers.
        two: whether there are no others than these two.
        zeros: share of the values that are 0.
        missing: how many are missing.
        points_missing: how many points have a value that is missing.
        constant: numbers of the columns, of the points, that have one value alone.
    """

    low: float
    high: float
    whole: bool
    two: bool
    zeros: float
    missing: int
    points_missing: int
    constant: tuple[int, ...]


def look(parts: Sequence[Selected]) -> Values:
    """Return what is found in the points of all parts."""
    dim = parts[0].dim
    low, high = np.full(dim, math.inf), np.full(dim, -math.inf)
    whole, zeros, missing, points_missing, count = True, 0, 0, 0, 0
    for block in (block for part in parts for block in part.blocks()):
        values, gone = block.astype(np.float64), np.isnan(block)
        missing, points_missing = missing + int(gone.sum()), points_missing + int(gone.any(1).sum())
        low = np.fmin(low, np.where(gone, math.inf, values).min(0))
        high = np.fmax(high, np.where(gone, -math.inf, values).max(0))
        whole = whole and bool((gone | (values == np.rint(values))).all())
        zeros, count = zeros + int((values == 0).sum()), count + values.size
    ends = float(low.min()), float(high.max())
    two = all(bool((np.isnan(b) | (b == ends[0]) | (b == ends[1])).all()) for part in parts for b in part.blocks())
    constant = tuple(map(int, np.flatnonzero(low >= high)))  # or with no value at all
    return Values(*ends, whole, two, zeros / count, missing, points_missing, constant)


def likely_labels(points: Points) -> list[int]:
    """Return the numbers of the columns that are likely to be none of the points, as they have text or are called so."""
    found = set(points.text)
    if points.form == "table":
        found |= {number for number, name in enumerate(points.names or ()) if name.strip().lower() in LABELS}
        for end in (0, points.array.shape[1] - 1):  # where all others are bits
            others = np.delete(points.array, [*found, end], axis=1)
            column = points.array[:, end]
            if others.size and end not in found and np.isin(others[~np.isnan(others)], (0, 1)).all():
                number = column[~np.isnan(column)]
                if not np.isin(number, (0, 1)).all() and (number == np.rint(number)).all():
                    found.add(end)
    return sorted(found)


def likely(values: Values, images: bool) -> dict[str, Any]:
    """Return the settings kind, scale and missing with which points of such values are a dataset."""
    found: dict[str, Any] = {"missing": True} if values.missing else {}
    in_range = values.low >= 0 and values.high <= 1
    if in_range and values.whole:
        return found | {"kind": "binary"}
    if values.two and values.low == 0 and images:
        return found | {"kind": "binary", "scale": f"1/{values.high:g}"}
    if in_range:
        return found | {"kind": "unit"}
    if values.low >= 0 and values.whole and (images or values.high in FULL):
        full = next((full for full in FULL if values.high == full), 255 if values.high <= 255 else int(values.high))
        return found | {"kind": "unit", "scale": f"1/{full}"}
    if values.low >= 0 and values.whole and values.zeros >= SPARSE and not values.missing:
        return found | {"kind": "counts"}
    return found | {"kind": "real", "scale": own.STANDARDISE}


def repeated(dataset: Dataset) -> int:
    """Return how many test points are among the training points, value for value."""

    def marks(points: Tensor) -> list[bytes]:
        rows = (row for part in points.split(5000) for row in part.contiguous().numpy())
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]

    train = set(marks(dataset.train))
    return sum(mark in train for mark in marks(dataset.test.to(dataset.train.dtype)))


def describe(files: DataFiles, config: Any, given: dict[str, Any], word: str) -> dict[str, Any]:
    """Return as plain data what files look like, and the command that trains on them.

    Args:
        files: which.
        config: the `Config` of the dataset `file`.
        given: settings that the user gives; what is not among them is guessed.
        word: how the user calls the files.

    Raises:
        BadInput: they cannot be read, or are not what the user says.
    """

    def settings_of(said: dict[str, Any]) -> Settings:
        return Settings(**config.model_validate(said).model_dump())

    settings = settings_of(given)
    parts = own_files.read(files.paths, settings.array)
    said = dict(given)
    aside = likely_labels(parts[0]) if not {"columns", "labels"} & said.keys() else []
    if aside:
        names = parts[0].names
        usable = names is not None and len(set(names)) == len(names) and not any("," in name for name in names)
        said["labels"] = ",".join(names[n] if names is not None and usable else str(n) for n in aside)
    selected = [own.select(part, settings_of(said)) for part in parts]
    values = look(selected)
    shape = own.shape_of(selected[0], settings.shape)
    guess = likely(values, shape is not None or parts[0].form == "images")
    if "kind" in said:  # what else it is guessed to be belongs to another kind
        guess = {k: v for k, v in guess.items() if k == "missing" or said["kind"] == guess["kind"]}
    if guess.get("scale") == own.STANDARDISE and values.constant and "scale" not in said:
        guess["scale"] = "1"
    said = {name: value for name, value in {**guess, **said}.items() if (name, value) != ("scale", "1")}
    said = {name: said[name] for name in config.model_fields if name in said}  # in the order of help
    dataset = own.dataset(selected, settings_of(said), files.sha256)
    splits = {
        name: len(points) for name in ("train", "valid", "test") if (points := getattr(dataset, name)) is not None
    }
    options = [
        f"--{name} {shlex.quote(str(value))}" if value is not True else f"--{name}" for name, value in said.items()
    ]
    seen = said["kind"] if settings.binarize == "none" else "binary"
    more, algorithms = LEARNS[seen]
    run = " ".join([f"--algo {algorithms[0]}", *(f"--{name} {value}" for name, value in more.items())])
    latents = {} if "model" in more else {"nz": max(1, min(20, selected[0].dim // 4))}
    return {
        "dataset": files.name,
        "files": [str(path) for path in files.paths],
        "sha256": files.sha256,
        "points": sum(len(one.array) for one in selected),
        "values": selected[0].dim,
        "shape": shape,
        "type": str(selected[0].dtype),
        "low": values.low,
        "high": values.high,
        "whole": values.whole,
        "missing": values.missing,
        "points_missing": values.points_missing,
        "columns": list(parts[0].names or ()),
        "aside": [own.column_of(parts[0].names, number) for number in aside],
        "constant": [selected[0].column(number) for number in values.constant],
        "kind": said["kind"],
        "settings": said,
        "splits": splits,
        "repeated": repeated(dataset),
        "command": " ".join([f"harness run {run} --dataset {shlex.quote(word)}", *options]),
        "experiment": experiment(word, said, latents | more, algorithms),
    }


def experiment(word: str, settings: dict[str, Any], model: dict[str, Any], algorithms: Sequence[str]) -> str:
    """Return an experiment (TOML) that compares algorithms on files of the user's by the lower bound, with step sizes tuned.

    Args:
        word: how the user calls the files.
        settings: with which they are a dataset.
        model: settings of the model.
        algorithms: their names.
    """

    def lines(options: dict[str, Any]) -> str:
        return "".join(
            f"{name.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in options.items()
        )

    return f"""# Which algorithm learns {json.dumps(word)[1:-1]} best, by equal budgets: change what you like.

[base]
{lines({"dataset": word, **settings, **model})}samples = 1e5
lr = "tuned"

[tune]
samples = 2e4

[[grid]]
algo = {json.dumps(algorithms)}
seed = [0, 1, 2]

[table]
at = ["end"]
"""
