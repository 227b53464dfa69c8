"""One frame turning into another: things move to where they are in the other, what has no counterpart fades."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from inference.flow import Floats, flow_between, resized_flow, warp
from inference.systems.base import Frame
from media.mixing import Weighed, unweighed, weighed

WORKING = 640
"""Longest side of the pictures in which motion is looked for."""
MISFIT = 1.5
"""Pixels, of the picture in which motion was looked for, by which there and back may differ.

A middle: on the scenes of `benchmarks.smooth` 0.5 to 6 give 32.8 to 33.6 dB, and from 3 on the fastest one gets worse.
"""
MISFIT_PART = 0.05
"""And this part of the way itself. A middle, too: 0 to 0.2 give 32.8 to 33.4 dB, from 0.1 on the fastest gets worse."""
UNSURE = 0.15
"""What a pixel without a counterpart still counts for. By eye; there, 0.02 to 0.6 differ by 0.4 dB."""


@dataclass(frozen=True)
class Morph:
    """Two frames `[H, W, C]` with colours weighed by alpha, how things move between them, and how sure that is."""

    first: Weighed
    second: Weighed
    there: Floats
    back: Floats
    """Flows `[H, W, 2]` in pixels, from the first to the second and back."""
    first_trust: Floats
    second_trust: Floats
    """`[H, W]`, 0 … 1: whether what is seen there is seen in the other frame as well."""

    @classmethod
    def between(cls, first: Frame, second: Frame) -> Morph:
        """Look for motion between two frames, uint8 `[H, W, 3 or 4]`."""
        one, other = weighed(first), weighed(second)
        there, back, scale = _flows(one, other)
        trusts = (_trust(there, back, scale), _trust(back, there, scale))
        return cls(one, other, there, back, *trusts)

    @property
    def reliability(self) -> float:
        """Part of both pictures, 0 … 1, that has a counterpart in the other."""
        return float((self.first_trust.mean() + self.second_trust.mean()) / 2)

    def at(self, t: float) -> Frame:
        """The frame at `t`: 0 is the first, 1 the second.

        The flows from `t` are mixed from both as Jiang et al. 2018 (Super SloMo) have it.
        """
        to_first = -(1 - t) * t * self.there + t * t * self.back
        to_second = (1 - t) * (1 - t) * self.there - t * (1 - t) * self.back
        sure_first, sure_second = warp(self.first_trust, to_first), warp(self.second_trust, to_second)
        weight = ((1 - t) * (UNSURE + sure_first))[..., None]
        other = (t * (UNSURE + sure_second))[..., None]
        moved = (weight * warp(self.first, to_first) + other * warp(self.second, to_second)) / (weight + other)
        faded = (1 - t) * self.first + t * self.second
        sure = np.maximum(sure_first, sure_second)[..., None]
        return unweighed(sure * moved + (1 - sure) * faded)


def _flows(first: Weighed, second: Weighed) -> tuple[Floats, Floats, float]:
    """Flows both ways at full size, and how much smaller the pictures were in which they were found."""
    height, width = first.shape[:2]
    scale = min(1.0, WORKING / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    one, other = (
        np.asarray(cv2.resize(frame[..., :3], size, interpolation=cv2.INTER_AREA), np.float32)
        for frame in (first, second)
    )
    there, back = flow_between(one, other), flow_between(other, one)
    return resized_flow(there, width, height), resized_flow(back, width, height), scale


def _trust(there: Floats, back: Floats, scale: float) -> Floats:
    """1 where one comes back to where one started (Sundaram et al. 2010), softly less elsewhere, `[H, W]`."""
    astray = np.linalg.norm(there + warp(back, there), axis=2)
    allowed = MISFIT / scale + MISFIT_PART * np.linalg.norm(there, axis=2)
    sure = (astray < allowed).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(sure, (0, 0), 1.5 / scale), np.float32)
