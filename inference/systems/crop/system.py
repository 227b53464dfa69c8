"""Crop: the same part of every frame."""

from __future__ import annotations

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Sources, System, Thrift, Tick
from jobs.requests.crop import CropRequest


class Crop(System[CropRequest]):
    """A part of the picture."""

    def render(self, request: CropRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """No pixel is changed."""
        spool = sources.clip(request.clip)
        known = shape_of(spool)
        box, shape = request.box(known), request.gives({request.clip: known})
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        frames = ticked((frame[rows, columns] for frame in spool), "cropping", spool.count, tick)
        return clip_of(shape, frames, spool.channels, spool.sound)
