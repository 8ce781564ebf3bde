"""Folders of images, as grey bytes."""

from pathlib import Path
from typing import Any

import numpy as np

from harness.data.memory import most_in_memory
from harness.errors import BadInput
from harness.specs.data_file import images

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP")

GREY = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Modes of Pillow that have a byte for a value, which become grey without loss of range; others have more."""

PARTS = (("train", "valid", "test"), ("train", "val", "test"), ("train", "test", "test"))
"""Folders within a folder that are its training, validation and test images."""


def read_images(folder: Path) -> list[tuple[np.ndarray[Any, Any], str]]:
    """Return the images of a folder (N, rows, columns) of bytes, and where they are, in the order of their paths.

    Colours become grey. If it has the folders `train` and `test`, and perhaps `valid`, these are parts of their own; any other
    folders in it are looked into, as those of a class each.

    Raises:
        BadInput: Pillow is not installed; there are none; one cannot be read, or has another size than the first.
    """
    parts = next((names for names in PARTS if all((folder / name).is_dir() for name in names)), None)
    chosen = [folder / name for name in dict.fromkeys(parts)] if parts else [folder]
    return [(_read(one), str(one)) for one in chosen]


def _read(folder: Path) -> np.ndarray[Any, Any]:
    try:
        from PIL import Image
    except ImportError as error:
        raise BadInput("holds images, for which Pillow is needed: `python -m pip install pillow`") from error
    paths = images(folder)
    out: np.ndarray[Any, Any] | None = None
    for k, path in enumerate(paths):
        try:
            with Image.open(path, formats=FORMATS) as image:
                columns, rows = image.size
                if image.mode not in GREY:
                    raise BadInput(
                        f"{path} has values of more than a byte (mode {image.mode}): save images of 8 bits, or an array as .npy"
                    )
                if out is None:
                    if len(paths) * rows * columns > most_in_memory():
                        raise BadInput(
                            f"{folder} has {len(paths):,} images of {rows} × {columns} pixels, more than half of the memory: "
                            "save them as one array in a .npy file, which is read from disk as it is needed"
                        )
                    out = np.empty((len(paths), rows, columns), np.uint8)
                if (rows, columns) != out.shape[1:]:
                    raise BadInput(
                        f"{path} has {rows} × {columns} pixels, and {paths[0].name} has {out.shape[1]} × {out.shape[2]}: give "
                        "images of one size"
                    )
                out[k] = np.asarray(image.convert("L"))
        except BadInput:
            raise
        except Exception as error:  # a damaged image can raise nearly anything
            raise BadInput(
                f"{path} cannot be read as an image ({type(error).__name__}: {error}): take it out"
            ) from error
    assert out is not None  # there is one image at least
    return out
