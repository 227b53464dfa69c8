"""AnimateDiff (Guo et al. 2023): words and pinned pictures become a clip. Facts and traps: README.md."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch

from inference.systems.animatediff import pia
from inference.systems.animatediff.controls.frame_control import Control
from inference.systems.animatediff.engine import Pair, decode_bytes
from inference.systems.animatediff.frames import Size, framed, white_on_black
from inference.systems.animatediff.installed import file_of
from inference.systems.animatediff.rendering import (
    DiffusionSystem,
    Job,
    digest,
    nothing,
    shape_of,
    where_it_computes,
)
from inference.systems.animatediff.sparsectrl import SparseCondition, SparseControl, encode_pictures, spread
from inference.systems.base import PLENTY, Clip, Sources, Thrift, Tick
from jobs.errors import Note
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.image_models import ADAPTER

PIA_MOTIONS = {"small": 0, "medium": 1, "large": 2}
PIA_LOOPS = 3
"""So much further on in PIA's list stand the same as loops."""


@dataclass(frozen=True)
class Pins:
    """Pictures at their frames, as the networks see them, on the CPU."""

    condition: SparseCondition | None = None
    pia: pia.PiaCondition | None = None


class AnimateDiff(DiffusionSystem[AnimateDiffRequest]):
    """Every motion module over every image model that goes with it."""

    name = "animatediff"

    def render(self, request: AnimateDiffRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Denoise now; decode as the clip's frames are read."""
        request = self.engine.settled(request)
        pair = self.engine.pair(request)
        size = request.size({name: shape_of(sources, name) for name in request.pinned})
        key = request, pair.names, digest(sources)
        latents = self.undecoded.take(key)
        if latents is None:
            job = self._job(request, pair, sources, size, tick, thrift)
            latents = self.denoised(request, job, tick, thrift)
        return Clip(
            width=size[0],
            height=size[1],
            num_frames=request.num_frames,
            fps=Fraction(request.fps),
            frames=self.undecoded.decoded(self.engine, pair.base, latents, key, tick, thrift),
            notes=tuple(self._notes(request, pair, thrift)),
            weights=tuple(dict.fromkeys((*pair.names, *sorted(request.wanted)))),
            facts={"model": pair.base.name},
        )

    def _job(
        self,
        request: AnimateDiffRequest,
        pair: Pair,
        sources: Sources,
        size: Size,
        tick: Tick,
        thrift: Thrift,
    ) -> Job:
        tick("loading", 0, 4)
        times = request.num_frames, Fraction(request.fps)
        words = self.engine.words(request, pair, times, size, tick, thrift)
        tick("loading", 1, 4)
        pins = self._pins(request, pair, sources, size, thrift)
        tick("loading", 2, 4)
        look = self.engine.seen([sources.image(request.look)], thrift) if request.look else None
        tick("loading", 3, 4)
        return Job(
            pair,
            *times,
            size,
            words,
            sources,
            lambda: self._steering(request, pins, thrift),
            look=look,
            pia=pins.pia,
        )

    def _pins(self, request: AnimateDiffRequest, pair: Pair, sources: Sources, size: Size, thrift: Thrift) -> Pins:
        """Pinned pictures, encoded; and on the way the preview's colours."""
        working = decode_bytes(size, pair.base.vae_dtype(self.place.dtype))
        with self.place.residency.on_device(self.engine.vae(pair.base), working, alone=thrift.offload) as vae:
            self.colours.fit(pair.base, vae)
            if not request.pinned:
                return Pins()
            pictures = torch.cat([framed(sources.image(name), size) for name in request.pinned])
            if request.control == "sparsectrl-scribble":
                drawings = spread(white_on_black(pictures / 2 + 0.5)).transpose(0, 1)[None]
                return Pins(SparseCondition.place(drawings, request.places, request.num_frames))
            generator = torch.Generator("cpu").manual_seed(request.seed + 2)  # not the noise once more
            latents = encode_pictures(vae, pictures, generator).float().cpu()
        if request.pia:
            motion = PIA_MOTIONS[request.pia_motion] + (PIA_LOOPS if request.loop else 0)
            return Pins(pia=pia.condition(latents[:, :, :1], request.num_frames, motion))
        return Pins(SparseCondition.place(latents, request.places, request.num_frames))

    @contextmanager
    def _steering(self, request: AnimateDiffRequest, pins: Pins, thrift: Thrift) -> Generator[Sequence[Control]]:
        if pins.condition is None or request.control is None:
            with nothing() as none:
                yield none
            return
        with where_it_computes(self.place, self.engine.sparse(request.control), thrift) as network:
            yield [SparseControl(network, pins.condition, request.pin_scale)]

    def _notes(self, request: AnimateDiffRequest, pair: Pair, thrift: Thrift) -> Iterator[Note]:
        yield from self.notes(request, pair, request.num_frames, thrift)
        if request.control and file_of(self.place.models, ADAPTER) is None:
            yield Note("animatediff_no_adapter")
