"""The camera's way through a picture with depth. Every line of sight is linear in disparity.

Disparity `q` is inverse depth, 0 for the farthest and 1 for the nearest thing. An output pixel `(u, v, 1)` sees the
picture at `at_zero @ (u, v, 1) + q · per_disparity @ (u, v, 1)`, for the `q` of the nearest surface on that line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inference.systems.parallax.camera import pan_reach, travelled
from inference.systems.parallax.easing import orbit_at
from inference.systems.parallax.window import Matrix, Window
from jobs.requests.parallax import ParallaxRequest

# The farthest each move goes, at `amount` 100. What comes out from behind things is guessed: more would show.
MOST_SHIFT = 0.05
"""Between the nearest and the farthest thing, in long sides of the window, to each side."""
PAN_SHIFT = 0.35
"""The same, as a share of the pan's own way."""
MOST_APPROACH = 0.36
"""How far a dolly goes, in distances of the nearest thing. It then looks 1.8 times as large."""
FARTHEST = 0.25
"""Disparity of the farthest thing, of the nearest's 1.25: not zero, or a sky would stand still in a dolly."""


class View(NamedTuple):
    """One frame's camera: two 2×3 matrices."""

    at_zero: Matrix
    per_disparity: Matrix

    def at(self, q: float) -> Matrix:
        """Output pixels to picture pixels for everything at one disparity: 2×3."""
        return self.at_zero + q * self.per_disparity


@dataclass(frozen=True)
class Stand:
    """Where the camera stands: all in picture pixels but `approach`."""

    look: tuple[float, float] = (0.0, 0.0)
    """How far the view's middle is from the picture's, right and down, at the pivot's disparity."""
    shift: tuple[float, float] = (0.0, 0.0)
    """How much farther things of disparity 1 are displaced against those of 0, as the camera goes right and down."""
    approach: float = 0.0


def deep_path(request: ParallaxRequest, window: Window, pivot: float) -> Callable[[float], View]:
    """The view at each `t`. What lies at disparity `pivot` stays in place under an orbit."""
    strength = request.amount / 100
    most = strength * MOST_SHIFT * max(window.crop)
    match request.move:
        case "orbit":
            zoom = _room(window, (0, 0), (most, most), pivot)
            return lambda t: view_of(
                Stand(shift=_scaled(orbit_at(t, request.easing, request.loop), most)), zoom, window, pivot
            )
        case "pan left" | "pan right" | "pan up" | "pan down":
            return _pan(request, window, pivot, most)
        case _:
            return lambda t: view_of(
                Stand(approach=strength * MOST_APPROACH * travelled(t, request)), 1.0, window, pivot
            )


def _pan(request: ParallaxRequest, window: Window, pivot: float, most: float) -> Callable[[float], View]:
    flat_zoom, way = pan_reach(request, window)
    share = min(PAN_SHIFT, most / (max(map(abs, way)) / 2))
    look = (abs(way[0]) / 2, abs(way[1]) / 2)
    zoom = max(flat_zoom, _room(window, look, _scaled(look, share), pivot))

    def at(t: float) -> View:
        here = _scaled(way, travelled(t, request) - 0.5)
        return view_of(Stand(here, _scaled(here, share)), zoom, window, pivot)

    return at


def _scaled(vector: tuple[float, float], factor: float) -> tuple[float, float]:
    return vector[0] * factor, vector[1] * factor


def _room(window: Window, look: tuple[float, float], shift: tuple[float, float], pivot: float) -> float:
    """The zoom at which a view that strays by `look` and `shift` stays inside the picture at every disparity."""
    strays = [2 * (look[i] + shift[i] * max(pivot, 1 - pivot)) for i in (0, 1)]
    sides = (window.width, window.height)
    return max(1.0, *(window.crop[i] / (sides[i] - strays[i]) for i in (0, 1)))


def view_of(stand: Stand, zoom: float, window: Window, pivot: float) -> View:
    """The pinhole camera at `stand`: with `c` a pixel's place from the picture's middle, it sees, at disparity `q`,
    `c · (1 - approach · (FARTHEST + q)) + look + shift · (q - pivot)`.
    """
    scale = window.scale / zoom
    centred = np.array([[scale, 0, -scale * window.out_width / 2], [0, scale, -scale * window.out_height / 2]])
    look, shift = (np.array([[0, 0, x], [0, 0, y]]) for x, y in (stand.look, stand.shift))
    middle = np.array([[0, 0, window.width / 2], [0, 0, window.height / 2]])
    at_zero = (1 - stand.approach * FARTHEST) * centred + look - pivot * shift + middle
    return View(at_zero, shift - stand.approach * centred)
