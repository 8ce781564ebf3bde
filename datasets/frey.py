"""Frey Face: 1965 frames of one face from a video, 28 × 20 grey pixels k/256, in time order.

Brendan Frey and Sam Roweis; the second data set of Kingma & Welling (2014), who divide by 256 and do not say how they split it.
Neighbouring frames are alike, so a random split puts near-duplicates of test frames into the training set; a chronological
one does not, and is the harder task. Pixels are continuous observations, for a Gaussian decoder.
"""

import io
from typing import Any, Literal

import numpy as np
import torch

from harness import api

N_TRAIN = 1500
IMAGE = (28, 20)
SHAPE = (1965, 560)
# SHA-256 of the frames as an array of bytes, whatever file they came in.
SHA256 = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"
MIRRORS = (
    "https://raw.githubusercontent.com/jmtomczak/vae_vampprior/master/datasets/Freyfaces/freyfaces.pkl",
    "https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
)
SIZE = 16_000_000  # no published file is larger


class Config(api.Config):
    """How frames are shared out."""

    split: Literal["random", "chronological"] = api.setting(
        "random",
        "random: 1500 seeded training frames and 465 test frames; chronological: the first 1500 and the last 465",
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return Frey Face."""
    frames, source = _frames(data_dir)
    order = torch.arange(len(frames))
    if config.split == "random":
        order = torch.randperm(len(frames), generator=api.Streams(0)("frey split"))
    points = torch.from_numpy(frames)
    return api.Dataset(
        train=points[order[:N_TRAIN]],
        test=points[order[N_TRAIN:]],
        kind="real",
        sha256=SHA256,
        source=source,
        scale=1 / 256,
        shape=IMAGE,
    )


def _frames(data_dir: str | None) -> tuple[Any, str]:
    """Return the frames, bytes (1965, 560), and where they were found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("frey")
    for folder in (local, cache):
        names = ("freyfaces.pkl", "frey_rawface.mat", "frames")
        found = api.files.find(folder, names, _decode, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    try:
        frames = api.files.from_url(MIRRORS, _decode, size=SIZE)
    except api.files.MissingData as error:
        raise api.files.not_found(
            "Frey Face",
            local,
            str(error),
            f"download freyfaces.pkl from {MIRRORS[0]} or frey_rawface.mat from {MIRRORS[1]}",
        ) from error
    api.files.save(cache / "frames", frames.tobytes())
    return frames, "public mirror"


def _decode(content: bytes) -> Any:
    """Return the frames in a pickle, in a MATLAB file (`ff`, a frame a column) or as mere bytes; BadInput if they are others."""
    if len(content) == SHAPE[0] * SHAPE[1]:
        frames = np.frombuffer(content, np.uint8).reshape(SHAPE)
    elif api.files.is_matlab(content):
        frames = api.files.read_matlab(content, "ff", size=SIZE).T
    else:
        frames = api.files.unpickle_arrays(io.BytesIO(content), size=SIZE)
        if isinstance(frames, list) and len(frames) == 1:
            frames = frames[0]
    if not isinstance(frames, np.ndarray) or frames.size != SHAPE[0] * SHAPE[1]:
        raise api.BadInput(f"holds something else than {SHAPE[0]} frames of {SHAPE[1]} pixels")
    with np.errstate(invalid="ignore"):  # of what is no byte the checksum tells
        frames = np.array(frames, np.uint8).reshape(SHAPE)
    api.files.expect(SHA256)(frames.tobytes())
    return frames
