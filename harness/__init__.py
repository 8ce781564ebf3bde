"""A benchmark harness for inference algorithms in latent-variable models."""

__version__ = "0.1.0"
