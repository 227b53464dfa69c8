"""How fast SVD-XT runs on this card, ours beside diffusers' own pipeline, and how much of the card that uses.

    python -m benchmarks.gpu >> benchmarks/RESULTS.md     # full size, random weights, needs CUDA
    python -m benchmarks.gpu --tiny                       # a toy on the CPU: proves the script, measures nothing

Speed does not depend on what the weights are, so they are random and nothing has to be downloaded. Both runs use the
same networks, one after the other in one process, each once to warm up and once for the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import diffusers
import numpy as np
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from inference.residency import GIGABYTE, device_bytes
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


@dataclass
class Timing:
    """One run."""

    name: str
    loop_seconds: float
    decode_seconds: float
    total_seconds: float
    peak_bytes: int


class Bench:
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
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.data.normal_(std=fan_in**-0.5)
        return network.to(self.dtype).eval()

    def clock(self) -> float:
        """Seconds, once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def ours(self) -> Timing:
        """What `StableVideoDiffusion.render` does, with its networks already resident."""
        follow_original(self.unet)
        self.vae.float()
        start = self.clock()
        still = pictures.to_tensor(self.picture)
        noise = sampling.starting_noise(1, NUM_FRAMES, self.size)
        embedding = sampling.embed_picture(self.image_encoder, still)
        beside = sampling.encode_picture(self.vae, still, noise.augmentation, 0.02)
        conditioning = sampling.Conditioning(embedding, beside, 6, 127, 0.02)
        scheduler, guidance = scheduler_of(SCHEDULER), sampling.Guidance(1.5, 3.0)
        loop = self.clock()
        *_, latents = sampling.denoise(self.unet, scheduler, noise.latents, conditioning, guidance, self.steps)
        decode = self.clock()
        chunk_size = chunk_size_for(device_bytes(self.device), DECODING_T, self.size)
        for chunk in sampling.decode(self.vae, latents, chunk_size):
            sampling.to_pixels(chunk, rounded=False)
        end = self.clock()
        return Timing(f"ours (decode {chunk_size} at a time, float32)", decode - loop, end - decode, end - start, 0)

    def theirs(self) -> Timing:
        """diffusers' pipeline, called as its page shows it; everything on the device."""
        self.vae.to(self.dtype)
        pipeline = StableVideoDiffusionPipeline(
            self.vae, self.image_encoder, self.unet, scheduler_of(SCHEDULER), cast(Any, CLIPImageProcessorPil())
        )
        pipeline.set_progress_bar_config(disable=True)
        marks: list[float] = []
        first = self.unet.register_forward_pre_hook(lambda *_: marks.append(self.clock()))

        def step_done(_: Any, __: int, ___: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            marks.append(self.clock())
            return kwargs

        start = self.clock()
        pipeline(
            self.picture,
            width=self.size[0],
            height=self.size[1],
            num_frames=NUM_FRAMES,
            num_inference_steps=self.steps,
            min_guidance_scale=1.5,
            max_guidance_scale=3.0,
            decode_chunk_size=DECODING_T,
            generator=torch.Generator("cpu").manual_seed(1),
            callback_on_step_end=cast(Any, step_done),
        )
        end = self.clock()
        first.remove()
        precision = str(self.dtype).removeprefix("torch.")
        name = f"diffusers {diffusers.__version__} (decode {DECODING_T} at a time, {precision})"
        return Timing(name, marks[-1] - marks[0], end - marks[-1], end - start, 0)

    def measure(self, run: Callable[[], Timing], warm_up: bool) -> Timing:
        """Once to warm up, once for the clock and the peak."""
        if warm_up:
            steps, self.steps = self.steps, 2
            run()
            self.steps = steps
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        timing = run()
        if self.device.type == "cuda":
            timing.peak_bytes = torch.cuda.max_memory_allocated(self.device)
        return timing


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """TFLOP/s of one large square matrix product: what this card can do at best, as measured here."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(5):
        repeats = 10
        _wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            torch.mm(left, right)
        _wait(device)
        best = max(best, 2 * side**3 * repeats / (time.perf_counter() - start) / 1e12)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(bench: Bench, timings: list[Timing], rate: float) -> str:
    """Markdown, to be appended to RESULTS.md."""
    cuda = bench.device.type == "cuda"
    card = torch.cuda.get_device_name(bench.device) if cuda else "CPU (a toy: these are no results)"
    width, height = bench.size
    lines = [
        f"## SVD-XT on {card}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{NUM_FRAMES} frames of {width} × {height}, {bench.steps} steps, guidance on; torch {torch.__version__};"
        f" random weights. One large matrix product in the UNet's type runs at {rate:.4g} TFLOP/s here.",
        "",
        "| run | UNet loop s | decode s | total s | peak GB | UNet TFLOP/s | share of that rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for timing in timings:
        reached = STEP_TFLOP * bench.steps / timing.loop_seconds if bench.full else None
        achieved = "– | –" if reached is None else f"{reached:.0f} | {reached / rate:.0%}"
        peak = f"{timing.peak_bytes / GIGABYTE:.1f}" if cuda else "–"
        lines.append(
            f"| {timing.name} | {timing.loop_seconds:.2f} | {timing.decode_seconds:.2f} | {timing.total_seconds:.2f}"
            f" | {peak} | {achieved} |"
        )
    if bench.full:
        rates = ", ".join(f"{DECODE_TFLOP / timing.decode_seconds:.0f}" for timing in timings)
        lines += ["", f"Decode, TFLOP/s in the same order: {rates}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="SVD-XT on this card, beside plain diffusers")
    parser.add_argument("--tiny", action="store_true", help="a toy on the CPU, to prove the script")
    parser.add_argument("--steps", type=int, default=None, help="denoising steps (25; tiny: 2)")
    asked = parser.parse_args()
    if not asked.tiny and not torch.cuda.is_available():
        print("This benchmark needs a CUDA card and found none; `--tiny` runs a toy of it on the CPU.")
        return
    device = torch.device("cpu" if asked.tiny else "cuda")
    bench = Bench(TINY if asked.tiny else FULL, device, asked.steps or (2 if asked.tiny else 25))
    with torch.inference_mode():
        timings = [bench.measure(run, warm_up=not asked.tiny) for run in (bench.ours, bench.theirs)]
        rate = matmul_rate(device, bench.dtype, side=256 if asked.tiny else 8192)
    print(table(bench, timings, rate))


if __name__ == "__main__":
    main()
