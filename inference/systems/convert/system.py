"""Convert: every frame as it is. What is asked for is how the clip is written."""

from __future__ import annotations

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Sources, System, Thrift, Tick
from jobs.requests.convert import ConvertRequest


class Convert(System[ConvertRequest]):
    """The clip, with its sound or without."""

    def render(self, request: ConvertRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Frames are handed on."""
        spool = sources.clip(request.clip)
        frames = ticked(spool, "copying", spool.count, tick)
        return clip_of(shape_of(spool), frames, spool.channels, spool.sound if request.sound == "keep" else None)
