"""Trim: some of the frames, and the sound of just that time."""

from __future__ import annotations

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Sources, System, Thrift, Tick
from jobs.requests.trim import TrimRequest
from media.tracks import cut, samples


class Trim(System[TrimRequest]):
    """A part of a clip."""

    def render(self, request: TrimRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Frames are read from the spool as they are asked for."""
        spool = sources.clip(request.clip)
        known = shape_of(spool)
        span, shape = request.span(known), request.gives({request.clip: known})
        frames = ticked((spool[index] for index in span), "trimming", len(span), tick)
        sound = spool.sound
        if sound is not None:
            sound = cut(sound, samples(span.start, spool.fps), samples(shape.num_frames, shape.fps))
        return clip_of(shape, frames, spool.channels, sound)
