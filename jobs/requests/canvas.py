"""How large a clip is made that has the area of a square and the shape of something else."""

import math

GRID = 64
"""Sides are multiples of it: three times halved below a latent of 8 pixels."""
WIDEST = 2.0
"""Of longer shapes the ends are cut off."""


def shape_of(width: int, height: int) -> float:
    """Width over height of a picture, within 2 to 1."""
    return min(max(width / height, 1 / WIDEST), WIDEST)


def canvas(side: int, aspect: float, least: int) -> tuple[int, int]:
    """Width and height in pixels: the area of a square of this side, in that shape, no side below `least`."""
    stretch = math.sqrt(aspect)
    return on_grid(side * stretch, least), on_grid(side / stretch, least)


def on_grid(pixels: float, least: int) -> int:
    """The nearest multiple."""
    return max(least, round(pixels / GRID) * GRID)
