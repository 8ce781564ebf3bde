"""Settings of plugins: typed, validated, with help and a search space where tuning may choose."""

from typing import Any, NamedTuple

import pydantic

MAX_COUNT = 10**12
"""Of any setting that counts something."""


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
