"""Taking the state of a running computation apart into plain data, and putting it back bit for bit.

Plain data is what `torch.load(weights_only=True)` accepts: tensors, numbers, strings, and lists and dicts of them.
"""

import dataclasses
from typing import Any

import pydantic
import torch
from torch import Tensor

from harness.api import Problem


def pack(value: Any, where: str = "state") -> Any:
    """Return plain data that holds all of `value`.

    Tensors are copied, generators give their state, objects with `state_dict` that, dataclasses their fields. Settings and
    the problem are left out: they follow from the specification of the run.

    Raises:
        TypeError: something in it cannot be kept; says where.
    """
    if isinstance(value, Problem | pydantic.BaseModel):
        return None
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, torch.Generator):
        return value.get_state()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {key: pack(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "state_dict"):
        return pack(value.state_dict(), where)
    if dataclasses.is_dataclass(value):
        return {
            field.name: pack(getattr(value, field.name), f"{where}.{field.name}") for field in dataclasses.fields(value)
        }
    raise TypeError(
        f"{where} is a {type(value).__name__}, which a checkpoint cannot hold: give it a state_dict, or keep tensors"
    )


def restore(value: Any, packed: Any) -> Any:
    """Return `value`, a state of the same structure, with the content of `packed`; what can be changed in place is."""
    if isinstance(value, Problem | pydantic.BaseModel):
        return value
    if isinstance(value, Tensor):
        if value.shape != packed.shape:
            return packed.to(value.device, copy=True)
        with torch.no_grad():
            return value.copy_(packed)
    if isinstance(value, torch.Generator):
        value.set_state(packed)
        return value
    if isinstance(value, dict):
        return {key: restore(value.get(key), item) for key, item in packed.items()}
    if isinstance(value, list | tuple):
        items = [restore(value[i] if i < len(value) else None, item) for i, item in enumerate(packed)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if hasattr(value, "load_state_dict"):
        value.load_state_dict(packed)
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for name, item in packed.items():
            object.__setattr__(value, name, restore(getattr(value, name), item))
        return value
    # What was not there at the beginning, on the device where it would have been made.
    if isinstance(packed, Tensor):
        return packed.to(torch.get_default_device(), copy=True)
    if isinstance(packed, dict):
        return {key: restore(None, item) for key, item in packed.items()}
    return [restore(None, item) for item in packed] if isinstance(packed, list) else packed
