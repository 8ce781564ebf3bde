"""Generative model families with their recognition models, one family a file."""
