"""Upscale: Swin2SR frame by frame, its detail steadied in time; Lanczos where it is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from inference.editing import clip_of, shape_of, ticked
from inference.holes import Floats, filled
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from inference.systems.upscale.weights import SWIN2SR
from jobs.errors import Note
from jobs.requests.base import Shape
from jobs.requests.upscale import UpscaleRequest
from media.frames import FrameSpool


class Upscale(System[UpscaleRequest]):
    """Twice or four times as wide and high."""

    def render(self, request: UpscaleRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Frames are made as they are read, each in one pass of the network for ×2 and in two for ×4."""
        spool = sources.clip(request.clip)
        shape = request.gives({request.clip: shape_of(spool)})
        installed = SWIN2SR.layout_in(self.place.models) is not None
        frames = self._sharpened(spool, request, thrift, tick) if installed else _resized(spool, shape)
        notes = () if installed else (Note("upscale_lanczos"),)
        ticking = ticked(frames, "upscaling", spool.count, tick)
        return clip_of(shape, ticking, spool.channels, spool.sound, notes, (SWIN2SR.name,) if installed else ())

    def _sharpened(self, spool: FrameSpool, request: UpscaleRequest, thrift: Thrift, tick: Tick) -> Iterator[Frame]:
        from inference.systems.upscale.network import Doubler  # seconds of importing, which Lanczos does without
        from inference.systems.upscale.steady import Steadier

        tick("loading", 0, 1)
        doubler, steadier = Doubler(self.place), Steadier()
        for frame in spool:
            small = shown(frame)
            large = small
            while large.shape[0] < spool.height * request.times:
                large = doubler.doubled(large, thrifty=thrift.offload)
            if request.steady:
                large = steadier.steadied(small, large)
            colours = np.clip(np.rint(large * 255), 0, 255).astype(np.uint8)
            yield (
                colours if spool.channels == 3 else np.dstack([colours, _larger(frame[..., 3], *colours.shape[1::-1])])
            )


def shown(frame: Frame) -> Floats:
    """RGB `[H, W, 3]` in 0 … 1; under transparency, colours of what is seen go on.

    The network must not see what is hidden there, for it would bleed into the rim. Nor may it see that rim, as it would
    in colours multiplied by alpha: it draws edges sharper than alpha grows, and what lies between would be dark.
    """
    levels = np.asarray(frame / np.float32(255), np.float32)
    if levels.shape[2] == 3:
        return levels
    colours, alpha = levels[..., :3], levels[..., 3:]
    return filled(np.concatenate([colours * alpha, alpha], axis=2))


def _resized(spool: FrameSpool, shape: Shape) -> Iterator[Frame]:
    return (_larger(frame, shape.width, shape.height) for frame in spool)


def _larger(frame: Frame, width: int, height: int) -> Frame:
    """By Lanczos; Pillow weighs colours by alpha itself."""
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
