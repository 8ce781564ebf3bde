"""The program that draws curves is put together once, and kept."""

import importlib.metadata
from pathlib import Path

import pytest

from harness.page import charts

pytest.importorskip("altair", reason="altair draws the page: install inference-harness[report]")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The versions of Vega-Lite that were put together, with a cache of their own."""
    import vl_convert

    versions: list[str] = []

    def bundle(snippet: str, vl_version: str) -> str:
        versions.append(vl_version)
        return f"program {len(versions)} ÷ {vl_version}"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setattr(charts, "cache_folder", lambda name: tmp_path / "cache" / name)
    return versions


def test_the_program_is_put_together_once_for_each_version(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = charts.library()
    assert first.startswith("program 1 ÷")
    assert [charts.library(), made] == [first, made[:1]]
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "0")
    assert charts.library().startswith("program 2 ÷")
    (one, other) = (tmp_path / "cache" / "vega").iterdir()
    one.write_bytes(b"\xff")  # a cache that is damaged is made again
    other.write_bytes(b"\xff")
    assert charts.library().startswith("program 3 ÷")


def test_a_cache_that_cannot_be_written_is_done_without(made: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert [charts.library()[:9], charts.library()[:9]] == ["program 1", "program 2"]
