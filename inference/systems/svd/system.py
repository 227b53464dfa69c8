"""Stable Video Diffusion (Blattmann et al. 2023): one picture becomes 14 or 25 frames. Facts and traps: README.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from torch import Tensor, nn

from inference.residency import GIGABYTE, Resident, device_bytes
from inference.systems.base import Clip, Frame, Place, Sources, System, Tick
from inference.systems.svd import errors, pictures, sampling
from inference.systems.svd.loader import Checkpoint, NetworkName, follow_original, open_checkpoint
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


class StableVideoDiffusion(System[SvdRequest]):
    """Every published SVD checkpoint; `request.model` says which, else the first that is offered and installed."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.faithful = bool(place.options.get("faithful", True))
        self._checkpoints: dict[str, Checkpoint] = {}

    def render(self, request: SvdRequest, sources: Sources, tick: Tick) -> Clip:
        """Denoise now; decode as the clip's frames are read."""
        weights = choose(request, self.place)
        checkpoint = self._open(weights)
        size = _size(request, sources.image(request.image).size, checkpoint.sample_size)
        num_frames = request.num_frames or checkpoint.num_frames
        latents = self._latents(request, weights, self._framed(request, sources, size), num_frames, tick)
        return Clip(
            width=size[0],
            height=size[1],
            num_frames=num_frames,
            fps=Fraction(request.fps),
            frames=self._frames(checkpoint, latents, size, tick),
            notes=tuple(_notes(request, weights, num_frames, checkpoint.num_frames)),
            facts={"model": weights.name},
        )

    def _open(self, weights: Weights) -> Checkpoint:
        if weights.name not in self._checkpoints:
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

    def _latents(self, request: SvdRequest, weights: Weights, picture: Tensor, num_frames: int, tick: Tick) -> Tensor:
        """The denoised clip, `[1, T, 4, H/8, W/8]`."""
        checkpoint = self._open(weights)
        height, width = picture.shape[-2:]
        noise = sampling.starting_noise(request.seed, num_frames, (width, height))
        conditioning = self._conditioning(request, checkpoint, picture, noise.augmentation, tick)
        unet = self._resident(checkpoint, "unet")
        tick("loading", 3, 3)
        latents, steps = noise.latents, request.num_inference_steps
        area = num_frames * width * height / (25 * FULL_AREA)
        with self.place.residency.on_device(unet, int(UNET_WORKING_BYTES * area)) as network:
            guidance = guidance_of(request, weights)
            passes = sampling.denoise(network, checkpoint.scheduler(), latents, conditioning, guidance, steps)
            for step, latents in enumerate(passes, start=1):  # noqa: B007 - the last ones are the clip's
                tick("denoising", step, steps)
        return latents

    def _conditioning(
        self, request: SvdRequest, checkpoint: Checkpoint, picture: Tensor, noise: Tensor, tick: Tick
    ) -> sampling.Conditioning:
        residency = self.place.residency
        encoder = self._resident(checkpoint, "image_encoder")
        tick("loading", 1, 3)
        with residency.on_device(encoder) as network:
            embedding = sampling.embed_picture(network, picture)
        vae = self._resident(checkpoint, "vae")
        tick("loading", 2, 3)
        working = decode_bytes(1, (picture.shape[-1], picture.shape[-2]))
        with residency.on_device(vae, working) as network:
            latents = sampling.encode_picture(network, picture, noise, request.noise_aug_strength)
        # The original takes the fps id itself; diffusers takes a rate and tells the network one less.
        fps_id = request.fps if self.faithful else request.fps - 1
        return sampling.Conditioning(embedding, latents, fps_id, request.motion, request.noise_aug_strength)

    def _frames(self, checkpoint: Checkpoint, latents: Tensor, size: tuple[int, int], tick: Tick) -> Iterator[Frame]:
        total = latents.shape[1]
        chunk_size = self._chunk_size(total, size)
        vae: Resident[AutoencoderKLTemporalDecoder] = self._resident(checkpoint, "vae")
        done = 0
        with self.place.residency.on_device(vae, decode_bytes(chunk_size, size)) as network:
            tick("decoding", done, total)
            for chunk in sampling.decode(network, latents, chunk_size):
                done += len(chunk)
                tick("decoding", done, total)
                yield from cast("Sequence[Frame]", sampling.to_pixels(chunk, rounded=not self.faithful))

    def _chunk_size(self, num_frames: int, size: tuple[int, int]) -> int:
        wanted = DECODING_T if self.faithful else num_frames
        return chunk_size_for(device_bytes(self.place.device), min(wanted, num_frames), size)


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


def _notes(request: SvdRequest, weights: Weights, num_frames: int, trained: int) -> Iterator[Note]:
    tuned = weights.facts.get("only_fps", request.fps), weights.facts.get("only_motion", request.motion)
    if tuned != (request.fps, request.motion):
        yield Note("svd_fixed_conditioning", {"fps": request.fps, "motion": request.motion})
    if num_frames > trained:
        yield Note("svd_many_frames", {"model": weights.name, "frames": num_frames, "trained": trained})
