"""The contract of plugins, and all that a plugin needs to import.

Shapes: S samples, B points of a batch, D observed dimensions, Z latents of all layers together.
Every log density, bound and objective is in nats per datapoint, and higher is better.

An **algorithm** is a module with, in this order:

    TRAITS = api.Traits(...)                      the protocols that it needs, and whether it has a lower bound
    class Config(api.Config)                      its settings, each an `api.setting`
    class State                                   a dataclass: exactly what the next step needs
    class Info(NamedTuple)                        numbers that a step reports, or tensors, which are read at marks alone
    def skip(problem) -> str | None               optional: why it cannot work on this problem
    def init(problem, config, rng) -> State
    def warm_up(state, batch) -> None             optional: may compile; changes neither the state nor any parameter
    def gradient(state, batch) -> gradients.Bound optional: what a step ascends; changes no parameter
    def unscaled(state) -> State                  optional: whose `gradient` is not scaled on purpose
    def step(state, batch) -> Info                changes the state and the parameters in place

`gradient` estimates the bound of the batch and its gradients by θ and φ, summed over points, without the prior on parameters; it
may fit baselines in the state. `harness gradients` measures bias and variance of algorithms that have it, and holds it to the
lower bound E_q[log p(x, z) - log q(z|x)], or to L_K where `Traits.bound_of` names the setting K. One that multiplies the gradient
by φ by a factor on purpose, as to normalise its variance, has `unscaled`, and is measured without.

A **model** is a module with `Config`, `OBSERVES` (kinds of data that it can describe), and
`build(config, data, streams, dtype) -> (GenerativeModel, Recognition | None)`. `ESTIMATOR` names the estimator that is evaluated
at marks; it is "lower-bound" if it is left out. What a model can do is told by the protocols that it satisfies; every method of
a protocol carries `@api.metered(...)`. What it expects of the values of its data is said by an attribute `expects` of the
generative model, an `api.Expects`; data that differ are warned of when training begins. A module with `MISSING = True` describes
data of which entries may be missing, too: built for `DataFacts.missing`, its densities are those of the entries of x that are not
NaN, and its recognition model takes such x.

A **dataset** is a module with `Config` and `load(config, data_dir) -> Dataset`; `api.files` finds, fetches and reads files. Where
a setting makes its data another kind, `OTHER_KINDS` says which: {"binary": "--binarize stochastic"}. One that reads files of the
user's own, which nobody else has, says so by `OWN_FILES = True`. Data need no plugin: see the built-in dataset `file`.

An **estimator** is a module with `Config`, `DIRECTION` ("lower", "upper", "exact" or "not a bound"), `NEEDS` (the protocols that
model and recognition model have to satisfy), `skip(config, model, recognition) -> str | None` for what else it cannot do, and
`estimate(model, recognition, x, config, rng) -> PerPoint`. One whose estimate is the logarithm of a mean of importance weights
says so by `WEIGHTED = True`, and returns Pareto k-hat of each point's weights, see `api.pareto`. One that has `SIMULATED = True`
works on points drawn from the model alone, and is given the latents that they were drawn with as `z` (B, Z). An estimator of
log Z has `estimate_log_z(model, config, rng) -> LogZ` instead of `estimate`; the harness makes log p(x) = log f(x) - log Z of it,
and turns the direction round. With `FROM_DATA = True` it is also given points of the split as `x` (B, D). `BESIDE` names the
estimators that are always reported with one, so that a likelihood has both sides.

A model that computes its gradients by hand may use the primitives of `api.native`, and `api.from_factors`, which keeps a gradient
by weights as its factors until an optimiser takes it.

An algorithm with a setting `optimiser` makes it by `api.optimiser(name, ...)`: "sgd", "adam" or "adagrad", which are `api.Sgd`,
`api.Adam` and `api.Adagrad`. All ascend the objective, and take gradients flat or as factors. `api.ascent(problem, config)`
makes the one of θ and φ together from the settings `optimiser`, `lr` and `batch_size`; with more arguments, that of these
parameters alone.

The first line of a plugin's docstring is its description in listings; the name of its file is its name.
"""

from harness import native
from harness.api import files
from harness.api.optimisers import ascent, optimiser
from harness.api.problem import DataFacts, LogZ, PerPoint, Problem, Traits
from harness.api.settings import Choice, Config, Hidden, Layers, LogUniform, Scale, Shares, Size, setting, sizes
from harness.data.dataset import Batch, Dataset
from harness.errors import BadInput, HarnessError
from harness.inference import ais, gibbs, gradients, hmc, mean_field, pareto, posterior
from harness.inference.abilities import offers
from harness.inference.adagrad import Adagrad
from harness.inference.belief_net import BeliefNet, BeliefRecognition, BinaryBeliefNet, FactorialBeliefNet
from harness.inference.boltzmann import BoltzmannMachine
from harness.inference.covariance import FullEncoder, RankOneEncoder
from harness.inference.decoder import Decoder
from harness.inference.encoder import Encoder, GaussianEncoder
from harness.inference.enumeration import orders, states
from harness.inference.factored import Factored, from_factors
from harness.inference.metered import MeteredFunction, metered
from harness.inference.observation import Expects, Observation, observation
from harness.inference.optimisers import Adam, Optimiser, Sgd
from harness.inference.parameters import Parameters, through
from harness.inference.protocols import (
    AnalyticKL,
    ClosedFormEM,
    ClosedFormPosterior,
    FactorialModel,
    GenerativeModel,
    HandDerived,
    HandDerivedPosterior,
    Kind,
    LatentKind,
    Latents,
    LatentVariableModel,
    Layer,
    LayeredModel,
    LayeredPosterior,
    LayerGradients,
    LayerGradientsPosterior,
    MeanField,
    MeanImage,
    OrderAgnosticModel,
    Posterior,
    Recognition,
    Reparameterised,
    TractableModel,
)
from harness.inference.rng import Streams, bernoulli
from harness.inference.undirected import AnnealedModel, BipartiteModel, LayerwiseModel, UnnormalisedModel

__all__ = [
    "Adagrad",
    "Adam",
    "AnalyticKL",
    "AnnealedModel",
    "BadInput",
    "Batch",
    "BeliefNet",
    "BeliefRecognition",
    "BinaryBeliefNet",
    "BipartiteModel",
    "BoltzmannMachine",
    "Choice",
    "ClosedFormEM",
    "ClosedFormPosterior",
    "Config",
    "DataFacts",
    "Dataset",
    "Decoder",
    "Encoder",
    "Expects",
    "Factored",
    "FactorialBeliefNet",
    "FactorialModel",
    "FullEncoder",
    "GaussianEncoder",
    "GenerativeModel",
    "HandDerived",
    "HandDerivedPosterior",
    "HarnessError",
    "Hidden",
    "Kind",
    "LatentKind",
    "LatentVariableModel",
    "Latents",
    "Layer",
    "LayerGradients",
    "LayerGradientsPosterior",
    "LayeredModel",
    "LayeredPosterior",
    "Layers",
    "LayerwiseModel",
    "LogUniform",
    "LogZ",
    "MeanField",
    "MeanImage",
    "MeteredFunction",
    "Observation",
    "Optimiser",
    "OrderAgnosticModel",
    "Parameters",
    "PerPoint",
    "Posterior",
    "Problem",
    "RankOneEncoder",
    "Recognition",
    "Reparameterised",
    "Scale",
    "Sgd",
    "Shares",
    "Size",
    "Streams",
    "TractableModel",
    "Traits",
    "UnnormalisedModel",
    "ais",
    "ascent",
    "bernoulli",
    "files",
    "from_factors",
    "gibbs",
    "gradients",
    "hmc",
    "mean_field",
    "metered",
    "native",
    "observation",
    "offers",
    "optimiser",
    "orders",
    "pareto",
    "posterior",
    "setting",
    "sizes",
    "states",
    "through",
]
