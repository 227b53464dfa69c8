"""Deflicker installs no checkpoint.

The published networks (README.md) carry no licence, so nobody may be offered them; and they cannot work alone: each
clip first trains its own atlas, which is minutes of a GPU for every clip.
"""

from inference.weights import Weights

WEIGHTS: tuple[Weights, ...] = ()
