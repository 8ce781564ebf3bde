"""The tables of speed compare like with like: everyone computes the row that the harness computes, and floors are its products.

No time is taken here; peers that are not installed are skipped (`python -m pip install -e ".[peers]"`).
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn
import floors
import peer_torch
import peers
import pytest
import rows
import sizes
import torch

from harness import api
from harness.inference.adagrad import Adagrad
from harness.inference.parameters import Parameters

LATER = "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"  # of peers, of which none is ours
QUICK = {("aevb-small", "JAX")}
SLOW_TO_COMPILE = {"torch.compile", "JAX", "NumPyro", "Pyro", "BlackJAX"}
CASES = [
    pytest.param(row, column, marks=[] if column not in SLOW_TO_COMPILE or (row, column) in QUICK else pytest.mark.slow)
    for row in peers.ROWS
    for column, of in peers.COLUMNS.items()
    if row in of.rows and column != "harness"
]


def small(name: str) -> rows.Row:
    """Return a row with small networks and few points."""
    few = {"mcem": {"n_train": 500, "steps": 22, "calls": 4}, "leapfrog": {"n_train": 100, "calls": 8}}
    return replace(
        rows.ROWS[name], **{"hidden": 20, "nz": 3, "n_train": 200, "steps": 120, "calls": 20, **few.get(name, {})}
    )


@pytest.fixture(scope="module")
def begun() -> dict[str, tuple[rows.Start, rows.First]]:
    return {}


def start_of(name: str, begun: dict[str, tuple[rows.Start, rows.First]]) -> tuple[rows.Start, rows.First]:
    """Return where everyone begins a row, and the harness's first steps."""
    if name not in begun:
        try:
            start = rows.begin(small(name), threads=1)
        except api.files.MissingData as error:
            pytest.skip(str(error))
        begun[name] = start, rows.first_steps(rows.harness(start, 1), start)
    return begun[name]


@pytest.mark.filterwarnings(*LATER)
@pytest.mark.parametrize(("row", "column"), CASES)
def test_everyone_computes_what_the_harness_computes(row: str, column: str, begun: dict[str, Any]) -> None:
    """Objectives by five standard errors; decoders, which were 3 % apart for three seeds of one row, by far more."""
    if reason := peers.missing(column, row, rows.KERNELS):
        pytest.skip(reason)
    start, ours = start_of(row, begun)
    options = (
        {"backend": "aot_eager"} if column == "torch.compile" else {}
    )  # the same graph, not compiled to machine code
    rows.require_agreement(ours, rows.first_steps(peers.maker(column)(start, 1, **options), start))


@pytest.mark.parametrize(("change", "said"), [("step size", "moved its decoder"), ("data", "objective")])
def test_a_peer_that_computes_something_else_is_noticed(change: str, said: str, begun: dict[str, Any]) -> None:
    start, ours = start_of("aevb-small", begun)
    other = replace(start, lr=2 * start.lr) if change == "step size" else replace(start, x=1 - start.x)
    with pytest.raises(rows.Disagrees, match=said):
        rows.require_agreement(ours, rows.first_steps(peer_torch.lean(other, 1), start))


@pytest.mark.filterwarnings(*LATER)
@pytest.mark.parametrize("whose", ["PyTorch", "torch.compile", "JAX", pytest.param("Pyro", marks=pytest.mark.slow)])
def test_everyone_has_the_prior_in_adagrads_update(whose: str, begun: dict[str, Any]) -> None:
    """One update of given weights by given gradients, with a prior that weighs as much as they do."""
    params, rng = Parameters({"W1": (3, 4)}, {"b1": (4,)}), torch.Generator().manual_seed(0)
    params.normal_(1.0, rng)
    w = dict(zip(params.shapes, params.split(params.flat.detach().clone()), strict=True))
    g = {name: torch.randn(value.shape, generator=rng) for name, value in w.items()}
    sums = {name: torch.rand(value.shape, generator=rng) for name, value in w.items()}
    ours = Adagrad(params, lr=0.1, prior_weight=0.7)
    for view, name in zip(params.split(ours.sums[0]), w, strict=True):
        view.copy_(sums[name])
    ours.ascend([torch.cat([g[name].flatten() for name in w])])
    if whose == "PyTorch":
        start = rows.Start(small("aevb-small"), torch.zeros(0), w, sums, False, 0.1, 0.7, torch.zeros(0), 0.1)
        peer_torch.Adagrad(w, start)(g)
    elif whose == "torch.compile":
        peer_torch.ascend(w, sums, g, 0.1, 0.7)
    elif whose == "JAX":
        pytest.importorskip("jax")
        pytest.importorskip("optax")
        import peer_jax

        arrays, downhill = peer_jax._arrays(w), {name: -value for name, value in peer_jax._arrays(g).items()}
        optimiser = peer_jax.adagrad(peer_jax._arrays(sums), 0.1, 0.7)
        change, _ = optimiser.update(downhill, optimiser.init(arrays), arrays)
        w = {name: value + torch.tensor(change[name].tolist()) for name, value in w.items()}
    else:
        pytest.importorskip("pyro")
        import peer_pyro

        for name, value in w.items():
            value.grad = -g[name]
            peer_pyro.Adagrad([value], sums[name], lr=0.1, weight_decay=0.7 if name == "W1" else 0.0).step()
    for name, view in zip(w, params.views, strict=True):
        torch.testing.assert_close(w[name], view, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", peers.ROWS)
def test_floors_are_the_same_products_by_any_blas(name: str) -> None:
    from harness.native import path

    sgemm = path._of_scipy()
    if sgemm is None:
        pytest.skip("SciPy's BLAS takes other numbers than int")
    floor = small(name).floor(7, 100)
    floor()
    by_torch = [out.clone() for out in floor.outputs]
    for out in floor.outputs:
        out.zero_()
    floor.by(sgemm)()
    for out, other in zip(floor.outputs, by_torch, strict=True):
        torch.testing.assert_close(out, other, rtol=1e-5, atol=1e-5)


def test_a_floor_has_the_multiplications_of_its_work() -> None:
    """The cost of AEVB is 2 M times weights of both networks, forward, by weights, and by inputs but for x."""

    def multiplications(floor: floors.Products) -> int:
        return sum(a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in floor._todo)

    M, D, H, Z = 10, 7, 5, 3
    decoder, encoder = Z * H + H * D, D * H + H * 2 * Z
    assert multiplications(floors.aevb(M, D, H, Z)) == M * (3 * decoder + 3 * encoder - D * H)
    assert multiplications(floors.aevb(M, D, H, Z, samples=4)) == M * (4 * 3 * decoder + 3 * encoder - D * H)
    assert multiplications(floors.leapfrog(M, D, H, Z)) == M * 2 * decoder
    assert multiplications(floors.mcem(2 * floors.CHUNK, D, H, Z, 10, 5)) == 2 * floors.CHUNK * (
        11 * 2 * decoder + 5 * (3 * decoder - Z * H)
    )


MACHINE = {"processor": "some processor", "processors": 2, "python": "3.11", "versions": {"torch": "2.13"}}


def measured(row: str, threads: int, ratio: float) -> dict[str, Any]:
    numbers = {"wall": ratio, "cpu": ratio, "wall_seconds": 0.1, "cpu_seconds": 0.1}
    return {
        "row": row, "title": rows.ROWS[row].title, "threads": threads, "rounds": 3, "floor_seconds": 0.1, "load": [0.1, 0.2],
        "columns": {"harness": numbers, "JAX": numbers}, "ready_seconds": {"harness": 1.0}, "missing": {"Pyro": "it is away"},
    }  # fmt: skip


def test_results_are_kept_printed_and_drawn(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    for row, threads, ratio in (("iwae", 1, 1.5), ("iwae", 2, 1.75), ("iwae", 1, 1.25)):
        kept = peers.keep(path, {"machine": MACHINE, "rows": [measured(row, threads, ratio)]}, ("row", "threads"))
    assert kept == json.loads(path.read_text())
    table = peers.table(kept, "CPU").splitlines()
    assert [line.count("1.25") for line in table] == [0, 0, 0, 2]
    assert "- no Pyro: it is away" in peers.report(kept)
    drawn.bars(kept, [*peers.COLUMNS, peers.SCIPY], peers.conditions(kept), tmp_path / "peers.svg")
    assert "some processor" in (tmp_path / "peers.svg").read_text()
    with pytest.raises(SystemExit, match="another machine"):
        peers.keep(path, {"machine": {**MACHINE, "python": "3.12"}, "rows": []}, ("row", "threads"))


def test_growth_is_noticed(tmp_path: Path) -> None:
    ratios = {
        ("AEVB", 100): 1.2,
        ("AEVB", 500): 1.9,
        ("AEVB", 2000): 1.8,
        ("wake-sleep", 100): 1.5,
        ("wake-sleep", 2000): 1.4,
    }
    stored = {
        "machine": MACHINE,
        "rows": [
            {"algorithm": algorithm, "size": "hidden", "value": value, "cpu": ratio, "microseconds_a_sample": 1.0,
             "rounds": 3, "threads": 1, "load": [0.1, 0.2], "missing": {}}
            for (algorithm, value), ratio in ratios.items()
        ],
    }  # fmt: skip
    assert sizes.growth(stored) == {("AEVB", "hidden"): (1.2, 1.8), ("wake-sleep", "hidden"): (1.5, 1.4)}
    assert "AEVB against hidden units grows faster than its products" in sizes.report(stored)
    assert "wake-sleep against hidden units grows no faster" in sizes.report(stored)
    drawn.curves(stored, sizes.NAMES, peers.conditions(stored), tmp_path / "sizes.svg")
    assert (tmp_path / "sizes.svg").exists()
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps(stored))
    for factor, status in (("1.4", 1), ("1.6", 0)):
        words = ["sizes.py", "--json", str(path), "--draw", str(tmp_path / "sizes.svg"), "--check", factor]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", words)
            assert sizes.main() == status


@pytest.mark.parametrize("algorithm", sizes.ALGORITHMS)
def test_a_point_of_a_curve_can_be_measured(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "BASE", {"nz": 3, "hidden": 20, "batch": 20, "n_train": 500})
    monkeypatch.setattr(sizes, "ROUND_SECONDS", 0.0)
    found = sizes.measure(algorithm, "hidden", 30, 1, 1)
    assert found["cpu"] > 0
    samples = (16 * 1000 if algorithm == "mcem" else 20) * found["microseconds_a_sample"]
    assert samples == pytest.approx(1e6 * found["cpu_seconds"])
