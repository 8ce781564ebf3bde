"""Samplers and optimisers that algorithms and estimators share."""
