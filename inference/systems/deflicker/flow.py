"""Flicker of parts of the picture: each frame's coarse light follows the average of its neighbours, moved into place.

Only what is coarse is changed, so no detail is ever averaged: the correction is found in a small picture, and added to
the whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from inference.flow import Floats, warp
from inference.systems.deflicker.colour import Course, Look, Tone, lines_from
from inference.systems.deflicker.motion import Mask, blurred, chained, flow_between, unmatched

WORKING = 256
"""Longest side of the pictures in which corrections are found: so the cost hardly grows with the clip's size."""
DETAIL = 2.5
"""Pixels of such a picture: what is finer tells whether two places are the same thing, what is coarser is its light."""
SAME_DETAIL = 0.06
"""Difference of detail, 0..1, at which a neighbour counts for 0.6."""
SAME_LIGHT = 0.25
"""The same for light. Wider, since there the flicker is."""
SMOOTH = 2.0
"""Pixels over which a correction is smoothed."""


@dataclass(frozen=True)
class Reach:
    """How far the average goes."""

    frames: int
    """Neighbours on either side."""
    sigma: float
    """How soon they count less, in frames."""
    share: float
    """How much of the difference to the average is taken away, 0..1."""


class LocalLight:
    """Gives each frame's correction, in order. It holds a window of small pictures, never the clip."""

    def __init__(self, look: Callable[[int], Look], course: Course, tones: list[Tone], reach: Reach) -> None:
        """`look(t)` makes a frame small; `tones` are what steadies the whole picture, and come before this."""
        self._look, self._course, self._tones, self._reach = look, course, tones, reach
        self._looks: dict[int, Look] = {}
        self._flows: dict[int, tuple[Floats, Floats]] = {}

    def correction(self, t: int) -> Floats:
        """What to add to frame `t`, its tone already steadied: small RGB `[h, w, 3]`, levels 0..1."""
        shot = next(shot for shot in self._course.shots if t in shot)
        times = range(max(shot.start, t - self._reach.frames), min(shot.stop, t + self._reach.frames + 1))
        self._hold(times)
        lines = dict(zip(times, lines_from(self._course, t, times), strict=True))
        here = self._looks[t]
        total, weight = np.zeros_like(here.thumb), np.ones((*here.opaque.shape, 1), np.float32)
        for s, there, back in (
            *self._ways(t, range(t + 1, times.stop)),
            *self._ways(t, range(t - 1, times[0] - 1, -1)),
        ):
            # Lit as the whole of frame t is, so that a fade, which stays, is not averaged away here.
            as_lit_here = self._tones[t].after(lines[s].inverse()).after(self._tones[s].inverse())
            moved = warp(as_lit_here(self._looks[s].thumb).astype(np.float32), there)
            seen = (
                ~unmatched(there, back) & here.opaque & (warp(self._looks[s].opaque.astype(np.float32), there) > 0.99)
            )
            counts = agreement(here.thumb, moved, seen) * np.exp(-0.5 * ((s - t) / self._reach.sigma) ** 2)
            total += counts * (moved - here.thumb)
            weight += counts
        return blurred(self._reach.share * total / weight, SMOOTH)

    def _hold(self, times: range) -> None:
        """Have the small pictures of `times` and the flows between them, and no others."""
        for gone in self._looks.keys() - set(times):
            del self._looks[gone]
            self._flows.pop(gone, None)
        for t in times:
            if t not in self._looks:
                look = self._look(t)
                self._looks[t] = Look(self._tones[t](look.thumb).astype(np.float32), look.opaque)
        for t in times[:-1]:
            if t not in self._flows:
                a, b = self._looks[t].thumb, self._looks[t + 1].thumb
                self._flows[t] = flow_between(a, b), flow_between(b, a)

    def _ways(self, t: int, others: range) -> Iterator[tuple[int, Floats, Floats]]:
        """To each of `others`, the nearest first, the flow from `t` and the flow back, chained from frame to frame."""
        there = back = np.zeros((*self._looks[t].thumb.shape[:2], 2), np.float32)
        for s in others:
            forth, home = self._flows[s - 1] if s > t else self._flows[s][::-1]
            there, back = chained(there, forth), chained(home, back)
            yield s, there, back


def agreement(here: Floats, moved: Floats, seen: Mask) -> Floats:
    """How much a neighbour counts at each pixel, `[h, w, 1]`, 0..1: as much as it shows the same thing.

    Detail is compared apart from light: a thing is the same when its grain fits, though its light has jumped.
    """
    difference = moved - here
    light = blurred(difference, DETAIL)
    detail = blurred(np.square(difference - light).mean(-1), DETAIL)
    unlike = detail / SAME_DETAIL**2 + np.square(light).mean(-1) / SAME_LIGHT**2
    return (np.exp(-0.5 * unlike) * seen)[..., None]
