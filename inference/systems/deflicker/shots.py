"""Where a clip becomes another one: cuts between scenes, and light that changes for good."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inference.flow import Floats
from inference.systems.deflicker.motion import Mask, blurred, luma

LEAST_LIKENESS = 0.8
"""Correlation of two pictures, their exposure taken out, below which they may show different scenes."""
LEAST_MATCHED = 0.5
"""Part of the picture whose detail must be found again in the next frame, moved, where it is not alike in place.

Of made clips, however they flicker and move, 0.8 and more is found; over cuts at most 0.3.
"""
FAINT = 0.02
"""Spread of luma that is noise: two plain pictures are alike, whatever their noise does."""
STEP_FRAMES = 5
"""How long light must have been steady on both sides of a step."""
LEAST_STEP = 0.06
"""Change of mean luma that may be a lamp switched on; less than that is smoothed like flicker."""


def likeness(first: Floats, second: Floats) -> float:
    """Correlation, -1..1, of two RGB pictures' luma whatever their exposure; 1 for two plain pictures."""
    a, b = luma(first), luma(second)
    noise = FAINT**2
    together = float(((a - a.mean()) * (b - b.mean())).mean())
    return (together + noise) / float(np.sqrt((a.var() + noise) * (b.var() + noise)))


def is_cut(first: Floats, second: Floats, shown: Mask, seen: Mask, misfit: Floats) -> bool:
    """Whether `second`, whose luma lies `misfit` off where it is `seen` after motion is undone, shows another scene.

    Of what is `shown` and not transparent, only detail is compared: coarse light may flicker. Where pictures are alike
    in place, motion has no say.
    """
    if likeness(first, second) >= LEAST_LIKENESS:
        return False
    usual = max(float(np.sqrt(np.square(_fine(luma(first))).mean())), FAINT / 4)
    matched = seen & (np.abs(_fine(misfit)) < 1.5 * usual)
    return int(matched.sum()) < LEAST_MATCHED * int(shown.sum())


def _fine(grey: Floats) -> Floats:
    return grey - blurred(grey, 4.0)


def steps_in(levels: NDArray[np.float64]) -> list[int]:
    """Frames from which on the mean luma `[T]` of one scene is another for good: light switched, not flicker.

    Five frames on either side must lie apart by more than they are spread, which random flicker all but never does,
    and which a fade, however steep, cannot.
    """
    gaps: dict[int, float] = {}
    for t in range(STEP_FRAMES, len(levels) - STEP_FRAMES + 1):
        before, after = levels[t - STEP_FRAMES : t], levels[t : t + STEP_FRAMES]
        gap = max(after.min() - before.max(), before.min() - after.max())
        if gap > max(LEAST_STEP, 1.5 * float(np.ptp(before)), 1.5 * float(np.ptp(after))):
            gaps[t] = float(gap)
    return sorted(gaps)


def segments(starts: Sequence[int], count: int) -> list[range]:
    """The frames of each piece, by where pieces start; the first always starts at 0."""
    borders = sorted({0, *starts, count})
    return [range(a, b) for a, b in pairwise(borders)]
