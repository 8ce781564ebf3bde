"""What is exported is all that the store has, in tables that other tools read."""

import csv
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import Result, stored

from harness.analysis import export, export_tables
from harness.analysis.exported import Exported, load
from harness.files import seal, to_json
from harness.specs.run import make_spec
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

Harness = Callable[..., Result]
FORMATS = ("csv", "parquet", "json")
SESSION = stored().record.provenance[0]
RESULTS = Path(__file__).parents[2] / "results"


def estimate(mean: float, **more: Any) -> dict[str, Any]:
    return {
        "estimator": "lower-bound", "settings": {"n_samples": 2}, "direction": "lower", "split": "test", "points": 2000,
        "mean": mean, "se_points": 0.5, "se_estimator": 0.0, "diagnostics": {},
    } | more  # fmt: skip


def row(samples: int, *estimates: dict[str, Any], **more: Any) -> dict[str, Any]:
    ledger = {"samples": samples, "steps": samples // 100, "cpu_seconds": samples / 7e4, "wall_seconds": 1.0}
    return {
        "marks": {"samples": float(samples)},
        "end": False,
        "ledger": ledger,
        "info": {"objective": -1 / 3},
        "estimates": list(estimates),
    } | more


def make(
    store: Store, run_id: str, *rows: dict[str, Any], algorithm: str = "aevb", group: str = "mine", **fields: Any
) -> Run:
    """Store a run of these rows, with these fields of its record."""
    run = store.run(run_id, group)
    run.claim()
    spec = fields.pop("spec", None) or make_spec(algorithm, settings={"nz": 3}).model_dump(mode="json")
    record = Record(
        run.id, spec, **({"status": "done", "budget": {"samples": 10**6}, "provenance": [SESSION]} | fields)
    )
    for each in rows:
        run.append(record, each)
    run.write(record)
    run.release()
    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Runs of every status, with whatever a store may hold."""
    store = Store(tmp_path / "results")
    last = row(250, estimate(-100.25), marks={}, end=True)
    done = make(
        store, "done", row(100, estimate(-101.0), estimate(-102.0, split="train")), last, overshoot={"samples": 3}
    )
    ais = {"temperatures": 1000, "start": "prior", "nothing": None, "nested": {"list": [1, 2.0, "3", True, None]}}
    judged = estimate(-99.5, estimator="ais", settings=ais, diagnostics={"acceptance": 0.9, "rounds": 3})
    later = {"time": "2026-11-21T11:34:29Z", "code": {"version": "0", "commit": None}, "file": None}
    for ledger in ({"samples": 250, "cpu_seconds": 1.5}, {}):
        done.append_evaluation({**later, "ledger": ledger, "estimate": judged})
    drawn = {"weights": "last", "points": 20, "draws": 40, "fit": 1, "seed": 0, "made_again": None, "estimators": []}
    done.append_gradients({**drawn, "time": later["time"], "ledger": {"samples": 250}})
    settings = dict.fromkeys(("iterations", "chains", "points", "seed"), 2) | {"weights": "last"}
    settings |= {"missing": "0.6", "latents": "recognition"}
    curve = [{"iteration": 1, "nats": -3.5, "se": 0.1, "nats_per_entry": -0.5, "se_per_entry": 0.02}]
    imputed = {"settings": settings, "direction": "lower", "entries": 7, "curve": curve}
    done.append_imputation({"time": later["time"], "ledger": {"samples": 250}, "imputation": imputed})
    odd = row(100, estimate(math.nan, se_points=math.inf), info={"objective": -math.inf, "grad_norm": math.nan})
    make(store, "diverged", odd, status="diverged", reason='fell, "they" say\r\nto -∞; nan\n', algorithm="wake-sleep")
    make(
        store,
        "failed",
        status="failed",
        reason="NA",
        provenance=[SESSION | {"load": [0.5, 1], "gpu": None}, SESSION | {"gpu": "a, b"}],
    )
    make(store, "interrupted", row(100, estimate(1.0)), status="interrupted", budget={"cpu_seconds": 1e300})
    running = make(
        store,
        "running",
        row(2**53 + 1, estimate(-1.0, points=2**63)),
        status="running",
        ledger=row(7)["ledger"] | {"steps": 1.0},
    )
    with (running.path / "trace.jsonl").open("a") as file:
        file.write(to_json(row(200)) + '\n{"marks": {"sam')
    make(store, "done", row(100, estimate(-50.0)), group="other")
    return store


def content(store: Store) -> list[str]:
    """Return all that a store has, as text that tells 1 from 1.0, None from NaN, and one order from another."""
    return [
        to_json([r.path.parent.name, asdict(r.read()), r.rows(), r.evaluations(), r.gradients(), r.imputations()])
        for r in store.runs()
    ]


def as_text(runs: list[Exported]) -> list[str]:
    return [
        to_json([run.group, asdict(run.record), run.rows, run.evaluations, list(run.gradients), list(run.imputations)])
        for run in runs
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_exported_is_what_the_store_has(form: str, store: Store, harness: Harness, tmp_path: Path) -> None:
    out = tmp_path / "new" / "export"
    done = harness("export", "--format", form, "--out", out)
    assert (done.code, done.out, done.err) == (0, f"{out}: 6 runs, 7 rows, 9 estimates\n", "")
    assert as_text(export.read(out)) == content(store)
    assert os.listdir(out.parent) == ["export"]
    if form == "json":
        json.loads(out.read_text(), parse_constant=lambda _: pytest.fail("NaN or Infinity in JSON"))


@pytest.mark.parametrize("form", FORMATS)
def test_the_stored_reference_runs_survive_it(form: str, tmp_path: Path) -> None:
    found, unreadable = load(Store(RESULTS), ["first-run", "three-algorithms"])
    assert not unreadable
    export.write(found, form, tmp_path / "export")
    assert as_text(export.read(tmp_path / "export")) == as_text(found)


numbers = st.integers() | st.floats(allow_subnormal=False)  # tests flush those to zero, as runs do
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z.]{1,4}"), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.from_regex(r"\A[a-z_.]{1,4}\Z"), values, max_size=3)
estimates = st.builds(lambda settings, mean: estimate(mean, settings=settings), objects, numbers)
rows = st.builds(lambda info, estimates: row(100, *estimates, info=info), objects, st.lists(estimates, max_size=2))
runs = st.builds(
    lambda spec, reason, rows, judged: (Record("r", spec, {}, reason=reason), rows, [{"ledger": {}, "estimate": judged}]),
    objects, st.text(st.characters(codec="utf-8")), st.lists(rows, max_size=3), estimates,
)  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(runs, min_size=1, max_size=3))
def test_whatever_runs_hold_comes_back(form: str, tmp_path: Path, runs: list[tuple[Record, Any, Any]]) -> None:
    given = [Exported(f"group-{number}", *run) for number, run in enumerate(runs)]
    export.write(given, form, tmp_path / "export")
    assert as_text(export.read(tmp_path / "export")) == as_text(given)


words = st.from_regex(r"\A[a-z]{1,2}\Z")
nested = st.recursive(
    st.none() | numbers | st.just("word"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words | st.just("settings"), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(st.dictionaries(words, nested, max_size=3), max_size=4))
def test_columns_have_what_each_line_has(lines: list[dict[str, Any]]) -> None:
    columns, own = export_tables._columns(lines), [export_tables._leaves(line) for line in lines]
    assume(all(len(leaves) == len(_paths(line)) for leaves, line in zip(own, lines, strict=True)))
    assert columns.keys() == {name for leaves in own for name in leaves}
    for number, leaves in enumerate(own):
        assert repr({name: column[number] for name, column in columns.items()}) == repr(
            {name: leaves.get(name) for name in columns}
        )


@pytest.mark.parametrize("together", [1, 3, 10**9])
def test_tables_are_the_same_however_many_lines_become_columns_at_once(
    together: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for runs, _ in (load(store), load(Store(RESULTS), ["figure2:nz=2", "nvil-table"])):
        expected = export_tables.contents(runs, "csv")
        monkeypatch.setattr(export_tables, "TOGETHER", together)
        assert export_tables.contents(runs, "csv") == expected
        monkeypatch.undo()


def test_cells_are_those_that_the_csv_module_writes() -> None:
    for values in (
        [], ["a", "a,b", 'say "so"', "", "x\r\ny"], ["a", None, "b,"], [1, 2.5, None], [1.0, "a,b", None], [True, 2, -1e-9]
    ):  # fmt: skip
        text = io.StringIO()
        csv.writer(text).writerows([value, "end"] for value in values)  # of one empty cell it writes quotes
        cells = export_tables._cells(values, export_tables._quoted)
        assert "".join(f"{cell},end\r\n" for cell in cells) == text.getvalue()
    assert export_tables._cells(["=1+1", 2, "=1+1"], export_tables._safe)[::2] == ["'=1+1"] * 2


def _paths(value: Any) -> list[Any]:
    """Return the leaves of nested data; where two have one name, only one is in a column."""
    if isinstance(value, dict | list):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in _paths(part)]
    return [value]


def table(form: str, folder: Path, name: str) -> pd.DataFrame:
    """Return a table as anyone would read it."""
    return pd.read_csv(folder / f"{name}.csv") if form == "csv" else pd.read_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_are_what_a_data_frame_expects(form: str, store: Store, harness: Harness, tmp_path: Path) -> None:
    assert harness("export", "mine", "--format", form, "--out", tmp_path / "export").code == 0
    runs, rows, estimates = (table(form, tmp_path / "export", name) for name in ("runs", "rows", "estimates"))
    first = ["group", "run", "status", "reason", "algorithm", "algorithm.lr", "algorithm.batch_size"]
    assert list(runs.columns[:7]) == first
    assert {"model.nz", "dataset.binarize", "n_train", "seed", "budget.samples", "overshoot.samples"} < set(
        runs.columns
    )
    assert list(runs["run"]) == ["diverged", "done", "failed", "interrupted", "running"]
    assert set(runs["algorithm"]) == {"aevb", "wake-sleep"}
    assert (runs["algorithm.lr"].dtype, runs["seed"].dtype) == (np.float64, np.int64)
    assert runs.set_index("run").loc["failed", ["provenance.gpu", "sessions"]].tolist() == ["a, b", 2]

    assert list(rows.columns[:5]) == ["group", "run", "row", "marks.samples", "end"]
    assert (rows["end"].dtype, rows["ledger.samples"].dtype, rows["info.objective"].dtype) == (
        bool,
        np.int64,
        np.float64,
    )
    assert rows.loc[rows["run"] == "diverged", "info.objective"].tolist() == [-math.inf]

    curve = estimates.merge(rows, on=["group", "run", "row"]).query("run == 'done' and split == 'test'")
    assert list(zip(curve["ledger.samples"], curve["mean"], strict=True)) == [(100, -101.0), (250, -100.25)]
    after = estimates[estimates["row"].isna()]
    assert list(after["estimator"]) == ["ais", "ais"]
    assert after["samples"].tolist()[0] == 250
    assert json.loads(after["settings"].iloc[0])["nested"]["list"] == [1, 2.0, "3", True, None]
    assert after["diagnostics.acceptance"].tolist() == [0.9, 0.9]


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_without_rows_makes_tables_without_lines(form: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    make(store, "failed", status="failed", reason="at once")
    export.write(load(store)[0], form, tmp_path / "export")
    assert as_text(export.read(tmp_path / "export")) == content(store)
    if form != "json":
        assert list(table(form, tmp_path / "export", "rows")) == ["group", "run", "row", "json"]


def test_groups_and_conditions_choose_runs(store: Store, harness: Harness, tmp_path: Path) -> None:
    def exported(*words: str) -> list[str]:
        assert harness("export", *words, "--format", "json", "--out", tmp_path / "out.json").code == 0
        return [f"{run.group}/{run.record.run}" for run in export.read(tmp_path / "out.json")]

    assert exported("other") == ["other/done"]
    assert len(exported("mine", "other")) == 6
    assert exported("--only", "algo=wake-sleep") == ["mine/diverged"]
    assert len(exported("mine", "--only", "algo=aevb,nz=3")) == 4
    wanted = next(run for run in store.runs("mine"))
    digits = wanted.id.rpartition("-")[2]
    assert exported(digits) == exported("--only", digits) == exported(f"mine/{digits}") == [f"mine/{wanted.id}"]


def test_an_earlier_export_is_replaced_and_nothing_else(store: Store, harness: Harness, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()  # empty, so there is nothing to lose
    for form in ("csv", "csv", "parquet", "csv"):
        assert harness("export", "--format", form, "--out", folder).code == 0
        assert sorted(os.listdir(folder)) == [f"{name}.{form}" for name in ("estimates", "rows", "runs")]
    for _ in range(2):
        assert harness("export", "--format", "json", "--out", file).code == 0
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert harness("export", "other", "--format", "csv", "--out", link).code == 0
    assert link.is_symlink()
    assert len(export.read(folder)) == 1

    (folder / "notes.txt").write_text("mine")
    (tmp_path / "other.json").write_text("[]")
    (tmp_path / "dangling").symlink_to("nowhere")
    before = content(store)
    for form, out, what in (
        ("csv", folder, "folder"),
        ("csv", file, "folder"),
        ("json", folder, "file"),
        ("json", tmp_path / "other.json", "file"),
        ("json", tmp_path / "dangling", "file"),
        ("parquet", store.root / "mine", "folder"),
        ("json", store.root / "mine" / "done" / "run.json", "file"),
    ):
        refused = harness("export", "--format", form, "--out", out)
        said = f"harness: '{out}' is there already, and is no {what} of an earlier export: name another with --out\n"
        assert (refused.code, refused.err) == (2, said)
    assert (folder / "notes.txt").read_text() == "mine"
    assert content(store) == before


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_cannot_be_written_leaves_the_earlier_one(
    form: str, store: Store, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "export"
    assert harness("export", "other", "--format", form, "--out", out).code == 0
    sync = os.fsync
    for writes in range(3 if form != "json" else 1):
        left = iter(range(writes))

        def full(handle: int, left: Any = left) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            sync(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            refused = harness("export", "--format", form, "--out", out)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "cannot be written (No space left on device): name another with --out" in refused.err
        assert len(export.read(out)) == 1
        assert sorted(os.listdir(tmp_path)) == ["export", "results"]


def test_an_interrupt_between_two_exports_leaves_the_earlier_one(
    store: Store, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace = tmp_path / "export", os.replace
    assert harness("export", "other", "--format", "csv", "--out", out).code == 0

    def interrupted(source: Path, target: Path) -> None:
        if source.name == "new":
            monkeypatch.undo()
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.write(load(store)[0], "csv", out)
    assert len(export.read(out)) == 1
    assert sorted(os.listdir(tmp_path)) == ["export", "results"]


@pytest.mark.parametrize("form", FORMATS)
def test_perplexity_of_documents_is_in_every_format(form: str, tmp_path: Path) -> None:
    """Of estimates at marks, afterwards and of the best mark; other estimates have none."""
    store = Store(tmp_path / "results")
    spec = make_spec("aevb", settings={"nz": 3}, splits=["train", "valid", "test"], keep="best-valid")
    words = {"perplexity": 812.5, "se_perplexity": 3.25}
    rows_ = [row(100, estimate(-101.0, split="valid", **words), estimate(-99.0))]
    run = make(store, "words", *rows_, spec=spec.model_dump(mode="json"))
    later = {"time": "2026-11-21T11:34:29Z", "code": {"version": "0", "commit": None}, "file": None}
    run.append_evaluation({**later, "ledger": {"samples": 100}, "estimate": estimate(-90.0, perplexity=700.0)})
    runs, _ = load(store)
    export.write(runs, form, tmp_path / "out")
    assert as_text(export.read(tmp_path / "out")) == content(store)
    if form == "json":
        return
    read = pd.read_csv if form == "csv" else pd.read_parquet
    table = read(tmp_path / "out" / f"estimates.{form}")
    np.testing.assert_array_equal(table["perplexity"], [812.5, math.nan, 700.0])
    np.testing.assert_array_equal(table["se_perplexity"], [3.25, math.nan, math.nan])
    best = read(tmp_path / "out" / f"runs.{form}").iloc[0]
    assert (best["best_valid.mean"], best["best_valid.perplexity"], best["best_valid.se_perplexity"]) == (
        -101,
        812.5,
        3.25,
    )


def test_bad_input_is_one_sentence(
    store: Store, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for words, said in (
        (
            ["--format", "xlsx", "--out", out],
            "--format is 'xlsx': choose csv, parquet, json, tensorboard or json-benchmark",
        ),
        (["--format", "csv", "--out", store.root / "mine" / "done" / "run.json" / "x"], "'"),
        (["--format", "csv", "--out", "/proc/export"], "'/proc/export' cannot be written"),
        (["--format", "csv"], "Missing option '--out'"),
        (
            ["mien", "--format", "csv", "--out", out],
            f"there is no group and no run 'mien' in '{store.root}' (did you mean 'mine'?): choose",
        ),
        (["../mine", "--format", "csv", "--out", out], "there is no group and no run '../mine'"),
        (
            ["--only", "nz=4", "--format", "csv", "--out", out],
            "no run is meant by --only nz=4: see `harness list`",
        ),
        (["--only", "nz", "--format", "csv", "--out", out], "no run is meant by --only nz: see `harness list`"),
        (
            ["--results", tmp_path / "none", "--format", "csv", "--out", out],
            f"there are no runs in '{tmp_path / 'none'}'",
        ),
    ):
        refused = harness("export", *words)
        assert (refused.code, refused.err.count("\n"), refused.out) == (2, 1, ""), refused
        assert refused.err.startswith(f"harness: {said}")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = harness("export", "--format", "parquet", "--out", out)
    said = "harness: --format parquet needs pyarrow: `python -m pip install pyarrow`, or choose csv or json\n"
    assert (refused.code, refused.err) == (2, said)
    assert not out.exists()


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_exported(
    store: Store, harness: Harness, tmp_path: Path
) -> None:
    (store.root / "mine" / "failed" / "run.json").write_text("{}")
    (store.root / "mine" / "interrupted" / "run.json").unlink()
    trace = store.root / "mine" / "diverged" / "trace.jsonl"
    trace.write_bytes(trace.read_bytes().replace(b"100", b"101", 1))
    (store.root / "mine" / "done" / "evaluations.json").write_text("[]")
    done = harness("export", "--format", "csv", "--out", tmp_path / "out")
    assert done.code == 3
    lines = done.err.splitlines()
    assert [line.split(":")[1].removeprefix(" left out ") for line in lines] == [
        "mine/diverged", "mine/done", "mine/failed", "mine/interrupted",
    ]  # fmt: skip
    assert [run.record.run for run in export.read(tmp_path / "out")] == ["running", "done"]

    for path in store.root.glob("*/*/run.json"):
        path.write_text("{}")
    refused = harness("export", "--format", "csv", "--out", tmp_path / "none")
    assert refused.code == 2
    assert "harness: no run can be read, so there is nothing to export: see `harness doctor`\n" in refused.err
    assert not (tmp_path / "none").exists()


def test_what_is_no_whole_export_is_not_read(store: Store, tmp_path: Path) -> None:
    runs, _ = load(store)
    for form in FORMATS:
        export.write(runs, form, tmp_path / form)
    lines = (tmp_path / "csv" / "rows.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "csv" / "rows.csv").write_bytes(b"".join(lines[:-2]))
    (tmp_path / "parquet" / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "json").write_bytes((tmp_path / "json").read_bytes()[:-10])
    (tmp_path / "foreign").write_text('{"a": 1}')
    for name in (*FORMATS, "foreign"):
        with pytest.raises(export.BadInput, match=r"is no whole export \(.*\): export again with `harness export`"):
            export.read(tmp_path / name)
    for name in ("results", "nowhere"):
        with pytest.raises(export.BadInput, match="is no export: make one with `harness export`"):
            export.read(tmp_path / name)


def test_every_estimate_of_many_runs_is_exported(tmp_path: Path) -> None:
    """Of 50 runs of 31 marks of four estimates; tests/benchmarks times it for 1,000."""
    store = Store(tmp_path / "results")
    first = stored()
    record, rows = first.record, first.rows
    estimates = [estimate(-100 / 3, diagnostics={"acceptance": 0.9, "effective_sample_size": 11.0})] * 4
    trace = [{**rows[0], "info": {"objective": 1.0}, "estimates": estimates}] * 31
    content = "".join(json.dumps(row) + "\n" for row in trace).encode()
    for number in range(50):
        run = store.run(f"run-{number}", "mine")
        run.path.mkdir(parents=True)
        (run.path / "trace.jsonl").write_bytes(content)
        record.run = run.id
        record.trace = {"rows": 31, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (run.path / "run.json").write_bytes(seal(asdict(record)))
    found, _ = load(store)
    export.write(found, "csv", tmp_path / "export")
    assert len(pd.read_csv(tmp_path / "export" / "estimates.csv", usecols=["mean"])) == 50 * 31 * 4
