"""The picture, the window through which it is seen, and what a camera in a given pose sees: geometry without pixels.

Coordinates are continuous: a picture spans `[0, width] × [0, height]`, its first pixel's centre is (0.5, 0.5), y points
down. A matrix takes output pixels `(u, v, 1)` to picture pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from jobs.requests.parallax import clip_size

Matrix = NDArray[np.float64]

FOCAL_LENGTH = 1.2
"""In long sides of the window: a field of view of 45°, an ordinary lens."""


@dataclass(frozen=True)
class Window:
    """The picture's size and the output's, in pixels."""

    width: int
    height: int
    out_width: int
    out_height: int

    @property
    def scale(self) -> float:
        """Picture pixels to one output pixel where the window is as large as fits."""
        return min(self.width / self.out_width, self.height / self.out_height)

    @property
    def crop(self) -> tuple[float, float]:
        """The largest part of the picture that has the output's shape: width, height."""
        return self.out_width * self.scale, self.out_height * self.scale


@dataclass(frozen=True)
class Pose:
    """One camera position over the picture's plane."""

    zoom: float = 1.0
    """1 sees the whole window, 2 half of it in width and height."""
    x: float = 0.0
    y: float = 0.0
    """What the camera looks at, in picture pixels from the picture's middle."""
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    """Radians."""


def window_for(width: int, height: int, size: int) -> Window:
    """The window of a clip whose shorter side is `size`, or the picture's where that is less."""
    return Window(width, height, *clip_size(width, height, size))


def matrix_of(pose: Pose, window: Window) -> Matrix:
    """The homography by which a camera in `pose` sees the picture's plane.

    The camera stands `FOCAL_LENGTH` away on a sphere around the point that it looks at, turned there by yaw and pitch,
    so the middle keeps its size while one side comes nearer and the other goes farther away.
    """
    scale = window.scale / pose.zoom
    focal = FOCAL_LENGTH * max(window.crop)
    to_ray = np.array(
        [[scale, 0, -scale * window.out_width / 2], [0, scale, -scale * window.out_height / 2], [0, 0, focal]]
    )
    turned = _turned(pose)
    ray = turned @ to_ray
    camera = turned @ np.array([0, 0, -focal])
    # The ray meets the plane z = 0 at camera - ray · camera.z / ray.z, and ray.z is the homogeneous divisor.
    plane = np.stack([camera[0] * ray[2] - camera[2] * ray[0], camera[1] * ray[2] - camera[2] * ray[1], ray[2]])
    shift = np.array([[1, 0, window.width / 2 + pose.x], [0, 1, window.height / 2 + pose.y], [0, 0, 1]])
    return shift @ plane


def _turned(pose: Pose) -> Matrix:
    """The camera's rotation: roll in the camera, then pitch, then yaw."""
    (cr, sr), (cp, sp), (cy, sy) = ((cos(a), sin(a)) for a in (pose.roll, pose.pitch, pose.yaw))
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return yaw @ pitch @ roll


def seen_corners(matrix: Matrix, window: Window) -> Matrix:
    """The corners of what a homography sees, in picture pixels: `[4, 2]`, clockwise from the upper left."""
    w, h = window.out_width, window.out_height
    corners = matrix @ np.array([[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1]])
    return (corners[:2] / corners[2]).T


def centred(pose: Pose, window: Window) -> Pose:
    """`pose` looking at the point that brings the mean of its view's corners to the picture's middle.

    The mean, not the middle of their bounds: it has no jump of speed where another corner becomes the outermost.
    """
    x, y = _mean_corner(replace(pose, x=0, y=0), window)
    return replace(pose, x=-x, y=-y)


def covered(pose: Pose, window: Window) -> Pose:
    """`pose`, centred, with the least zoom that keeps all it sees inside the picture."""
    for _ in range(6):  # the perspective changes with the zoom; each round comes some ten times nearer
        corners = seen_corners(matrix_of(centred(pose, window), window), window)
        halves = np.array([window.width, window.height]) / 2
        excess = float((np.abs(corners - halves) / halves).max())
        pose = replace(pose, zoom=max(1.0, pose.zoom * excess))
    return centred(pose, window)


def _mean_corner(pose: Pose, window: Window) -> tuple[float, float]:
    x, y = seen_corners(matrix_of(pose, window), window).mean(axis=0)
    return float(x) - window.width / 2, float(y) - window.height / 2


def scale_in_middle(matrix: Matrix, window: Window) -> float:
    """Picture pixels to one output pixel's side, in the middle of the view."""
    u, v = window.out_width / 2, window.out_height / 2
    points = matrix @ np.array([[u, u + 1, u], [v, v, v + 1], [1, 1, 1]])
    (x0, x1, x2), (y0, y1, y2) = points[:2] / points[2]
    return float(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) ** 0.5)
