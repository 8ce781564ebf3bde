"""What models and posteriors can do in words, and which of it is missing where something needs it."""

from typing import Any

from harness.inference.protocols import (
    AnalyticKL,
    ClosedFormEM,
    ClosedFormPosterior,
    FactorialModel,
    GenerativeModel,
    HandDerived,
    HandDerivedPosterior,
    LatentVariableModel,
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
from harness.inference.undirected import AnnealedModel, BipartiteModel, LayerwiseModel, UnnormalisedModel

OF_MODELS: dict[type[Any], str] = {
    GenerativeModel: "a generative model (params, kind, dim, normalised, sample)",
    LatentVariableModel: "a model with latent variables (latents, log_p_z, log_p_x_given_z, log_p_xz, sample_z, sample_xz)",
    LayeredModel: "a model with the log density of each layer (log_p_layers)",
    FactorialModel: "a model whose entries are independent given z (log_p_entries, sample_x)",
    TractableModel: "a model whose log p(x) is tractable (log_p_x)",
    ClosedFormEM: "a model whose steps of EM have a closed form (expected_statistics, maximise)",
    OrderAgnosticModel: "a model with a density in every order of the bits (log_p_x_agnostic, log_p_x_in)",
    UnnormalisedModel: "an unnormalised model with Gibbs moves (log_f_x, gibbs, contrast)",
    AnnealedModel: "a model that is joined to one of which Z is known (log_z_base, sample_base, anneal)",
    LayerwiseModel: "a model that learns a pair of layers at a time (pairs, parts, up, gibbs_in, contrast_in)",
    BipartiteModel: "a model whose hidden units can be summed over (hidden, log_f_h)",
    ClosedFormPosterior: "a model whose posterior has a closed form (exact_posterior)",
    MeanImage: "a model with the mean of x given z (mean_x)",
    LayerGradients: "a model with gradients of its layers (layer_gradients)",
    HandDerived: "a model with gradients of its own (gradients, prior_gradients, score, prior_score)",
}
"""The protocols of generative models, in words."""
OF_POSTERIORS: dict[type[Any], str] = {
    Posterior: "posteriors with sample and log_prob",
    Reparameterised: "a recognition model that can be reparameterised (rsample)",
    MeanField: "a recognition model of diagonal Gaussians (moments)",
    AnalyticKL: "a recognition model whose KL to the prior has a closed form (kl)",
    LayeredPosterior: "a recognition model with the log density of each layer (log_layers)",
    LayerGradientsPosterior: "a recognition model with gradients of its layers (layer_gradients)",
    HandDerivedPosterior: "a recognition model with gradients of its own (reparameterise, pull_back, gradients)",
}
"""The protocols of posteriors, in words."""


def offers(recognition: Recognition, protocol: type[Any]) -> bool:
    """Say whether the posteriors of a recognition model satisfy a protocol."""
    return issubclass(recognition.posterior_type, protocol)


def missing(needs: tuple[type[Any], ...], model: object, recognition: Recognition | None) -> str | None:
    """Return in words the first of these protocols that is not satisfied; None if all are."""
    for need in needs:
        if need is Recognition or need in OF_POSTERIORS:
            if recognition is None:
                return "it needs a recognition model, and this model has none"
            if need in OF_POSTERIORS and not offers(recognition, need):
                return f"it needs {OF_POSTERIORS[need]}"
        elif not isinstance(model, need):
            return f"it needs {OF_MODELS.get(need, need.__name__)}"
    return None
