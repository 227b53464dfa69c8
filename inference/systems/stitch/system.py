"""Stitch: two clips brought to one size and rate, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from jobs.requests.base import Shape
from jobs.requests.stitch import StitchRequest
from media.frames import FrameSpool, Sound
from media.framing import filled, fitted, with_alpha
from media.mixing import mixed
from media.tracks import JOIN_SAMPLES, cut, faded_out, joined, samples, silence


class Stitch(System[StitchRequest]):
    """One clip after another."""

    def render(self, request: StitchRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Frames are made as they are read; a rate is reached by showing frames again."""
        spools = sources.clip(request.clip), sources.clip(request.second)
        known = {name: shape_of(spool) for name, spool in zip((request.clip, request.second), spools, strict=True)}
        shape = request.gives(known)
        first, second, overlap = request.counts(known)
        sides = (
            Side(spools[0], first, shape, request.framing),
            Side(spools[1], second, shape, request.framing),
        )
        frames = ticked(_sewn(*sides, overlap), "stitching", shape.num_frames, tick)
        return clip_of(shape, frames, 4 if shape.has_alpha else 3, _sounds(*sides, overlap))


@dataclass(frozen=True)
class Side:
    """One of the two clips, as it has to become."""

    spool: FrameSpool
    count: int
    """Frames at the common rate."""
    shape: Shape
    framing: str

    def __getitem__(self, number: int) -> Frame:
        """The frame that is shown at this one's time, in the common size and with alpha where there is any."""
        index = min(self.spool.count - 1, math.floor(number * self.spool.fps / self.shape.fps))
        frame, size = self.spool[index], (self.shape.width, self.shape.height)
        if (self.spool.width, self.spool.height) != size:
            bars = "transparent" if self.shape.has_alpha else "blurred"
            frame = filled(frame, *size) if self.framing == "crop" else fitted(frame, *size, bars)
        return with_alpha(frame) if self.shape.has_alpha else frame

    def sound(self) -> Sound:
        """As long as its frames; silence where it has none."""
        length = samples(self.count, self.shape.fps)
        return silence(length) if self.spool.sound is None else cut(self.spool.sound, 0, length)


def _sewn(first: Side, second: Side, overlap: int) -> Iterator[Frame]:
    for number in range(first.count - overlap):
        yield first[number]
    for number in range(overlap):
        t = (number + 1) / (overlap + 1)
        yield mixed([(first[first.count - overlap + number], 1 - t), (second[number], t)])
    for number in range(overlap, second.count):
        yield second[number]


def _sounds(first: Side, second: Side, overlap: int) -> Sound | None:
    """Joined as the pictures are. At a cut the first one's sound ends softly: it may end in the middle of a wave."""
    if first.spool.sound is None and second.spool.sound is None:
        return None
    one, other, over = first.sound(), second.sound(), samples(overlap, first.shape.fps)
    sewn = joined(one, other, over) if over else joined(faded_out(one, JOIN_SAMPLES), other, 0)
    return cut(sewn, 0, samples(first.count + second.count - overlap, Fraction(first.shape.fps)))
