"""Which published files parallax can use. It needs none; with these it sees depth."""

from inference.depth_weights import DEPTH

WEIGHTS = (DEPTH,)
