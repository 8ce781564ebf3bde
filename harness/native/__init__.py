"""Primitives of layers, densities and updates: compiled where they can be, each with the same in PyTorch beside it.

A primitive is compiled in single precision on a processor, where a C compiler was found when the harness was installed.
Everywhere else, and with `HARNESS_NATIVE=0`, PyTorch computes it. Both are the same to rounding. None is differentiable: models
that are differentiated by hand call them.
"""

from harness.native.densities import Density
from harness.native.gaussian import gaussian_score, standard_normal
from harness.native.layers import Layer, Triangle, total
from harness.native.moments import standardise
from harness.native.nade import NadeParameters, nade_down, nade_up
from harness.native.path import serves
from harness.native.rows import bytes_at
from harness.native.stack import SQUASH, Activation, Draw, Factors, Observed, Stack
from harness.native.units import ancestral, draw_units, of_triangle, score_units, triangle
from harness.native.updates import Ascent, Move, ascend

__all__ = [
    "SQUASH",
    "Activation",
    "Ascent",
    "Density",
    "Draw",
    "Factors",
    "Layer",
    "Move",
    "NadeParameters",
    "Observed",
    "Stack",
    "Triangle",
    "ancestral",
    "ascend",
    "bytes_at",
    "draw_units",
    "gaussian_score",
    "nade_down",
    "nade_up",
    "of_triangle",
    "score_units",
    "serves",
    "standard_normal",
    "standardise",
    "total",
    "triangle",
]
