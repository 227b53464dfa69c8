"""Restyle: a clip in another look. Noise is put on its latents, and taken off again by other words (SDEdit, Meng 2021),
while ControlNets hold what they see in every frame (Zhang et al. 2023)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from inference.systems.animatediff.controls.controlnet import check_base
from inference.systems.animatediff.controls.detectors import DETECTORS
from inference.systems.animatediff.controls.frame_control import Control, FrameControl, stacked
from inference.systems.animatediff.controls.kinds import CONTROL_WEIGHTS
from inference.systems.animatediff.engine import Pair, decode_bytes
from inference.systems.animatediff.frames import LATENT, Size, filled, framed
from inference.systems.animatediff.rendering import DiffusionSystem, Job, digest, glimpsed, where_it_computes
from inference.systems.animatediff.sampling import Beginning
from inference.systems.animatediff.sparsectrl import encode_pictures
from inference.systems.base import PLENTY, Clip, Frame, Sources, Thrift, Tick
from jobs.errors import Note
from jobs.requests.base import Shape
from jobs.requests.holds import Hold
from jobs.requests.restyle import RestyleRequest
from media.frames import SOUND_RATE, FrameSpool
from media.passes import over_white


@dataclass(frozen=True)
class Footage:
    """The part of the clip that is redrawn, frame by frame, in the new size."""

    spool: FrameSpool
    size: Size
    count: int
    rate: Fraction

    def __iter__(self) -> Iterator[Image.Image]:
        """Frames at the new rate: of several that fall together, the first."""
        for number in range(self.count):
            frame = self.spool[min(len(self.spool) - 1, int(number * self.spool.fps / self.rate))]
            yield filled(Image.fromarray(over_white(frame)), self.size)

    @classmethod
    def of(cls, request: RestyleRequest, spool: FrameSpool) -> Footage:
        """What a request means by it."""
        known = {request.clip: Shape(spool.width, spool.height, len(spool), spool.fps)}
        return cls(spool, request.pixels(known), *request.times(known))

    def sound(self) -> NDArray[np.int16] | None:
        """Of that part."""
        sound = self.spool.sound
        return None if sound is None else sound[: round(self.count / self.rate * SOUND_RATE)]


class Restyle(DiffusionSystem[RestyleRequest]):
    """Video to video, over every image model that goes with a motion module."""

    name = "restyle"

    def render(self, request: RestyleRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Denoise now; decode as the clip's frames are read."""
        request = self.engine.settled(request)
        pair = self.engine.pair(request)
        footage = Footage.of(request, sources.clip(request.clip))
        keep = _mask(sources.image(request.keep), footage.size) if request.keep else None
        key = request, pair.names, digest(sources), glimpsed(footage.spool)
        latents = self.undecoded.take(key)
        if latents is None:
            job = self._job(request, pair, sources, footage, keep, tick, thrift)
            latents = self.denoised(request, job, tick, thrift)
        frames = self.undecoded.decoded(self.engine, pair.base, latents, key, tick, thrift)
        return Clip(
            width=footage.size[0],
            height=footage.size[1],
            num_frames=footage.count,
            fps=footage.rate,
            frames=frames if keep is None else _laid_over(frames, footage, keep),
            sound=footage.sound(),
            notes=(*self.notes(request, pair, footage.count, thrift), *_of_mask(keep)),
            weights=tuple(dict.fromkeys((*pair.names, *sorted(request.wanted)))),
            facts={"model": pair.base.name},
        )

    def _job(
        self,
        request: RestyleRequest,
        pair: Pair,
        sources: Sources,
        footage: Footage,
        keep: Tensor | None,
        tick: Tick,
        thrift: Thrift,
    ) -> Job:
        tick("loading", 0, 4)
        words = self.engine.words(request, pair, (footage.count, footage.rate), footage.size, tick, thrift)
        tick("loading", 1, 4)
        beginning = self._beginning(request, pair, footage, keep, tick, thrift)
        conditions = {hold: self._conditions(hold, footage, tick, thrift) for hold in request.holds if hold.strength}
        tick("loading", 2, 4)
        look = self.engine.seen([sources.image(request.look)], thrift) if request.look else None
        tick("loading", 3, 4)
        return Job(
            pair,
            footage.count,
            footage.rate,
            footage.size,
            words,
            sources,
            lambda: self._steering(request, pair, conditions, thrift),
            look=look,
            beginning=beginning,
        )

    def _beginning(
        self,
        request: RestyleRequest,
        pair: Pair,
        footage: Footage,
        keep: Tensor | None,
        tick: Tick,
        thrift: Thrift,
    ) -> Beginning:
        """The clip's own latents, frame by frame."""
        generator = torch.Generator("cpu").manual_seed(request.seed + 2)  # not the noise once more
        working = decode_bytes(footage.size, pair.base.vae_dtype(self.place.dtype))
        with self.place.residency.on_device(self.engine.vae(pair.base), working, alone=thrift.offload) as vae:
            self.colours.fit(pair.base, vae)
            latents: list[Tensor] = []
            for number, picture in enumerate(footage, start=1):
                latents.append(encode_pictures(vae, framed(picture, footage.size), generator).float().cpu())
                tick("watching", number, footage.count)
        device = self.place.device
        small = None if keep is None else functional.avg_pool2d(keep, LATENT)[:, :, None].to(device)
        return Beginning(torch.cat(latents, dim=2).to(device), request.strength, small)

    def _conditions(self, hold: Hold, footage: Footage, tick: Tick, thrift: Thrift) -> Tensor:
        """What a ControlNet is shown of every frame, `[T, 3, H, W]` bytes."""

        def watched() -> Iterator[Frame]:
            for number, picture in enumerate(footage, start=1):
                tick("detecting", number, footage.count)
                yield np.asarray(picture)

        detector = DETECTORS[hold.name]
        return stacked(detector.conditions(self.place, watched(), footage.size, alone=thrift.offload))

    @contextmanager
    def _steering(
        self, request: RestyleRequest, pair: Pair, conditions: dict[Hold, Tensor], thrift: Thrift
    ) -> Generator[Sequence[Control]]:
        with ExitStack() as held:
            controls: list[Control] = []
            for hold, pictures in conditions.items():
                name = CONTROL_WEIGHTS[hold.name]
                network = held.enter_context(where_it_computes(self.place, self.engine.control(name), thrift))
                check_base(network, name, pair.base.configs["unet"])
                controls.append(FrameControl(network, pictures, hold.strength, end=request.hold_until))
            yield controls


def _mask(picture: Image.Image, size: Size) -> Tensor:
    """`[1, 1, H, W]`, 1 where it is white: there the clip stays as it is."""
    return torch.from_numpy(np.asarray(filled(picture, size).convert("L"), dtype=np.float32) / 255)[None, None]


def _of_mask(keep: Tensor | None) -> Iterator[Note]:
    """A mask of one colour is seldom meant."""
    if keep is not None and float(keep.min()) > 0.98:
        yield Note("mask_keeps_all")
    elif keep is not None and float(keep.max()) < 0.02:
        yield Note("mask_keeps_nothing")


def _laid_over(frames: Iterator[Frame], footage: Footage, keep: Tensor) -> Iterator[Frame]:
    """What stays is the clip's own, to the pixel: it need not go through the encoder and back."""
    share = keep[0, 0, :, :, None].numpy()
    for made, picture in zip(frames, footage, strict=True):
        yield (np.asarray(picture) * share + made * (1 - share)).round().astype(np.uint8)
