"""What all steps of the family share: image models, motion modules, LoRAs and words, each loaded once and re-armed.

A UNet with a motion module in it is one resident network. LoRAs, picture prompts and controls are put on it for one job
and taken off again, so the next job needs no reload and finds no trace of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from PIL import Image
from torch import Tensor, nn

from inference.residency import Resident
from inference.systems.animatediff import errors, loader, loras
from inference.systems.animatediff.architecture import Version
from inference.systems.animatediff.base import words
from inference.systems.animatediff.base.loader import open_base
from inference.systems.animatediff.base.model import Base
from inference.systems.animatediff.blending import Blend, Encoded, Mixture
from inference.systems.animatediff.contexts import Schedule, Windowing
from inference.systems.animatediff.controls.controlnet import open_control
from inference.systems.animatediff.installed import checkpoint_path, file_of, installed, lora_path, path_of
from inference.systems.animatediff.ip_adapter_vision import SeenPictures, encode_pictures, open_image_encoder
from inference.systems.animatediff.learning_file import MotionFile
from inference.systems.animatediff.pia import open_pia, put_pia_into
from inference.systems.animatediff.sampling import Words
from inference.systems.base import Place, Sources, Thrift, Tick
from jobs.errors import Failure
from jobs.requests.animatediff_modules import MODULES, Module, Profile
from jobs.requests.cameras import CAMERAS
from jobs.requests.diffusion import Context, Diffusion
from jobs.requests.image_models import ADAPTER
from jobs.requests.learnmotion import LearnMotionRequest

log = logging.getLogger(__name__)

REFERENCE = 512 * 512
UNET_BYTES_PER_FRAME = 160_000_000
"""Beside the weights, for a frame of 512 × 512 in float16 under guidance: 4.2 to 5.6 GB were reported for 16 frames, of
which the weights are 2.7."""
DECODE_BYTES = 2_600_000_000
"""For one frame of 512 × 512 in float32; half of it in float16."""
VERSIONS: Mapping[Module, Version] = {
    "v3": "v3", "v15-v2": "v2", "v15": "v1", "v14": "v1", "lightning-8": "v2", "lightning-4": "v2", "lightning-2": "v2",
    "lightning-1": "v2", "animatelcm": "v2", "sdxl": "sdxl", "hotshot-xl": "sdxl",
}  # fmt: skip
"""By which the loader knows where norms take their statistics; PIA's file is read by itself."""
SCHEDULES: Mapping[Context, Schedule] = {
    "static": "standard_static",
    "uniform": "standard_uniform",
    "looped": "looped_uniform",
    "batched": "batched",
    "in the module": "view_as_context",
}

N = TypeVar("N", bound=nn.Module)
Q = TypeVar("Q", bound=Diffusion | LearnMotionRequest)


@dataclass(frozen=True)
class Pair:
    """The image model and the motion module of one job."""

    base: Base
    module: Module

    @property
    def profile(self) -> Profile:
        """What the module was made for."""
        return MODULES[self.module]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the checkpoints."""
        return self.base.name, self.profile.weights


class Engine:
    """The family's networks in one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._bases: dict[tuple[str, Path, int], Base] = {}
        self._read: dict[tuple[Path, int], loras.Lora] = {}
        """The owner's LoRAs of the newest job."""

    # -- what there is --

    def settled(self, request: Q) -> Q:
        """The request with nothing left open. An accepted job's is so already; recipes may come some other way.

        Raises:
            Refusal: what is here cannot do it.
        """
        return request.settled(installed(self.place.models, self.place.options) or ())

    def pair(self, request: Diffusion | LearnMotionRequest) -> Pair:
        """The checkpoints that a settled request names.

        Raises:
            Failure: one is missing here, or cannot be read.
        """
        assert request.model is not None
        assert request.module is not None
        return Pair(self.base(request.model), request.module)

    def base(self, name: str) -> Base:
        """An image model, opened once.

        Raises:
            Failure: it is missing here, or is not what its name says.
        """
        path = path_of(self.place.models, name, self.place.options)
        if path is None:
            raise errors.AnimateDiffNotInstalled(model=name)
        changed = path.stat().st_mtime_ns  # an owner may put another file under the same name
        if (name, path, changed) not in self._bases:
            tokenizer = checkpoint_path(self.place.models, "clip-tokenizer") or self.place.models / "clip-tokenizer"
            with self.place.residency.loading():
                self._bases[name, path, changed] = open_base(name, path, tokenizer)
        return self._bases[name, path, changed]

    def file(self, name: str, containing: str = "") -> Path:
        """A checkpoint's file with tensors.

        Raises:
            AnimateDiffNotInstalled: it is missing here.
        """
        path = file_of(self.place.models, name, containing)
        if path is None:
            raise errors.AnimateDiffNotInstalled(model=name)
        return path

    # -- networks --

    def resident(self, key: Sequence[str], load: Callable[[], N]) -> Resident[N]:
        """A network of the family."""
        return self.place.residency.get(("animatediff", *key), load)

    def unet(self, pair: Pair) -> Resident[UNetMotionModel]:
        """The image model's UNet with the motion module in it."""

        def load() -> UNetMotionModel:
            image = cast(UNet2DConditionModel, pair.base.load("unet", self.place.dtype))
            path = self.file(pair.profile.weights, "t2v.ckpt" if pair.module == "animatelcm" else "")
            if pair.module == "pia":
                own = pair.base.name == "stable-diffusion-v1-5"
                return put_pia_into(image, open_pia(path, pair.profile.weights), own_first=own)
            motion = loader.open_motion(path, pair.profile.weights, VERSIONS[pair.module])
            return loader.put_into(image, motion)

        return self.resident((pair.base.name, pair.profile.weights, "unet"), load)

    def vae(self, base: Base) -> Resident[AutoencoderKL]:
        """The image model's; SDXL's in float32."""
        dtype = base.vae_dtype(self.place.dtype)
        return self.resident((base.name, "vae"), lambda: cast(AutoencoderKL, base.load("vae", dtype)))

    def control(self, name: str) -> Resident[ControlNetModel]:
        """A ControlNet.

        Raises:
            AnimateDiffNotInstalled: it is missing here.
        """
        path = checkpoint_path(self.place.models, name)
        if path is None:
            raise errors.AnimateDiffNotInstalled(model=name)
        return self.resident((name,), lambda: open_control(path, name, self.place.dtype))

    def sparse(self, name: str) -> Resident[SparseControlNetModel]:
        """A SparseCtrl."""
        return self.resident((name,), lambda: loader.open_sparse(self.file(name), name, self.place.dtype))

    # -- words --

    def words(
        self,
        request: Diffusion,
        pair: Pair,
        times: tuple[int, Fraction],
        size: tuple[int, int],
        tick: Tick,
        thrift: Thrift,
    ) -> Words:
        """Prompts for each frame, or for all of them, as the UNet takes them.

        Args:
            request: whose prompts.
            pair: for which image model.
            times: how many frames, and how many a second.
            size: width and height in pixels, which SDXL is told.
            tick: at each prompt.
            thrift: whether memory is short.
        """
        num_frames, fps = times
        schedule = request.prompts(num_frames, float(fps))
        if schedule is None:
            positive = [Blend(request.prompt, request.prompt, 1.0)]
            negative = [Blend(request.negative, request.negative, 1.0)]
        else:
            positive = [Blend(at.now.positive, at.then.positive, at.weight) for at in schedule.frames]
            negative = [Blend(at.now.negative, at.then.negative, at.weight) for at in schedule.frames]
        texts = {text for frame in (*positive, *negative) for text in (frame.now, frame.then)}
        with self.place.residency.loading():
            styled = self._styled(request)
        encoded = self.encoded(sorted(texts), pair.base, request.clip_skip, tick, thrift, styled)
        good, bad = (Mixture(_once(frames), encoded) for frames in (positive, negative))
        width, height = size
        return Words(good, bad, _pooled(good, bad), (height, width, 0, 0, height, width))

    def encoded(
        self,
        texts: Sequence[str],
        base: Base,
        clip_skip: int,
        tick: Tick,
        thrift: Thrift,
        styled: Sequence[tuple[loras.Lora, float]] = (),
    ) -> Mapping[str, Encoded]:
        """Prompts, each by itself, read by text encoders with what LoRAs (`styled`) add to them."""
        with ExitStack() as held:
            encoders = [
                held.enter_context(
                    self.place.residency.on_device(
                        self.resident((base.name, name), lambda name=name: base.load(name, self.place.dtype)),
                        alone=thrift.offload and len(base.encoders) == 1,
                    )
                )
                for name in base.encoders
            ]
            for name, encoder in zip(base.encoders, encoders, strict=True):
                held.enter_context(loras.merged(encoder, [(lora.of(name), strength) for lora, strength in styled]))
            tokenizers, encoded = base.tokenizers(), dict[str, Encoded]()
            for number, text in enumerate(texts):
                tick("reading", number, len(texts))
                encoded |= words.encode([text], tokenizers, encoders, clip_skip=clip_skip)
            return encoded

    # -- what is put on for one job --

    @contextmanager
    def armed(
        self,
        unet: UNetMotionModel,
        request: Diffusion,
        pair: Pair,
        sources: Sources,
        more: Sequence[tuple[loras.Lora, float]] = (),
    ) -> Generator[None]:
        """Within this, the UNet has the request's LoRAs.

        Args:
            unet: where it is to compute.
            request: whose LoRAs, camera moves, domain adapter and learned motion.
            pair: for which checkpoints.
            sources: where the learned motion is.
            more: others, with their strengths.
        """
        with self.place.residency.loading():
            chosen = [*self._loras(request, pair, sources), *more]
        with loras.merged(unet, chosen):
            yield

    def _styled(self, request: Diffusion) -> Sequence[tuple[loras.Lora, float]]:
        """What the owner's LoRAs add, to the UNet and to the text encoders; those of one job are read once."""
        paths = {lora: lora_path(self.place.models, lora.name, self.place.options) for lora in request.loras}
        keys = {lora: (path, path.stat().st_mtime_ns if path.exists() else 0) for lora, path in paths.items()}
        self._read = {key: self._read.get(key) or self._style(lora.name, key[0]) for lora, key in keys.items()}
        return [(self._read[key], lora.strength) for lora, key in keys.items()]

    def _style(self, name: str, path: Path) -> loras.Lora:
        try:
            return loras.open_lora(path, name)
        except Failure:
            log.exception("the LoRA %s cannot be used", name)
            raise errors.AnimateDiffLoraUnusable(name=name, file=path.name) from None

    def _loras(self, request: Diffusion, pair: Pair, sources: Sources) -> Iterable[tuple[loras.Lora, float]]:
        yield from self._styled(request)
        for camera in request.cameras:
            if camera.strength:
                name = CAMERAS[camera.move]
                yield loras.open_lora(self.file(name), name), camera.strength
        if request.adapter and pair.module == "v3":
            yield loras.open_lora(self.file(ADAPTER), ADAPTER), request.adapter
        if pair.profile.lora:
            name = pair.profile.weights
            yield loras.open_lora(self.file(name, "lora"), name), pair.profile.lora
        if request.motion is not None and request.motion_strength:
            learned = MotionFile.parse(sources.motion(request.motion).read_bytes(), request.motion)
            yield learned.lora(pair.module, request.motion), request.motion_strength

    def seen(self, pictures: Sequence[Image.Image], thrift: Thrift) -> SeenPictures:
        """What CLIP says of pictures that a look is taken from."""
        folder = self.file("clip-vit-h").parent

        def load() -> Any:
            return open_image_encoder(folder, "clip-vit-h", self.place.dtype)

        with self.place.residency.on_device(self.resident(("clip-vit-h",), load), alone=thrift.offload) as encoder:
            return encode_pictures(encoder, pictures)


def _pooled(positive: Mixture, negative: Mixture) -> tuple[Tensor, Tensor] | None:
    """SDXL's UNet takes one pooled output for a whole clip: of a schedule, the mean."""
    good, bad = positive.pooled, negative.pooled
    return None if good is None or bad is None else (good, bad)


def _once(frames: Sequence[Blend]) -> Sequence[Blend]:
    """One stands for all where they are equal."""
    return frames[:1] if len(set(frames)) == 1 else frames


def windowing_for(request: Diffusion, *, most: int | None = None) -> Windowing:
    """How a clip is cut into windows, if it is longer than one.

    Args:
        request: what was asked for.
        most: frames of a window, where memory is short.
    """
    schedule: Schedule = "looped_uniform" if request.loops else SCHEDULES.get(request.context, "standard_static")
    if most and schedule == "view_as_context":  # where the UNet holds the whole clip
        schedule = "standard_static"
    batched = schedule == "batched"
    length = min(request.window, most or request.window)
    return Windowing(
        schedule,
        length=length,
        overlap=0 if batched else min(request.context_overlap, length - 1),
        stride=request.context_stride,
        closed_loop=request.loops,
        fusing="flat" if batched else "pyramid",
    )


def unet_bytes(num_frames: int, size: tuple[int, int], *, guided: bool) -> int:
    """Working memory of one pass over so many frames."""
    return int(UNET_BYTES_PER_FRAME * num_frames * size[0] * size[1] / REFERENCE * (1 if guided else 0.5))


def decode_bytes(size: tuple[int, int], dtype: torch.dtype) -> int:
    """Working memory of decoding one frame."""
    return int(DECODE_BYTES * size[0] * size[1] / REFERENCE * (1 if dtype == torch.float32 else 0.5))
