"""Whether the compiled primitives compute, or PyTorch alone: told once, when this is imported.

The compiled library is linked against no BLAS. It is given the address of a single-precision matrix product: of PyTorch's own,
where its library offers one by name, which is as fast as PyTorch is and obeys its number of threads; else of SciPy's.
"""

import ctypes
import importlib
import os
from array import array
from pathlib import Path
from typing import Any

import torch

VARIABLE = "HARNESS_NATIVE"
"""Set it to 0 to compute by PyTorch alone."""


def _of_torch() -> int | None:
    """Return the address of the function sgemm in PyTorch's library, None if it offers none."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        try:
            found = ctypes.CDLL(str(folder / name)).sgemm_
        except (OSError, AttributeError):
            continue
        return ctypes.cast(found, ctypes.c_void_p).value
    return None


def _of_scipy() -> int | None:
    """Return the address of the function sgemm that SciPy offers to compiled code, None if it takes other numbers than int."""
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__["sgemm"]
    name_of, address_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature: bytes = name_of(capsule)
    if not signature.startswith(b"void (char *, char *, int *, int *, int *, "):
        return None
    address: int | None = address_of(capsule, signature)
    return address


def _multiplies(kernels: Any) -> bool:
    """Say whether the library and the matrix product that it was given work together: x W + b of a few numbers."""
    x, W, b = (torch.linspace(-1.0, 1.0, n * m, device="cpu").view(n, m) for n, m in ((3, 5), (5, 4), (1, 4)))
    out = torch.empty(3, 4, device="cpu")
    table = array("q", [5, 4, W.data_ptr(), b.data_ptr()])
    kernels.up(table.buffer_info()[0], 1, 3, x.data_ptr(), out.data_ptr())
    return torch.allclose(out, (x.double() @ W.double() + b.double()).float(), rtol=1e-5, atol=1e-6)


def _choose() -> tuple[Any, str]:
    """Return the compiled library or None, and in words which path is used and why."""
    if os.environ.get(VARIABLE) == "0":
        return None, f"PyTorch alone, as {VARIABLE}=0 says"
    try:
        kernels = importlib.import_module("harness.native._kernels")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            return None, "PyTorch alone, as no C compiler was found when the harness was installed"
        return None, f"PyTorch alone, as the compiled library cannot be loaded ({error})"
    for whose, find in PRODUCTS.items():
        address = find()
        if address is not None:
            kernels.use_gemm(address)
            if _multiplies(kernels):
                return kernels, f"compiled, matrix products by {whose}"
    return None, "PyTorch alone, as no matrix product for the compiled library was found"


PRODUCTS = {"PyTorch": _of_torch, "SciPy": _of_scipy}
"""Whose matrix products the compiled library may use, the one to prefer first, and what returns the address of each."""

kernels, description = _choose()
"""The compiled library, None where PyTorch computes alone; and in words which path is used, and why."""


_transforms_active, _SINGLE = torch._C._are_functorch_transforms_active, torch.float32


def set_threads(n: int) -> None:
    """Have the compiled library multiply by so many threads: SciPy's product does not obey PyTorch's number of them."""
    if kernels is not None and "SciPy" in description:
        from threadpoolctl import threadpool_limits

        threadpool_limits(n, user_api="blas")


def of(device: str) -> str:
    """Return in a word or two by what a run on this device computes, for its provenance."""
    return description if kernels is not None and device == "cpu" else "PyTorch alone"


def serves(*tensors: torch.Tensor) -> bool:
    """Say whether the compiled primitives can compute with these: in single precision, and on a processor."""
    if kernels is None or _transforms_active():
        return False
    for tensor in tensors:  # noqa: SIM110  # several times a step: a generator would take twice as long
        if tensor.dtype is not _SINGLE or not tensor.is_cpu:
            return False
    return True
