"""Perplexity per word of documents: its formula, where it is shown, and that nothing else has one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import PLUGINS, Judged, Result, user_names

from harness import api, testing
from harness.errors import RunFailed
from harness.estimators import exact
from harness.specs import registry
from harness.testing import toy
from harness.training.evaluation import Estimator

UNIGRAMS = PLUGINS / "unigrams.py"
ESTIMATOR = Estimator("exact", exact, exact.Config())


def judged(kind: Any = "counts", topics: int = 1) -> Judged:
    module = registry.get("models", user_names(UNIGRAMS)).module
    data = toy.load(toy.Config(kind=kind))
    return Judged(data, *module.build(module.Config(topics=topics), api.DataFacts.of(data), api.Streams(0)))


def test_the_model_keeps_the_convention_of_counts() -> None:
    testing.check_model(str(UNIGRAMS))


def test_a_multinomial_coefficient_is_found(tmp_path: Path) -> None:
    coefficient = ".logsumexp(-1) + (x.sum(-1) + 1).lgamma() - (x + 1).lgamma().sum(-1)"
    (tmp_path / "wrong.py").write_text(UNIGRAMS.read_text().replace(".logsumexp(-1)", coefficient))
    with pytest.raises(AssertionError, match="sequences of two words, not 1: .* without the multinomial coefficient"):
        testing.check_model(str(tmp_path / "wrong.py"))


def test_the_formula() -> None:
    """One topic: every word costs minus its log-probability, and a document the mean of its words."""
    subject = judged()
    found = ESTIMATOR.estimate(subject, "test", 1000, 0)
    x = subject.dataset.test.double().numpy()
    p = torch.softmax(subject.model.params.views[0][0].double(), 0).numpy()
    per_word = x @ np.log(p) / x.sum(1)
    assert found.mean == pytest.approx((x @ np.log(p)).mean(), rel=1e-5)
    assert found.perplexity == pytest.approx(np.exp(-per_word.mean()), rel=1e-5)
    error = per_word.std(ddof=1) / len(x) ** 0.5
    assert found.se_perplexity == pytest.approx(found.perplexity * error, rel=1e-4)
    fewer = ESTIMATOR.estimate(subject, "test", 10, 0)
    assert fewer.points == 10
    assert fewer.perplexity != found.perplexity


def test_where_all_words_are_alike_it_is_their_number() -> None:
    subject = judged(topics=3)
    subject.model.params.flat.detach().zero_()
    found = ESTIMATOR.estimate(subject, "train", 1000, 0)
    assert found.perplexity == pytest.approx(12, rel=1e-5)
    assert found.se_perplexity == pytest.approx(0, abs=1e-4)


def test_other_data_and_simulated_documents_have_none() -> None:
    subject = judged()
    assert "perplexity" not in ESTIMATOR.estimate(subject, "simulated", 20, 0).row()
    assert "perplexity" not in ESTIMATOR.estimate(judged("real"), "test", 20, 0).row()
    assert {"perplexity", "se_perplexity"} <= ESTIMATOR.estimate(subject, "test", 20, 0).row().keys()


def test_words_more_probable_than_1_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = judged()
    monkeypatch.setattr(subject.model, "log_p_x", lambda x: torch.ones(len(x)), raising=False)
    with pytest.raises(RunFailed, match="no log-probability of words is above 0"):
        ESTIMATOR.estimate(subject, "test", 20, 0)


def test_a_bound_is_implausible_by_the_words_of_a_document() -> None:
    data = toy.load(toy.Config(kind="counts"))
    assert api.DataFacts.of(data).observations == pytest.approx(data.train.sum().item() / 60)
    assert api.DataFacts.of(toy.load(toy.Config(kind="real"))).observations == 12


def test_it_is_shown(harness: Callable[..., Result], tmp_path: Path) -> None:
    """By run, show, evaluate and table, apart from nats and never as the best of anything."""
    files = ("--model", UNIGRAMS, "--dataset", toy.__file__)
    words = ("--algo", "maximum-likelihood", "--lr", 0.05, *files, "--kind", "counts", "--samples", 20_000)
    done = harness("run", *words)
    assert done.code == 0, done.err
    shown = re.findall(
        r"exact on \d+ (?:train|test) points: \S+ ± \S+ nats \(± standard error\); perplexity (\S+) ± ", done.out
    )
    assert len(shown) == 2
    assert 1 < float(shown[1]) < 12
    note = "perplexity is per word, and lower is better; where nats err low, it errs high"
    page = harness("show", "maximum").out
    assert note in page
    assert "perplexity ± se" in page
    again = json.loads(harness("evaluate", "maximum", "--estimator", "exact", "--json", *files).out)
    assert again["perplexity"] == pytest.approx(float(shown[1]), rel=0.01)
    sweep = tmp_path / "words.toml"
    sweep.write_text(
        f'''[base]
model = "{UNIGRAMS}"
algo = "maximum-likelihood"
dataset = "{toy.__file__}"
kind = "counts"
samples = 10_000
[[grid]]
topics = [1, 3]
seed = [0]
[figure]
compare = ["topics"]
'''
    )
    assert harness("sweep", sweep).code == 0
    table = harness("table", sweep)
    assert "exact test perplexity" in table.out
    assert note in table.out + table.err
    rows = json.loads(harness("table", sweep, "--json").out)
    assert all(1 < row["exact test perplexity"]["mean"] < 12 for row in rows)
    latex = harness("table", sweep, "--format", "latex").out
    assert "perplexity" in latex
