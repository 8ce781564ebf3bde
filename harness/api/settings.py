"""Settings of plugins: typed, validated, with help and a search space where tuning may choose."""

import math
from typing import Annotated, Any, NamedTuple

import pydantic

MAX_COUNT = 10**12
"""Of any setting that counts something."""

MAX_UNITS = 100_000
"""Of a layer whose size is a setting."""


def sizes(given: object) -> tuple[int, ...]:
    """Return the sizes of layers from how they are written, such as 200 or 200-200-500; of "none" there are none.

    Raises:
        ValueError: they are not sizes.
    """
    if given == "none":
        return ()
    words = str(given).split("-")
    if not all(word.isascii() and word.isdigit() and 0 < int(word) <= MAX_UNITS for word in words):
        raise ValueError(f"give the size of each layer, from 1 to {MAX_UNITS}, such as 200 or 200-200-500")
    return tuple(map(int, words))


def _layers(given: object) -> str:
    if given == "none":
        raise ValueError("give the size of one layer at least, such as 200 or 200-200-500")
    return "-".join(map(str, sizes(given)))


def _hidden(given: object) -> int | str:
    found = sizes(given)
    return found[0] if len(found) == 1 else "-".join(map(str, found)) or "none"


def _scale(given: object) -> float | str:
    if given == "standardise":
        return str(given)
    top, _, bottom = str(given).partition("/")
    try:
        found = float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        found = math.nan
    if not math.isfinite(found) or found == 0:
        raise ValueError("give a number such as 0.01 or 1/255, or standardise")
    return found


def _shares(given: object) -> str:
    words = str(given).split("/")
    try:
        shares = [float(word) for word in words]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 < share < 1 for share in shares):
        raise ValueError("give shares of training, validation and test points, or of two of them, such as 0.8/0.1/0.1")
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares sum to {sum(shares):g}: give shares that sum to 1, such as 0.8/0.1/0.1")
    return "/".join(f"{share:g}" for share in shares)


def _size(given: object) -> str:
    words = str(given).replace("×", "x").split("x")
    if given == "":
        return ""
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and 0 < int(word) <= MAX_UNITS for word in words):
        raise ValueError("give rows and columns of an image, such as 28x28")
    return "x".join(str(int(word)) for word in words)


Scale = Annotated[float | str, pydantic.BeforeValidator(_scale)]
"""What values are multiplied by, as a setting: a number, a fraction such as 1/255, or "standardise"."""

Shares = Annotated[str, pydantic.BeforeValidator(_shares)]
"""Shares of training, validation and test points as a setting, or of training and test points: 0.8/0.1/0.1."""

Size = Annotated[str, pydantic.BeforeValidator(_size)]
"""Rows and columns of an image as a setting: 28x28; nothing where points are none."""

Layers = Annotated[str, pydantic.BeforeValidator(_layers)]
"""The sizes of layers, the one next to the data first, as a setting: 200-200-500. `sizes` returns the numbers."""

Hidden = Annotated[int | str, pydantic.BeforeValidator(_hidden)]
"""The same of hidden layers, of which there may be none; the size of one alone is a whole number."""


class Config(pydantic.BaseModel):
    """Base of every plugin's settings: frozen. An unknown or invalid value is refused, and one too large to compute with."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @pydantic.field_validator("*")
    @classmethod
    def _calculable(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > MAX_COUNT:
            raise ValueError(f"give one of {MAX_COUNT:.0e} at most")
        if isinstance(value, float) and value and not 1 / MAX_COUNT**3 < abs(value) < MAX_COUNT**3:  # single precision
            raise ValueError(f"give one from {1 / MAX_COUNT**3:.0e} to {MAX_COUNT**3:.0e}")
        return value


class Choice(NamedTuple):
    """A search space of a few values."""

    values: tuple[Any, ...]


class LogUniform(NamedTuple):
    """A search space that is uniform in the logarithm."""

    low: float
    high: float


def setting(default: Any, help: str, *, search: Choice | LogUniform | None = None, **constraints: Any) -> Any:
    """Declare one setting of a `Config`.

    Args:
        default: its value where the user gives none.
        help: one line for listings.
        search: what tuning may try, for a setting that should be tuned.
        constraints: pydantic's, such as gt=0.
    """
    extra: Any = None if search is None else {"search": {type(search).__name__: search._asdict()}}
    return pydantic.Field(default, description=help, json_schema_extra=extra, **constraints)
