"""AnimateDiff v3 at full size for `gpu.py`: our loop and decoder beside diffusers' pipeline, on the same tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline

from benchmarks.gpu_timing import Marks, Timing, Work, clock, enlivened
from inference.systems.animatediff import sampling
from inference.systems.animatediff.contexts import Windowing
from inference.systems.animatediff.frames import to_pixels
from inference.systems.animatediff.norms import follow_original
from inference.systems.animatediff.samplers import scheduler_for
from jobs.requests.animatediff_modules import MODULES

TOKENS = 77
NUM_FRAMES = 16
SEED = 1
STEP_TFLOP = 35.3
"""One step of version 3 with guidance: 16 frames of 512 × 512, two branches (torch's FlopCounterMode)."""
DECODE_TFLOP = 40.2
"""SD 1.5's decoder on those 16 frames."""
PROFILE = MODULES["v3"]


@dataclass(frozen=True)
class Sizes:
    """Of the networks and the clip."""

    channels: tuple[int, ...]
    context: int
    vae_channels: tuple[int, ...]
    vae_layers: int
    side: int


FULL = Sizes((320, 640, 1280, 1280), 768, (128, 256, 512, 512), 2, 512)
TINY = Sizes((32, 32, 64, 64), 32, (32, 32, 32, 32), 1, 64)


class AnimateDiffBench:
    """The networks and the inputs that both runs share. Words are encoded before the clock starts, in both."""

    def __init__(self, device: torch.device, steps: int, *, full: bool) -> None:
        sizes = FULL if full else TINY
        self.device, self.steps, self.side = device, steps, sizes.side
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        with device:
            unet = UNetMotionModel(
                block_out_channels=sizes.channels,
                cross_attention_dim=sizes.context,
                use_motion_mid_block=False,
            )
            vae = AutoencoderKL(**_vae(sizes))
        self.unet: Any = enlivened(unet, self.dtype)
        self.vae: Any = enlivened(vae, self.dtype)
        with torch.device("meta"):
            plain: Any = UNetMotionModel.from_config(unet.config)
        plain.load_state_dict(unet.state_dict(), assign=True)  # the same tensors, and diffusers' own norms
        self.plain: Any = plain.eval()
        follow_original(self.unet)
        generator = torch.Generator("cpu").manual_seed(SEED)
        shape = (1, TOKENS, sizes.context)
        self.words, self.negative = (torch.randn(shape, generator=generator).to(device, self.dtype) for _ in range(2))

    @property
    def work(self) -> Work:
        """For the table."""
        full = self.side == FULL.side
        size = self.side, self.side
        note = f" Guidance {PROFILE.guidance_scale}, {PROFILE.sampler}; words encoded before."
        return Work("AnimateDiff v3", NUM_FRAMES, size, self.steps, STEP_TFLOP if full else None, DECODE_TFLOP, note)

    def ours(self, steps: int) -> Timing:
        """What `AnimateDiff.render` does, with its networks already resident."""
        start = clock(self.device)
        noise = sampling.starting_noise(SEED, NUM_FRAMES, (self.side, self.side))
        denoiser = sampling.Denoiser(
            self.unet, sampling.Words(self.words, self.negative), PROFILE.guidance_scale, num_steps=steps
        )
        loop = clock(self.device)
        *_, latents = sampling.denoise(
            denoiser.windowed(Windowing()), scheduler_for(PROFILE), noise.to(self.device), steps
        )
        decode = clock(self.device)
        for frame in sampling.decode(self.vae, latents):
            to_pixels(frame)
        end = clock(self.device)
        return Timing("ours (decode 1 at a time)", decode - loop, end - decode, end - start)

    def theirs(self, steps: int) -> Timing:
        """diffusers' pipeline; everything on the device."""
        none: Any = None
        pipeline = AnimateDiffPipeline(self.vae, none, none, self.plain, none, scheduler_for(PROFILE))
        pipeline.set_progress_bar_config(disable=True)
        marks = Marks(self.plain, self.device)
        start = clock(self.device)
        pipeline(
            prompt_embeds=self.words,
            negative_prompt_embeds=self.negative,
            num_frames=NUM_FRAMES,
            width=self.side,
            height=self.side,
            num_inference_steps=steps,
            guidance_scale=PROFILE.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(SEED),
            callback_on_step_end=marks.step_done,  # pyright: ignore[reportArgumentType]
        )
        end = clock(self.device)
        return marks.timing(f"diffusers {diffusers.__version__} (decode 16 at a time)", start, end)


def _vae(sizes: Sizes) -> dict[str, Any]:
    return {
        "block_out_channels": sizes.vae_channels,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": sizes.vae_layers,
    }
