"""How fast SVD-XT and AnimateDiff v3 run on this card, beside diffusers' own pipelines, and how much of it they use.

    python -m benchmarks.gpu >> benchmarks/RESULTS.md     # full size, random weights, needs CUDA
    python -m benchmarks.gpu --only animatediff           # one of the two
    python -m benchmarks.gpu --tiny                       # a toy on the CPU: proves the script, measures nothing

Speed does not depend on what the weights are, so they are random and nothing has to be downloaded. Both runs use the
same networks, one after the other in one process, each once to warm up and once for the clock.
"""

from __future__ import annotations

import argparse
import gc
from typing import Any, cast

import diffusers
import numpy as np
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.gpu_animatediff import AnimateDiffBench
from benchmarks.gpu_timing import Marks, Timing, Work, clock, enlivened, matmul_rate, measured, table
from inference.residency import device_bytes
from inference.systems.svd import pictures, sampling
from inference.systems.svd.architecture import Architecture, ClipSizes, UNetSizes, VaeSizes
from inference.systems.svd.loader import (
    BUILD,
    SCHEDULER,
    NetworkName,
    configs_of,
    follow_original,
    scheduler_of,
)
from inference.systems.svd.system import DECODING_T, chunk_size_for

FULL = Architecture(
    unet=UNetSizes((320, 640, 1280, 1280), (True, True, True, False), 2, 1, 1024, 8, 4, 768),
    vae=VaeSizes((128, 256, 512, 512), 2, 4),
    clip=ClipSizes(1280, 32, 5120, 14, 224, 1024),
)
TINY = Architecture(
    unet=UNetSizes((64, 64), (True, False), 1, 1, 32, 8, 4, 96),
    vae=VaeSizes((32, 32, 32, 32), 1, 4),
    clip=ClipSizes(80, 2, 160, 32, 224, 32),
    sample_size=12,
)
STEP_TFLOP = 159.9
"""One step of SVD-XT with guidance: 25 frames of 1024 × 576, two branches (torch's FlopCounterMode)."""
DECODE_TFLOP = 173.6
"""The temporal decoder on those 25 frames."""
NUM_FRAMES = 25


class SvdBench:
    """The networks and the inputs that both runs share."""

    def __init__(self, architecture: Architecture, device: torch.device, steps: int) -> None:
        self.device, self.steps = device, steps
        self.full = architecture is FULL
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        configs = configs_of(architecture, NUM_FRAMES)
        self.unet: Any = self._random("unet", configs["unet"])
        self.vae: Any = self._random("vae", configs["vae"])
        self.image_encoder: Any = self._random("image_encoder", configs["image_encoder"])
        self.size = pictures.clip_size("landscape", architecture.sample_size)
        colours = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
        self.picture = Image.fromarray(colours).resize(self.size)

    def _random(self, name: NetworkName, config: dict[str, Any]) -> torch.nn.Module:
        network = BUILD[name](config).to_empty(device=self.device)
        if name == "image_encoder":
            embeddings = cast(Any, network).vision_model.embeddings
            embeddings.position_ids[0] = torch.arange(embeddings.num_positions)
        return enlivened(network, self.dtype)

    @property
    def work(self) -> Work:
        """For the table."""
        return Work("SVD-XT", NUM_FRAMES, self.size, self.steps, STEP_TFLOP if self.full else None, DECODE_TFLOP)

    def ours(self, steps: int) -> Timing:
        """What `StableVideoDiffusion.render` does, with its networks already resident."""
        follow_original(self.unet)
        self.vae.float()
        start = clock(self.device)
        still = pictures.to_tensor(self.picture)
        noise = sampling.starting_noise(1, NUM_FRAMES, self.size)
        embedding = sampling.embed_picture(self.image_encoder, still)
        beside = sampling.encode_picture(self.vae, still, noise.augmentation, 0.02)
        conditioning = sampling.Conditioning(embedding, beside, 6, 127, 0.02)
        scheduler, guidance = scheduler_of(SCHEDULER), sampling.Guidance(1.5, 3.0)
        loop = clock(self.device)
        *_, latents = sampling.denoise(self.unet, scheduler, noise.latents, conditioning, guidance, steps)
        decode = clock(self.device)
        chunk_size = chunk_size_for(device_bytes(self.device), DECODING_T, self.size)
        for chunk in sampling.decode(self.vae, latents, chunk_size):
            sampling.to_pixels(chunk, rounded=False)
        end = clock(self.device)
        return Timing(f"ours (decode {chunk_size} at a time, float32)", decode - loop, end - decode, end - start)

    def theirs(self, steps: int) -> Timing:
        """diffusers' pipeline, called as its page shows it; everything on the device."""
        self.vae.to(self.dtype)
        pipeline = StableVideoDiffusionPipeline(
            self.vae, self.image_encoder, self.unet, scheduler_of(SCHEDULER), cast(Any, CLIPImageProcessorPil())
        )
        pipeline.set_progress_bar_config(disable=True)
        marks = Marks(self.unet, self.device)
        start = clock(self.device)
        pipeline(
            self.picture,
            width=self.size[0],
            height=self.size[1],
            num_frames=NUM_FRAMES,
            num_inference_steps=steps,
            min_guidance_scale=1.5,
            max_guidance_scale=3.0,
            decode_chunk_size=DECODING_T,
            generator=torch.Generator("cpu").manual_seed(1),
            callback_on_step_end=cast(Any, marks.step_done),
        )
        end = clock(self.device)
        precision = str(self.dtype).removeprefix("torch.")
        name = f"diffusers {diffusers.__version__} (decode {DECODING_T} at a time, {precision})"
        return marks.timing(name, start, end)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="SVD-XT and AnimateDiff v3 on this card, beside plain diffusers")
    parser.add_argument("--tiny", action="store_true", help="a toy on the CPU, to prove the script")
    parser.add_argument("--only", choices=("svd", "animatediff"), help="one of the two")
    parser.add_argument("--steps", type=int, default=None, help="denoising steps (25; tiny: 2)")
    asked = parser.parse_args()
    if not asked.tiny and not torch.cuda.is_available():
        print("This benchmark needs a CUDA card and found none; `--tiny` runs a toy of it on the CPU.")
        return
    device = torch.device("cpu" if asked.tiny else "cuda")
    steps = asked.steps or (2 if asked.tiny else 25)
    rate: float | None = None
    for name in [asked.only] if asked.only else ["svd", "animatediff"]:
        bench: SvdBench | AnimateDiffBench
        with torch.inference_mode():
            if name == "svd":
                bench = SvdBench(TINY if asked.tiny else FULL, device, steps)
            else:
                bench = AnimateDiffBench(device, steps, full=not asked.tiny)
            runs = bench.ours, bench.theirs
            timings = [measured(run, steps, device, warm_up=not asked.tiny) for run in runs]
            rate = rate or matmul_rate(device, bench.dtype, side=256 if asked.tiny else 8192)
        print(table(bench.work, timings, rate, device), flush=True)
        del bench, runs  # both would not fit on a small card
        gc.collect()


if __name__ == "__main__":
    main()
