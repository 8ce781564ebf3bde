"""The table for LaTeX: minus signs, alignment, and what is in bold."""

from typing import Any

from harness.analysis.table import Spread
from harness.report.latex import latex

COMPARE = ("algo",)


def row(algorithm: str, nz: int = 3, **estimates: Spread) -> dict[str, Any]:
    named = {name.replace("_", " "): spread for name, spread in estimates.items()}
    facts = {
        "nz": nz,
        "algorithm": algorithm,
        "mark": 1e6,
        "samples": 1e6,
        "seeds": [0, 1, 2],
        "diverged": [],
        "unfinished": [],
    }
    rest = {"points": dict.fromkeys(named, 10_000), "estimator": "lower-bound", "targets": [], "unreliable": []}
    rest |= {"foreign": [], "cpu_unit": "CPU seconds"}
    return facts | named | rest | {"paper": None, "distance": None}


def lines(*rows: dict[str, Any]) -> list[str]:
    text = latex(rows, COMPARE)
    return text.partition("\\midrule\n")[2].splitlines()[: len(rows)]


def test_numbers_are_mathematics_and_stand_to_the_right() -> None:
    first, second = (
        row("aevb", bound_test=Spread(-131.624, 0.042, 0.1)),
        row("wake_sleep", bound_test=Spread(-140.0, None, None)),
    )
    first |= {"difference": 0.0, "error": None, "interval": None}
    second |= {"difference": -8.376, "error": 0.12, "interval": 0.5}
    text = latex([first, second], COMPARE)
    assert r"\begin{tabular}{rlrrrrr}" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert rf"\{rule}" in text
    one, two = lines(first, second)
    assert one == r"3 & aevb & 1,000,000 & 3 & \textbf{\boldmath $-131.62 \pm 0.04$} & best &  \\"
    assert two == r"3 & wake\_sleep & 1,000,000 & 3 & $-140.00$ & $-8.38 \pm 0.12$ & $-8.88$ to $-7.88$ \\"
    assert "standard error (se) over seeds" in text.splitlines()[0]
    assert all(line.startswith("%") for line in text.splitlines()[:3])


def test_the_best_of_a_panel_is_bold_and_what_is_not_surely_below_it() -> None:
    best, tie, below = Spread(-100.0, 0.3, 0.5), Spread(-100.9, 0.4, 0.7), Spread(-101.1, 0.4, 0.7)  # 2 sqrt(.25) = 1
    found = lines(row("a", bound_test=best), row("b", bound_test=tie), row("c", bound_test=below))
    assert [r"\textbf" in line for line in found] == [True, True, False]


def test_only_what_can_be_compared_is_bold() -> None:
    alone = row("a", nz=3, bound_test=Spread(-90.0, 0.1, 0.1))
    panel = [row(name, nz=5, bound_test=Spread(value, None, None)) for name, value in (("a", -101.0), ("b", -100.0))]
    assert [r"\textbf" in line for line in lines(alone, *panel)] == [False, False, True]
    by_others = row("a", bound_test=Spread(-99.0, 0.1, 0.1)), row("b", ais_test=Spread(-98.0, 0.1, 0.1))
    assert not any(r"\textbf" in line for line in lines(*by_others))
    later = row("a", bound_test=Spread(-90.0, 0.1, 0.1)) | {"mark": 2e6}
    assert not any(r"\textbf" in line for line in lines(row("b", bound_test=Spread(-99.0, 0.1, 0.1)), later))


def test_names_are_escaped() -> None:
    (line,) = lines(row("a_b&c-5%^~{x}\\", bound_test=Spread(-1.5, None, None)))
    assert r"a\_b\&c-5\%\textasciicircum{}\textasciitilde{}\{x\}\textbackslash{}" in line
