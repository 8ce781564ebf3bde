"""Binary density-estimation sets, each with a split of its own: nltcs, plants, mushrooms, dna, nips, or files of yours.

Collected in the literature on tractable models, as by Daniel Lowd and Jesse Davis, "Learning Markov network structure with
decision trees" (ICDM 2010), and Hugo Larochelle and Iain Murray, "The neural autoregressive distribution estimator" (AISTATS
2011). A set is three files of 0 and 1 with commas between, a point a line: NAME.train.data, NAME.valid.data and NAME.test.data.
The five that are named here are checked; any other of your own is read, too.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import api

SPLITS = ("train", "valid", "test")
SETS = {
    "dna": (
        "bb8de0ca4b6ad9b610036b7a302962ebecd4b504354b14c02c7d0bee48d207d9",
        "4b0fc89cda5eaf5c75926e281afb6af99de194a546070d5b81b524ba251f4f3f",
        "fec3ae7b26804020a9c43c99828441c5e08bb76b23719368a74ad2b09af99100",
    ),
    "mushrooms": (
        "465c712c066bbbee3ccceded24bbe42b4c379df67b524e28cce9bf3a8b83f27b",
        "5a067e6854df71623415e6adc8e913cbff766637a324788882ba800907aa5385",
        "313c5f04b5d0a18bee2f2ffa264be265d09f5362aad6f714637acd9552f81aa0",
    ),
    "nips": (
        "4d744cb1f2c725405bff6ef6878df06eafbbc2a91f0510e0f3d8a508b05ec7bb",
        "b06acd8e6a701d63d4e58b5076c11c59bcd0343fb9b1fbb5997459d3e6b8ca96",
        "48711bdaffbd43aa439679785e19d9cc80c64a157fa84eadc5dce60ee4edf7bc",
    ),
    "nltcs": (
        "e547a7aedad1dd2f7177030881ab1b92c7e24ae5464c71a0f1f89daecaf52b30",
        "93bbbf5c6febdc9bc6e5b5bfab636f4dc0685ab2896d24b23dd267794c3bfcf6",
        "f9ffa6b74b27dc03bee3203d157ee31079e80b13be40d0c0093d635c25aed523",
    ),
    "plants": (
        "1fb1219ff94068d12a563f9e81f8889a1885f41e867884cff608669300c6848f",
        "47834ed318b2d74f48e4b083226ef47fd446d41986012ceae19d230574821b34",
        "95f53c033cd1d86467aec2610dc5bfe014534206c2da4919f73bcab246ab8755",
    ),
}
"""SHA-256 of the files of each set: train, valid, test."""
MIRROR = "https://raw.githubusercontent.com/arranger1044/DEBD/master/datasets"
SIZE = 200_000_000  # no set is larger


class Config(api.Config):
    """Which set."""

    set: str = api.setting(
        "nltcs", f"{', '.join(SETS)}, or NAME of files NAME.train.data, .valid.data and .test.data of yours",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$",
    )  # fmt: skip


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return the three splits: in the folder `debd` of the data, or the folder of the data itself."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("debd")
    points, sources = {}, set()
    for number, split in enumerate(SPLITS):
        sha256 = SETS[config.set][number] if config.set in SETS else None
        points[split], source = _split(f"{config.set}.{split}.data", sha256, local, cache)
        sources.add(source)
    return api.Dataset(
        train=points["train"],
        valid=points["valid"],
        test=points["test"],
        kind="binary",
        source=" and ".join(sorted(sources)),
    )


def _split(name: str, sha256: str | None, local: Path | None, cache: Path) -> tuple[torch.Tensor, str]:
    """Return the points of a file, and where it was found."""

    def decode(content: bytes) -> torch.Tensor:
        return read_bits(content if sha256 is None else api.files.expect(sha256)(content))

    for folder in (local, cache):
        found = api.files.find(folder, (f"debd/{name}", name), decode, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    address = f"{MIRROR}/{name.partition('.')[0]}/{name}"
    if sha256 is None:
        raise api.files.not_found(
            name,
            local,
            f"the sets that are fetched are {', '.join(SETS)}{_there(local)}",
            f"write {name} with a line of 0,1,… for each point",
        )
    try:
        content = api.files.from_url((address,), api.files.expect(sha256), size=SIZE)
    except api.files.MissingData as error:
        raise api.files.not_found(name, local, str(error), f"download {address}") from error
    api.files.save(cache / name, content)
    return read_bits(content), "public mirror"


def _there(local: Path | None) -> str:
    """Return in words which sets are in a folder of the user's."""
    files = [] if local is None else [*local.glob("*.train.data*"), *local.glob("debd/*.train.data*")]
    found = sorted({file.name.partition(".")[0] for file in files})
    return f", and the folder has {', '.join(found)}" if found else ""


def read_bits(content: bytes) -> torch.Tensor:
    """Return the points (N, D) of lines of 0 and 1 with commas between, uint8; BadInput where a line is another."""
    lines = content.split()
    if not lines:
        raise api.BadInput("has no points")
    width, rows = len(lines[0]), []
    for number, line in enumerate(lines, 1):
        bits = line[::2]
        if len(line) != width or not len(line) % 2 or bits.strip(b"01") or line[1::2].strip(b","):
            said = line[:20].decode("ascii", "replace")
            raise api.BadInput(
                f"has in line {number} {said!r}{'…' if len(line) > 20 else ''}, {len(bits)} numbers, where the first line has "
                f"{width // 2 + 1}: each has to be that many of 0 and 1 with commas between"
            )
        rows.append(bits)
    array: Any = np.frombuffer(b"".join(rows), np.uint8) - ord("0")
    return torch.from_numpy(array.reshape(len(rows), -1))
