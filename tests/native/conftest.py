"""The two ways to compute."""

import pytest

from harness.native import path


@pytest.fixture(params=["compiled", "PyTorch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "PyTorch":
        monkeypatch.setattr(path, "kernels", None)
    elif path.kernels is None:
        pytest.skip(path.description)
    return str(request.param)
