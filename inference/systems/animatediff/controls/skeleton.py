"""People as coloured sticks, as OpenPose (Cao et al. 2017) draws them and the pose ControlNet was taught to read them.

18 joints: nose, neck, then shoulder, elbow, wrist on the right and on the left, hip, knee, ankle on the right and on
the left, and the eyes and ears, right before left. Left and right are the person's own.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.systems.base import Frame

Joints = NDArray[np.float32]
"""`[joints, 3]`: right and down as shares of the picture's width and height, and how certain it is, 0 … 1."""

FROM_COCO = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""COCO's joint for each of OpenPose's; COCO knows no neck."""
NECK, SHOULDERS = 1, (5, 6)

LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""In the order in which they are drawn, each in the colour of its number."""
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""RGB, of limbs and of joints by their number."""
LIMB_BRIGHTNESS = 0.6
HALF_WIDTH = 4
"""Of a limb, and a joint's radius, in pixels where the picture's shorter side has `USUAL_SIDE`."""
USUAL_SIDE = 512
CERTAIN = 0.3
"""Joints that are less so are left out."""


def from_coco(joints: Joints) -> Joints:
    """COCO's 17 joints `[17, 3]` as OpenPose's 18; the neck is the middle of the shoulders, as certain as the worse."""
    body = joints[np.array(FROM_COCO)].copy()
    shoulders = joints[np.array(SHOULDERS)]
    body[NECK] = shoulders.mean(0)
    body[NECK, 2] = shoulders[:, 2].min()
    return body


def drawn(people: list[Joints], size: tuple[int, int]) -> Frame:
    """A picture of people's joints `[18, 3]` on black, `[H, W, 3]`.

    Args:
        people: whom to draw; nobody is a black picture.
        size: its width and height in pixels.
    """
    width, height = size
    thick = max(1, round(HALF_WIDTH * min(size) / USUAL_SIDE))
    picture = np.zeros((height, width, 3), np.uint8)
    placed = [(person[:, :2] * size, person[:, 2] > CERTAIN) for person in people]
    for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
        for points, seen in placed:
            if seen[start] and seen[end]:
                cv2.fillConvexPoly(picture, _limb(points[start], points[end], thick), colour)
    picture = (picture * LIMB_BRIGHTNESS).astype(np.uint8)
    for joint, colour in enumerate(COLOURS):
        for points, seen in placed:
            if seen[joint]:
                cv2.circle(picture, (int(points[joint][0]), int(points[joint][1])), thick, colour, thickness=-1)
    return picture


def _limb(start: NDArray[np.floating], end: NDArray[np.floating], thick: int) -> NDArray[np.int32]:
    """An ellipse from joint to joint."""
    middle, way = (start + end) / 2, end - start
    angle = int(math.degrees(math.atan2(way[1], way[0])))
    axes = int(math.hypot(*way) / 2), thick
    return np.asarray(cv2.ellipse2Poly((int(middle[0]), int(middle[1])), axes, angle, 0, 360, 1), np.int32)
