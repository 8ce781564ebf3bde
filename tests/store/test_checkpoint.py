"""A checkpoint gives back what it was given, notices every change, and executes nothing."""

import hashlib
import json
import math
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from harness.errors import BadInput
from harness.store import checkpoint
from harness.store.run import Run

BASE = torch.arange(10.0)

STATE: dict[str, Any] = {
    "theta": torch.linspace(-1, 1, 7),
    "optimiser": {"state": {0: {"step": torch.tensor(3.0)}, 1: {"sum": torch.empty(0, 3)}}, "lr": 0.1},
    "keys": {None: 1, True: 2, 2.5: "s", math.inf: 3, ("t", 1): [1, (2, 3)], "$x": 4, "x.y": {"z": torch.ones(1)}},
    "x": {"y.z": torch.zeros(1)}, "$dict": {"$tensor": "theta"}, "x.y.z": torch.ones(2),
    "numbers": [None, True, False, 0, -1, 2**63, -(2**200), 10**5000],
    "floats": [1.5, -0.0, 0.1 + 0.2, 2.2250738585072014e-308, math.nan, math.inf, -math.inf],
    "words": ["", "é\n\ud800", "$x", "\0"], "\ud800": torch.ones(2), "empty": {}, "nothing": [],
    "shared": [BASE[2:5], BASE[2:5], BASE.view(2, 5).T, BASE, torch.randn(3, requires_grad=True)[::2]],
    "rng": torch.Generator().get_state(),
    "dtypes": [
        torch.tensor([1.5, math.nan], dtype=torch.bfloat16), torch.tensor([True, False]), torch.tensor(1 + 2j),
        torch.tensor([1, 2], dtype=torch.uint16), torch.empty(0, dtype=torch.complex128), torch.ones(2, dtype=torch.float8_e5m2),
        torch.tensor(7, dtype=torch.int8), torch.randn(2, 3, 4, dtype=torch.float64), torch.ones(1, 2, dtype=torch.complex64),
    ],
}  # fmt: skip


def require_same(one: Any, other: Any) -> None:
    """Fail unless two states are the same, types, order and bits."""
    if isinstance(one, Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        parts = [part.detach().contiguous().flatten().view(torch.uint8) for part in (one, other)]
        assert torch.equal(*parts)
        return
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert [(type(key), key) for key in one] == [(type(key), key) for key in other]
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for both in zip(one, other, strict=True):
            require_same(*both)
    elif isinstance(one, float):
        assert struct.pack("d", one) == struct.pack("d", other)
    else:
        assert one == other


def refused(content: bytes) -> bool:
    try:
        checkpoint.decode(content)
    except Exception:  # a damaged file can raise nearly anything
        return True
    return False


def test_a_state_of_anything_comes_back_as_it_was() -> None:
    require_same(checkpoint.decode(checkpoint.encode(STATE)), STATE)
    require_same(checkpoint.decode(checkpoint.encode({})), {})


def test_what_cannot_be_kept_is_refused_by_its_place() -> None:
    with pytest.raises(TypeError, match=r"a\.b\.1 is a set, which a checkpoint cannot hold"):
        checkpoint.encode({"a": {"b": [1, {2}]}})


def test_other_tools_find_the_tensors_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(
        checkpoint.encode({name: STATE[name] for name in ("theta", "optimiser", "shared", "rng")})
    )
    with safe_open(tmp_path / "file", "pt") as file:
        assert {"theta", "optimiser.state.0.step", "shared.3", "rng"} < set(file.keys())
        assert torch.equal(file.get_tensor("theta"), STATE["theta"])
        assert json.loads(file.metadata()["structure"])["optimiser"]["lr"] == 0.1


def test_every_bit_and_every_byte_counts() -> None:
    small = checkpoint.encode({"run": "a-run", "theta": torch.arange(3.0), "n": [1, None]})
    assert not refused(small)
    for bit in range(8 * len(small)):
        changed = bytearray(small)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(changed)), bit
    assert all(refused(small[:n]) for n in range(len(small)))
    assert refused(small + b"\0")
    whole = checkpoint.encode(STATE)
    for bit in random.Random(0).sample(range(8 * len(whole)), 500):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(changed)), bit


def forged(structure: str, tensors: dict[str, Any], data: bytes = b"") -> bytes:
    """Return a file of this structure and these tensors' headers, with the checksum that it has to have."""
    header = json.dumps(
        {"__metadata__": {"structure": structure, "sha256": "0" * 64}, **tensors}, separators=(",", ":")
    ).encode()
    content = len(header).to_bytes(8, "little") + header + data
    return content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode(), 1)


def hostile() -> Iterator[bytes]:
    """Yield files whose checksum fits, and that no harness has written."""
    state = '{"run": "a-run", "x": %s}'
    for x in (
        '{"$tensor": "none"}', '{"$tensor": "t", "dtype": "__name__", "shape": [1]}', '{"$tensor": 1}', '{"$dict": 1}',
        '{"$tensor": "t", "dtype": "float64", "shape": [1000000000000]}', '{"$dict": [[[], 1]]}', '{"$int": "x"}', "9" * 5000,
        "[" * 100_000 + "]" * 100_000, '{"$float": "x"}', '{"$tuple": 1}',
    ):  # fmt: skip
        yield forged(state % x, {"t": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"abcd")
    for structure in ("", "[]", "1", "null", '{"run": "b-run"}', "{}"):
        yield forged(structure, {})
    for shape, offsets in (([1 << 60], [0, 4]), ([4], [0, 1 << 60]), ([4], [4, 0]), ([-1], [0, 4]), ([5], [0, 4])):
        yield forged('{"run": "a-run"}', {"t": {"dtype": "U8", "shape": shape, "data_offsets": offsets}}, b"abcd")
    yield forged('{"run": "a-run"}', {}).replace(b'"structure"', b'"structurf"', 1)


@pytest.mark.filterwarnings("ignore")
def test_forged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "a-run")
    run.path.mkdir(parents=True)
    (run.path / checkpoint.NAME).write_bytes(forged('{"run": "a-run"}', {}))
    assert run.checkpoint() == {"run": "a-run"}
    for content in hostile():
        (run.path / checkpoint.NAME).write_bytes(content)
        with pytest.raises(BadInput, match="was edited or damaged") as error:
            run.checkpoint()
        assert "\n" not in str(error.value)


def test_lists_that_should_be_tensors_are_refused_before_they_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_HEADER_BYTES", 1000)
    with pytest.raises(ValueError, match=re.escape("keep numbers in tensors, not in lists")):
        checkpoint.encode({"losses": [0.125] * 1000})
