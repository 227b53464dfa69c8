"""The camera's way over a flat picture: for each move a pure function of `t` in 0 … 1. Every pose sees only picture.

"Pan left" means that the camera goes left, so what is in the picture travels to the right. "Roll left" tilts the camera
anticlockwise, so the picture turns clockwise. "Zoom" changes the lens, "dolly" moves the camera. A loop goes there and
back, or round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import asin, cos, hypot, pi, radians, sin

from inference.systems.parallax.easing import orbit_at, progress
from inference.systems.parallax.window import Pose, Window, centred, covered
from jobs.requests.parallax import Move, ParallaxRequest

Path = Callable[[float], Pose]

# The farthest each move goes, at `amount` 100. Beyond these a still picture looks stretched rather than filmed.
MOST_ZOOM = 1.7
MOST_DOLLY = 1.5
MOST_TILT = radians(9)
MOST_PAN = 0.3
"""In widths (heights) of the window."""
MOST_PAN_PER_SECOND = 0.4
MOST_ROLL = radians(16)
MOST_ROLL_COVER = 1.6
MOST_YAW = radians(22)
MOST_PITCH = radians(12)

BACKWARDS: frozenset[Move] = frozenset({"zoom out", "dolly out"})
"""Moves that end on the whole picture; their twins begin with it."""


def planar_path(request: ParallaxRequest, window: Window) -> Path:
    """The pose at each `t`."""
    strength = request.amount / 100
    match request.move:
        case "zoom in" | "zoom out":
            return _along(request, lambda p: Pose(zoom=MOST_ZOOM ** (strength * p)))  # a constant rate to the eye
        case "pan left" | "pan right" | "pan up" | "pan down":
            zoom, (right, down) = pan_reach(request, window)
            return _along(request, lambda p: Pose(zoom, right * (p - 0.5), down * (p - 0.5)))
        case "roll left" | "roll right":
            most = strength * steepest_roll(window) * (-1 if request.move == "roll left" else 1)
            return _along(request, lambda p: covered(Pose(roll=most * p), window))
        case "dolly in" | "dolly out":
            return _along(request, lambda p: _dolly(strength * p, window))
        case "orbit":
            return _orbit(request, window)


def travelled(t: float, request: ParallaxRequest) -> float:
    """How far along a move's way the camera is, 0 at the whole picture (or a pan's start) … 1."""
    p = progress(t, request.easing, request.loop)
    return 1 - p if request.move in BACKWARDS else p


def _along(request: ParallaxRequest, pose_at: Callable[[float], Pose]) -> Path:
    return lambda t: pose_at(travelled(t, request))


def pan_reach(request: ParallaxRequest, window: Window) -> tuple[float, tuple[float, float]]:
    """A pan's zoom, and how far it goes right and down in picture pixels.

    A picture longer than the window is travelled as it is; else the camera zooms in just enough to have room. Speed has
    a limit, so that a panorama does not rush by.
    """
    horizontal = request.move in ("pan left", "pan right")
    whole, crop = (window.width, window.crop[0]) if horizontal else (window.height, window.crop[1])
    one_way_seconds = request.seconds / (2 if request.loop else 1)
    longest = crop * max(MOST_PAN, MOST_PAN_PER_SECOND * one_way_seconds)
    distance = request.amount / 100 * min(max(whole - crop, MOST_PAN * crop), longest)
    zoom = max(1.0, crop / (whole - distance))
    signed = distance if request.move in ("pan right", "pan down") else -distance
    return zoom, (signed, 0.0) if horizontal else (0.0, signed)


def steepest_roll(window: Window) -> float:
    """The largest angle, up to `MOST_ROLL`, at which hiding the corners zooms in by `MOST_ROLL_COVER` at most."""
    aspect = max(window.crop) / min(window.crop)
    # The cover is cos a + aspect · sin a = hypot(1, aspect) · sin(a + asin(1 / hypot)); solved for a.
    diagonal = hypot(1, aspect)
    return min(MOST_ROLL, asin(min(1.0, MOST_ROLL_COVER / diagonal)) - asin(1 / diagonal))


def _dolly(p: float, window: Window) -> Pose:
    """Nearer, and tipping a little as if over a floor: a flat picture has no nearer parts that could show the way."""
    pose = covered(Pose(pitch=MOST_TILT * p), window)
    return centred(replace(pose, zoom=pose.zoom * MOST_DOLLY**p), window)


def _orbit(request: ParallaxRequest, window: Window) -> Path:
    strength = request.amount / 100

    def turned(right: float, down: float) -> Pose:
        return Pose(yaw=-strength * MOST_YAW * right, pitch=strength * MOST_PITCH * down)

    # One zoom for the whole way, or the picture would seem to pump; a little more than the largest of the samples.
    zoom = 1.001 * max(covered(turned(sin(pi * i / 30), cos(pi * i / 30)), window).zoom for i in range(60))
    return lambda t: centred(replace(turned(*orbit_at(t, request.easing, request.loop)), zoom=zoom), window)
