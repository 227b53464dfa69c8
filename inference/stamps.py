"""What the rooms of stickers and emojis do: each frame as a small square."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from jobs.errors import Note
from jobs.requests.base import Shape
from jobs.requests.stamp import Stamp
from media.frames import FrameSpool
from media.framing import filled, fitted, with_alpha

S = TypeVar("S", bound=Stamp)


class StampSystem(System[S]):
    """A clip as a silent square."""

    def render(self, request: S, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Frames are made as they are read. What was cut off is said."""
        spool = sources.clip(request.clip)
        known = shape_of(spool)
        shape = request.gives({request.clip: known})
        notes: tuple[Note, ...] = ()
        if shape.num_frames < spool.count:
            notes = (Note("stamp_cut", {"seconds": request.most_seconds, "was": round(known.seconds, 1)}),)
        frames = ticked(_squares(spool, request, shape), "fitting", shape.num_frames, tick)
        return clip_of(shape, frames, 4 if shape.has_alpha else 3, None, notes)


def _squares(spool: FrameSpool, request: Stamp, shape: Shape) -> Iterator[Frame]:
    size = (shape.width, shape.height)
    for index in range(shape.num_frames):
        frame = spool[index]
        small = filled(frame, *size) if request.framing == "crop" else fitted(frame, *size, request.padding)
        yield with_alpha(small) if shape.has_alpha else small
