"""Speed: which frames are shown when, and the sound stretched to fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from inference.systems.speed.wsola import stretched
from jobs.requests.speed import SpeedRequest
from media.frames import FrameSpool
from media.mixing import mixed
from media.tracks import cut, samples

Share = tuple[int, Fraction]
"""A frame's index, and its part of a blend."""


class Speed(System[SpeedRequest]):
    """The clip at another pace."""

    def render(self, request: SpeedRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Sound is stretched at once, frames as they are read."""
        spool = sources.clip(request.clip)
        shape = request.gives({request.clip: shape_of(spool)})
        count, step = shape.num_frames, spool.fps * request.ratio / shape.fps
        sound = None
        if spool.sound is not None:
            whole = cut(spool.sound, 0, samples(spool.count, spool.fps))
            sound = stretched(whole, samples(count, shape.fps))
        frames = _blended(spool, count, step) if request.frames == "blend" else _picked(spool, count, step)
        return clip_of(shape, ticked(frames, "retiming", count, tick), spool.channels, sound)


def _picked(spool: FrameSpool, count: int, step: Fraction) -> Iterator[Frame]:
    """`count` frames, each `step` frames of the clip after the one before."""
    for number in range(count):
        yield spool[min(spool.count - 1, math.floor(number * step))]


def _blended(spool: FrameSpool, count: int, step: Fraction) -> Iterator[Frame]:
    for number in range(count):
        parts = shares(number * step, step, spool.count - 1)
        yield spool[parts[0][0]] if len(parts) == 1 else mixed((spool[index], float(part)) for index, part in parts)


def shares(place: Fraction, step: Fraction, last: int) -> list[Share]:
    """Which frames a blend at `place` is made of. Slowed down: two neighbours; sped up: all that are passed."""
    begin = math.floor(place)
    if step <= 1:
        found: list[Share] = [(begin, begin + 1 - place), (begin + 1, place - begin)]
    else:
        end = place + step
        found = [
            (index, min(end, Fraction(index + 1)) - max(place, Fraction(index)))
            for index in range(begin, math.ceil(end))
        ]
    there = [(index, part) for index, part in found if part and index <= last] or [(last, Fraction(1))]
    whole = sum((part for _, part in there), Fraction(0))
    return [(index, part / whole) for index, part in there]
