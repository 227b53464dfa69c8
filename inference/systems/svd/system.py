"""Stable Video Diffusion (Blattmann et al. 2023): one picture becomes 14 or 25 frames. Facts and traps: README.md."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from inference import latent_colours
from inference.memory import ran_out
from inference.residency import GIGABYTE, Resident, device_bytes
from inference.systems.base import PLENTY, Clip, Frame, Place, Sources, System, Thrift, Tick
from inference.systems.svd import errors, pictures, sampling
from inference.systems.svd.loader import HUB_TENSORS, Checkpoint, NetworkName, follow_original, open_checkpoint
from inference.systems.svd.weights import BY_NAME, WEIGHTS
from inference.weights import Weights
from jobs.errors import Note
from jobs.requests.svd import SvdRequest

FULL_AREA = 1024 * 576
UNET_WORKING_BYTES = 7 * GIGABYTE
"""Beside the weights, at 25 frames of 1024 × 576 in float16: 10.8 GB were reported with everything else offloaded."""
DECODE_BYTES_PER_FRAME = 28 * GIGABYTE // 10
"""Of 1024 × 576 in float32: about 70 GB were reported for 25 frames at once."""
DECODE_RESERVE_BYTES = 2 * GIGABYTE
"""The VAE's own weights, the CUDA context and what the allocator cannot pack."""
DECODING_T = 14
"""Frames at a time in the original script, where memory allows."""
FEWEST_FRAMES = 6
"""Where memory is short, no clip is made shorter than this."""


class StableVideoDiffusion(System[SvdRequest]):
    """Every published SVD checkpoint; `request.model` says which, else the first that is offered and installed."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.faithful = bool(place.options.get("faithful", True))
        self._checkpoints: dict[str, Checkpoint] = {}
        self._undecoded: tuple[Hashable, Tensor] | None = None
        """Latents whose decoding ran out of memory: the next try need not make them again."""
        self._made = (0, 0)
        """How many frames the last render was to have, and how many of them were decoded at a time."""

    def render(self, request: SvdRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Denoise now; decode as the clip's frames are read."""
        weights = choose(request, self.place)
        checkpoint = self._open(weights)
        size = _size(request, sources.image(request.image).size, checkpoint.sample_size)
        asked = request.num_frames or checkpoint.num_frames
        num_frames = min(asked, thrift.num_frames or asked)
        chunk_size = self._chunk_size(num_frames, size, thrift)
        self._made = num_frames, chunk_size
        picture = self._framed(request, sources, size)
        key = request, weights.name, num_frames, hashlib.sha256(picture.numpy().tobytes()).digest()
        kept, self._undecoded = self._undecoded, None
        if kept is not None and kept[0] == key:
            latents = kept[1]
        else:
            latents = self._latents(request, weights, picture, num_frames, tick, thrift)
        return Clip(
            width=size[0],
            height=size[1],
            num_frames=num_frames,
            fps=Fraction(request.fps),
            frames=self._frames(checkpoint, latents, key, tick, thrift),
            notes=(
                *_notes(request, weights, num_frames, checkpoint.num_frames),
                *_spared(thrift, asked, num_frames, chunk_size),
            ),
            weights=(weights.name,),
            facts={"model": weights.name},
        )

    def thriftier(self, thrift: Thrift, stage: str) -> Thrift | None:
        """Fewer frames decoded at a time; then networks one by one, the UNet in pieces; then fewer frames."""
        num_frames, chunk_size = self._made
        if stage == "decoding" and chunk_size > 1:
            return replace(thrift, decode_chunk_size=chunk_size // 2)
        if not thrift.offload:
            return replace(thrift, offload=True)
        fewer = num_frames * 14 // 25  # as svd-xt's 25 to svd's 14
        return replace(thrift, num_frames=fewer) if fewer >= FEWEST_FRAMES else None

    def holding(self) -> Iterable[str]:
        """Checkpoints of which no network must be read, and the system itself where its usual one is among them."""
        keys = self.place.residency.keys
        for name in self._checkpoints:
            if {("svd", name, network) for network in HUB_TENSORS} <= keys:
                yield f"svd/{name}"
                if name == self._usual():
                    yield "svd"

    def _usual(self) -> str | None:
        try:
            return choose(SvdRequest(), self.place).name
        except errors.SvdNotInstalled:
            return None

    def _open(self, weights: Weights) -> Checkpoint:
        if weights.name not in self._checkpoints:
            with self.place.residency.loading():
                self._checkpoints[weights.name] = open_checkpoint(weights, self.place.models)
        return self._checkpoints[weights.name]

    def _framed(self, request: SvdRequest, sources: Sources, size: tuple[int, int]) -> Tensor:
        frame = pictures.crop if request.framing == "crop" else pictures.letterbox
        return pictures.to_tensor(frame(sources.image(request.image), size))

    def _resident(self, checkpoint: Checkpoint, network: NetworkName) -> Resident[Any]:
        def load() -> nn.Module:
            # The VAE overflows in float16 (its config says force_upcast), so it is float32 everywhere.
            loaded = checkpoint.load(network, torch.float32 if network == "vae" else self.place.dtype)
            if network == "unet" and self.faithful:
                follow_original(loaded)
            return loaded

        return self.place.residency.get(("svd", checkpoint.name, network), load)

    def _latents(
        self,
        request: SvdRequest,
        weights: Weights,
        picture: Tensor,
        num_frames: int,
        tick: Tick,
        thrift: Thrift,
    ) -> Tensor:
        """The denoised clip, `[1, T, 4, H/8, W/8]`."""
        checkpoint = self._open(weights)
        height, width = picture.shape[-2:]
        noise = sampling.starting_noise(request.seed, num_frames, (width, height))
        conditioning, colours = self._conditioning(request, checkpoint, picture, noise.augmentation, tick, thrift)
        latents, steps = noise.latents, request.num_inference_steps

        def show(clean: Tensor) -> None:
            self.place.show(lambda: latent_colours.look(colours, clean[0, num_frames // 2]))

        with self._unet(checkpoint, (num_frames, width, height), thrift) as network:
            tick("loading", 3, 3)
            passes = sampling.denoise(
                network,
                checkpoint.scheduler(),
                latents,
                conditioning,
                guidance_of(request, weights),
                steps,
                sparing=sampling.Sparing(self.place.device, branch_by_branch=thrift.offload),
                seen=show,
            )
            for step, latents in enumerate(passes, start=1):  # noqa: B007 - the last ones are the clip's
                tick("denoising", step, steps)
        return latents

    def _unet(
        self, checkpoint: Checkpoint, shape: tuple[int, int, int], thrift: Thrift
    ) -> AbstractContextManager[UNetSpatioTemporalConditionModel]:
        """The network that takes most, where it can compute a clip of so many frames, width and height."""
        num_frames, width, height = shape
        working = int(UNET_WORKING_BYTES * num_frames * width * height / (25 * FULL_AREA))
        unet = self._resident(checkpoint, "unet")
        residency = self.place.residency
        return residency.in_pieces(unet) if thrift.offload else residency.on_device(unet, working)

    def _conditioning(
        self, request: SvdRequest, checkpoint: Checkpoint, picture: Tensor, noise: Tensor, tick: Tick, thrift: Thrift
    ) -> tuple[sampling.Conditioning, Tensor]:
        """What the UNet is told, and the preview's map from latents to colours."""
        residency = self.place.residency
        with residency.on_device(self._resident(checkpoint, "image_encoder"), alone=thrift.offload) as network:
            tick("loading", 1, 3)
            embedding = sampling.embed_picture(network, picture)
        del network  # or it would stay in memory while the next is read
        working = decode_bytes(1, (picture.shape[-1], picture.shape[-2]))
        with residency.on_device(self._resident(checkpoint, "vae"), working, alone=thrift.offload) as vae:
            tick("loading", 2, 3)
            latents = sampling.encode_picture(vae, picture, noise, request.noise_aug_strength)
            noisy = picture + request.noise_aug_strength * noise
            colours = latent_colours.fit_colours(latents * vae.config["scaling_factor"], noisy)
        # The original takes the fps id itself; diffusers takes a rate and tells the network one less.
        fps_id = request.fps if self.faithful else request.fps - 1
        conditioning = sampling.Conditioning(embedding, latents, fps_id, request.motion, request.noise_aug_strength)
        return conditioning, colours

    def _frames(
        self, checkpoint: Checkpoint, latents: Tensor, key: Hashable, tick: Tick, thrift: Thrift
    ) -> Iterator[Frame]:
        (total, chunk_size), done = self._made, 0
        size = latents.shape[-1] * pictures.LATENT, latents.shape[-2] * pictures.LATENT
        vae: Resident[AutoencoderKLTemporalDecoder] = self._resident(checkpoint, "vae")
        try:
            with self.place.residency.on_device(vae, decode_bytes(chunk_size, size), alone=thrift.offload) as network:
                tick("decoding", done, total)
                for chunk in sampling.decode(network, latents, chunk_size):
                    done += len(chunk)
                    tick("decoding", done, total)
                    yield from cast("Sequence[Frame]", sampling.to_pixels(chunk, rounded=not self.faithful))
        except Exception as error:
            if ran_out(error):
                self._undecoded = key, latents.cpu()
            raise

    def _chunk_size(self, num_frames: int, size: tuple[int, int], thrift: Thrift) -> int:
        wanted = DECODING_T if self.faithful else num_frames
        fits = chunk_size_for(device_bytes(self.place.device), min(wanted, num_frames), size)
        return min(fits, thrift.decode_chunk_size or fits)


def choose(request: SvdRequest, place: Place) -> Weights:
    """The checkpoint to use: the one asked for, else the first that is offered and installed.

    Raises:
        SvdNotOffered: the owner leaves the one asked for out.
        SvdNotInstalled: it, or every offered one, is missing.
    """
    offered: Sequence[str] = place.options.get("checkpoints") or tuple(weights.name for weights in WEIGHTS)
    if request.model is not None and request.model not in offered:
        raise errors.SvdNotOffered(model=request.model, offered=", ".join(offered))
    for name in (request.model,) if request.model else offered:
        if BY_NAME[name].layout_in(place.models) is not None:
            return BY_NAME[name]
    raise errors.SvdNotInstalled(model=request.model or offered[0])


def guidance_of(request: SvdRequest, weights: Weights) -> sampling.Guidance:
    """The request's scales; one that is left open is the checkpoint's own, or the other one where they would cross."""
    low, high = request.min_guidance_scale, request.max_guidance_scale
    own_low, own_high = float(weights.facts["min_guidance_scale"]), float(weights.facts["max_guidance_scale"])
    if low is None:
        low = own_low if high is None else min(own_low, high)
    return sampling.Guidance(low, max(own_high, low) if high is None else high)


def decode_bytes(num_frames: int, size: tuple[int, int]) -> int:
    """Working memory to decode so many frames at once."""
    return int(DECODE_BYTES_PER_FRAME * num_frames * size[0] * size[1] / FULL_AREA)


def chunk_size_for(total_bytes: int, num_frames: int, size: tuple[int, int]) -> int:
    """As many frames at a time as a device of this size can decode, at least one and at most `num_frames`.

    It is told by the kind of device and not by what happens to be free on it, because it changes pixels: the same
    request on the same kind of device must give the same frames.
    """
    fits = max(0, total_bytes - DECODE_RESERVE_BYTES) // max(1, decode_bytes(1, size))
    return max(1, min(num_frames, fits))


def _size(request: SvdRequest, picture: tuple[int, int], sample_size: int) -> tuple[int, int]:
    shape = pictures.closest_shape(picture) if request.shape == "auto" else request.shape
    return pictures.clip_size(shape, sample_size)


def _spared(thrift: Thrift, asked: int, num_frames: int, chunk_size: int) -> Iterator[Note]:
    """What was done for want of memory, as far as it shows."""
    if thrift.decode_chunk_size is not None:
        yield Note("memory_chunks", {"frames": chunk_size})
    if thrift.offload:
        yield Note("memory_offload")
    if num_frames < asked:
        yield Note("memory_frames", {"frames": num_frames, "asked": asked})


def _notes(request: SvdRequest, weights: Weights, num_frames: int, trained: int) -> Iterator[Note]:
    tuned = weights.facts.get("only_fps", request.fps), weights.facts.get("only_motion", request.motion)
    if tuned != (request.fps, request.motion):
        yield Note("svd_fixed_conditioning", {"fps": request.fps, "motion": request.motion})
    if num_frames > trained:
        yield Note("svd_many_frames", {"model": weights.name, "frames": num_frames, "trained": trained})
