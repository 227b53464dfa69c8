"""How time passes for the camera: pure functions of `t` in 0 … 1, the whole clip."""

from __future__ import annotations

from math import asin, cos, pi, sin

from jobs.requests.parallax import Easing


def instants(num_frames: int, loop: bool) -> list[float]:
    """Each frame's `t`. A loop's last frame lies one step before the end, for its end is the first frame again."""
    return [i / (num_frames if loop else num_frames - 1) for i in range(num_frames)]


def progress(t: float, easing: Easing, loop: bool) -> float:
    """How far along its way the camera is, 0 … 1. A loop goes there and back, and its speed has no jump anywhere."""
    return _there_and_back(t, easing) if loop else _one_way(t, easing)


def _one_way(t: float, easing: Easing) -> float:
    match easing:
        case "smooth":  # minimum jerk: neither speed nor force jumps at either end
            return t**3 * (10 - 15 * t + 6 * t * t)
        case "linear":
            return t
        case "ease in":
            return t * t
        case "ease out":
            return t * (2 - t)


def _there_and_back(t: float, easing: Easing) -> float:
    swing = (1 - cos(2 * pi * t)) / 2
    match easing:
        case "smooth":
            return swing
        case "linear":  # a triangle wave with rounded corners: constant speed between two short turns
            return 0.5 - asin(0.97 * cos(2 * pi * t)) / (2 * asin(0.97))
        case "ease in":  # lingers where it started
            return swing * swing
        case "ease out":  # lingers where it turns
            return swing * (2 - swing)


BREATH = {"smooth": (0.25, 0.0), "linear": (0.0, 0.0), "ease in": (0.5, 0.25), "ease out": (0.5, 0.75)}
"""How much of its speed a closed orbit loses at its slowest, and at which `t` that is."""


def turn(t: float, easing: Easing) -> float:
    """How much of a full circle a closed orbit has gone, 0 … 1. It never stops, so that its seam cannot be seen."""
    depth, slowest = BREATH[easing]
    return t - depth * (sin(2 * pi * (t - slowest)) + sin(2 * pi * slowest)) / (2 * pi)


def orbit_at(t: float, easing: Easing, loop: bool) -> tuple[float, float]:
    """Where an orbiting camera is, right and down, each -1 … 1: once round in a loop, else left to right."""
    if loop:
        angle = 2 * pi * turn(t, easing)
        return sin(angle), -cos(angle)
    angle = pi * progress(t, easing, loop)
    return -cos(angle), -sin(angle)
