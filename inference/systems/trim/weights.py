"""Trim needs no checkpoint."""

from inference.weights import Weights

WEIGHTS: tuple[Weights, ...] = ()
