"""Loop: frames of the end become frames of the start, or the clip goes back the way it came."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from inference.systems.loop.morph import Morph
from jobs.errors import Note
from jobs.requests.loop import LoopRequest
from media.frames import FrameSpool, Sound
from media.mixing import mixed
from media.tracks import cut, ring, samples

LEAST_RELIABILITY = 0.5
"""Where less of the picture is found again, motion means nothing, and the ends are crossfaded.

Measured on the scenes of `benchmarks.smooth`: 0.74 to 1 while motion can be followed, 0.21 at most of unlike scenes.
"""


class Loop(System[LoopRequest]):
    """The three ways to close a clip."""

    def render(self, request: LoopRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Frames are made as they are read; motion is looked for once before, to tell whether there is any."""
        spool = sources.clip(request.clip)
        known = shape_of(spool)
        overlap, shape = request.overlap(known), request.gives({request.clip: known})
        blend, notes = request.style == "blend", ()
        if blend and _middle(spool, overlap).reliability < LEAST_RELIABILITY:
            blend, notes = False, (Note("loop_crossfaded"),)
        frames = _closed(spool, overlap, blend=blend) if overlap else _back_again(spool)
        sound = None if spool.sound is None else _ring_of(spool.sound, spool.count, overlap, spool.fps)
        return clip_of(shape, ticked(frames, "looping", shape.num_frames, tick), spool.channels, sound, notes)


def _middle(spool: FrameSpool, overlap: int) -> Morph:
    """The two frames that are shown half and half."""
    index = overlap // 2
    return Morph.between(spool[spool.count - overlap + index], spool[index])


def _back_again(spool: FrameSpool) -> Iterator[Frame]:
    """To the end and back; the two ends are shown once, so nothing halts there."""
    for index in (*range(spool.count), *range(spool.count - 2, 0, -1)):
        yield spool[index]


def _closed(spool: FrameSpool, overlap: int, *, blend: bool) -> Iterator[Frame]:
    """The clip from behind the overlap on, and then the overlap, in which the end turns into the start.

    Both go on moving meanwhile, and the change begins and ends at rest, so nothing halts or jumps at either side.
    """
    for index in range(overlap, spool.count - overlap):
        yield spool[index]
    for index in range(overlap):
        ending, starting = spool[spool.count - overlap + index], spool[index]
        t = _eased((index + 1) / (overlap + 1))
        yield Morph.between(ending, starting).at(t) if blend else mixed([(ending, 1 - t), (starting, t)])


def _eased(t: float) -> float:
    return t * t * (3 - 2 * t)


def _ring_of(sound: Sound, count: int, overlap: int, fps: Fraction) -> Sound:
    """The sound, closed as the picture is. `overlap` 0: there and back."""
    whole = cut(sound, 0, samples(count, fps))
    if overlap:
        return cut(ring(whole, samples(overlap, fps)), 0, samples(count - overlap, fps))
    back = whole[samples(1, fps) : samples(count - 1, fps)][::-1]
    return cut(np.concatenate([whole, back]), 0, samples(2 * count - 2, fps))
