"""The file format of checkpoints: tensors as safetensors, with JSON that says where in the state each of them belongs.

`checkpoint.safetensors` is a file of this format (https://huggingface.co/docs/safetensors), in which every tensor of the
state is named by its path, such as `algorithm.z`. Its `__metadata__` has two entries: `structure`, the rest of the state as JSON,
and `sha256`, a digest of all bytes of the file, computed with zeros in its own place. Reading it executes nothing.

Schemas 1 and 2 had `checkpoint.pt` instead, written by `torch.save`. It is read with `weights_only=True`.
"""

import hashlib
import io
import json
import math
import re
from typing import TYPE_CHECKING, Any, cast

from harness.files import MAX_DEPTH, encoded

if TYPE_CHECKING:
    from torch import Tensor

NAME, FORMER_NAME = "checkpoint.safetensors", "checkpoint.pt"

MAX_BYTES = 1 << 36

MAX_HEADER_BYTES = 100_000_000  # which the format allows

_ZEROS = b"0" * 64

_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')

_DIGEST_BYTES = hashlib.sha256().digest_size

_BIG = 2**63  # beyond which an integer is written in hexadecimal digits, as JSON's readers limit decimal ones

_DTYPES = {"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"}
"""Of tensors that every version of the library knows; the bytes of others are kept."""

# What JSON has no word for is an object with one of these keys.
_TENSOR, _DICT, _TUPLE, _FLOAT, _INT = "$tensor", "$dict", "$tuple", "$float", "$int"


def encode(state: dict[str, Any]) -> bytes:
    """Return a state as the content of a file.

    Args:
        state: dictionaries, lists, tensors, numbers, strings, booleans and None, nested in any way.

    Raises:
        TypeError: something in it is none of these.
        ValueError: all but the tensors is larger than the format allows.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_taken_apart(state, "", tensors), allow_nan=False)
    content = save(tensors, {"structure": structure, "sha256": _ZEROS.decode()})
    begin, header_end = _digest_place(content)
    if header_end > MAX_HEADER_BYTES:
        raise ValueError(
            f"a checkpoint holds {header_end:,} bytes beside its tensors: keep numbers in tensors, not in lists"
        )
    return content[:begin] + hashlib.sha256(content).hexdigest().encode() + content[begin + len(_ZEROS) :]


def decode(content: bytes) -> dict[str, Any]:
    """Return the state that `encode` wrote; raises nearly anything if a bit of it was changed, or it is no checkpoint."""
    from safetensors.torch import load

    begin, header_end = _digest_place(content)
    end = begin + len(_ZEROS)
    sha, view = hashlib.sha256(), memoryview(content)
    for part in (view[:begin], _ZEROS, view[end:]):
        sha.update(part)
    if sha.hexdigest().encode() != content[begin:end]:
        raise ValueError("its checksum does not fit")
    structure = json.loads(content[8:header_end])["__metadata__"]["structure"]
    return cast(dict[str, Any], _put_together(json.loads(structure), load(content)))


def decode_former(content: bytes) -> dict[str, Any]:
    """Return the content of a `checkpoint.pt` of schema 1 or 2; raises nearly anything if it is damaged or none."""
    import torch

    archive, sha256 = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    sealed = hashlib.sha256(archive).digest() == sha256  # those of schema 1 have their checksum inside
    found = torch.load(io.BytesIO(archive if sealed else content), weights_only=True, map_location="cpu")
    if not sealed and found.pop("digest") != digest(found):
        raise ValueError("its checksum does not fit")
    return cast(dict[str, Any], found)


def of_run(content: bytes, run: str, *, former: bool) -> dict[str, Any]:
    """Return the plain state of a run that a file has; raises nearly anything if it is damaged or another run's.

    Args:
        content: of the file.
        run: the id of the run.
        former: whether it is a file of schema 1 or 2.
    """
    found = decode_former(content) if former else decode(content)
    if found["run"] != run:
        raise ValueError("it is another run's")
    require_plain(found, len(content))
    return found


def require_plain(state: Any, size: int) -> None:
    """Raise ValueError unless a state has what `encode` takes and nothing else: no tensor that is not plain numbers in memory.

    Args:
        state: as it was read.
        size: bytes that it was read from, which no tensor has more of.
    """
    import torch

    level, depth = [state], 0
    while level:
        deeper = []
        for value in level:
            if isinstance(value, dict):
                deeper += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple):
                deeper += value
            elif isinstance(value, torch.Tensor):
                plain = type(value) is torch.Tensor and value.layout is torch.strided and value.device.type == "cpu"
                if not plain or value.is_quantized or value.nelement() * value.element_size() > size:
                    raise ValueError(f"it has a tensor that no run has: {type(value).__name__} of {value.dtype}")
            elif not (value is None or isinstance(value, bool | int | float | str)):
                raise ValueError(f"it has a {type(value).__name__}, which no run has")
        level, depth = deeper, depth + 1
        if depth > MAX_DEPTH:
            raise ValueError(f"its content lies in one another more than {MAX_DEPTH} deep")


def digest(packed: Any) -> str:
    """Return a SHA-256 over plain data, the bytes of every tensor included."""
    import torch

    sha = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
            sha.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
        elif isinstance(value, dict):
            sha.update(b"{")
            for key in sorted(value, key=repr):
                sha.update(repr(key).encode())
                feed(value[key])
            sha.update(b"}")
        elif isinstance(value, list | tuple):
            sha.update(b"[")
            for item in value:
                feed(item)
            sha.update(b"]")
        else:
            sha.update(repr(value).encode())

    feed(packed)
    return sha.hexdigest()


def _digest_place(content: bytes) -> tuple[int, int]:
    """Return where the digest begins, and where the header ends that it is in; ValueError if there is none."""
    header_end = 8 + int.from_bytes(content[:8], "little")
    found = _DIGEST.search(content, 8, min(header_end, len(content)))
    if found is None:
        raise ValueError("it has no checksum")
    return found.start(1), header_end


def _taken_apart(value: Any, path: str, tensors: dict[str, "Tensor"]) -> Any:
    """Return a state as JSON has it, and enter its tensors by their paths."""
    import torch

    if isinstance(value, torch.Tensor):
        name = encoded(path.removeprefix(".")).decode()
        while name in tensors:  # where a key has a dot in it
            name += "'"
        dtype = str(value.dtype).removeprefix("torch.")
        plain = value.detach().cpu().clone(memory_format=torch.contiguous_format)  # the format shares no memory
        tensors[name] = plain if dtype in _DTYPES else plain.flatten().view(torch.uint8)
        return {_TENSOR: name} if dtype in _DTYPES else {_TENSOR: name, "dtype": dtype, "shape": list(plain.shape)}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < _BIG else {_INT: hex(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, list):
        return [_taken_apart(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TUPLE: _taken_apart(list(value), path, tensors)}
    if not isinstance(value, dict):
        raise TypeError(f"{path or 'the state'} is a {type(value).__name__}, which a checkpoint cannot hold")
    items = {key: _taken_apart(item, f"{path}.{key}", tensors) for key, item in value.items()}
    if all(isinstance(key, str) and not key.startswith("$") for key in items):
        return items
    return {_DICT: [[_taken_apart(key, f"{path}.{key}", tensors), item] for key, item in items.items()]}


def _put_together(value: Any, tensors: dict[str, "Tensor"]) -> Any:
    """Return the state that `_taken_apart` took apart."""
    import torch

    if isinstance(value, list):
        return [_put_together(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        tensor = tensors[value[_TENSOR]]
        if "dtype" not in value:
            return tensor
        dtype = getattr(torch, value["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"it has a tensor of {value['dtype']!r}, which is no type of numbers")
        return tensor.view(dtype).view(value["shape"])
    if _DICT in value:
        return {_put_together(key, tensors): _put_together(item, tensors) for key, item in value[_DICT]}
    if _TUPLE in value:
        return tuple(_put_together(value[_TUPLE], tensors))
    if _INT in value:
        return int(value[_INT], 16)
    if _FLOAT in value:
        return float(value[_FLOAT])
    return {key: _put_together(item, tensors) for key, item in value.items()}
