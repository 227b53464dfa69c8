"""What the benchmarks on a card share: a clock that waits for it, its peak of memory, its best rate, and the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from inference.residency import GIGABYTE


@dataclass
class Timing:
    """One run."""

    name: str
    loop_seconds: float
    decode_seconds: float
    total_seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class Work:
    """What both runs do."""

    system: str
    num_frames: int
    size: tuple[int, int]
    steps: int
    step_tflop: float | None
    """Of one step with guidance; None for a toy."""
    decode_tflop: float
    note: str = ""


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measured(run: Callable[[int], Timing], steps: int, device: torch.device, *, warm_up: bool) -> Timing:
    """Two steps to warm up, then once for the clock and the peak."""
    if warm_up:
        run(2)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    timing = run(steps)
    if device.type == "cuda":
        timing.peak_bytes = torch.cuda.max_memory_allocated(device)
    return timing


class Marks:
    """When diffusers' pipeline began its loop, and when each step of it was done."""

    def __init__(self, unet: nn.Module, device: torch.device) -> None:
        self.times: list[float] = []
        self.device = device
        self._first = unet.register_forward_pre_hook(self._begun)

    def _begun(self, *_: object) -> None:
        self._first.remove()
        self.times.append(clock(self.device))

    def step_done(self, _: Any, __: int, ___: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """For `callback_on_step_end`."""
        self.times.append(clock(self.device))
        return kwargs

    def timing(self, name: str, start: float, end: float) -> Timing:
        """Of a call from `start` to `end`."""
        return Timing(name, self.times[-1] - self.times[0], end - self.times[-1], end - start)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """TFLOP/s of one large square matrix product: what this card can do at best, as measured here."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(5):
        repeats = 10
        start = clock(device)
        for _ in range(repeats):
            torch.mm(left, right)
        best = max(best, 2 * side**3 * repeats / (clock(device) - start) / 1e12)
    return best


def enlivened(network: nn.Module, dtype: torch.dtype) -> Any:
    """With random numbers of about unit gain."""
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data.normal_(std=fan_in**-0.5)
    return network.to(dtype).eval()


def table(work: Work, timings: Sequence[Timing], rate: float, device: torch.device) -> str:
    """Markdown, to be appended to RESULTS.md."""
    cuda = device.type == "cuda"
    card = torch.cuda.get_device_name(device) if cuda else "CPU (a toy: these are no results)"
    width, height = work.size
    lines = [
        f"## {work.system} on {card}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{work.num_frames} frames of {width} × {height}, {work.steps} steps, guidance on; torch {torch.__version__};"
        f" random weights. One large matrix product in the UNet's type runs at {rate:.4g} TFLOP/s here.{work.note}",
        "",
        "| run | UNet loop s | decode s | total s | peak GB | UNet TFLOP/s | share of that rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for timing in timings:
        achieved = "– | –"
        if work.step_tflop is not None:
            reached = work.step_tflop * work.steps / timing.loop_seconds
            achieved = f"{reached:.0f} | {reached / rate:.0%}"
        peak = f"{timing.peak_bytes / GIGABYTE:.1f}" if cuda else "–"
        lines.append(
            f"| {timing.name} | {timing.loop_seconds:.2f} | {timing.decode_seconds:.2f} | {timing.total_seconds:.2f}"
            f" | {peak} | {achieved} |"
        )
    if work.step_tflop is not None:
        rates = ", ".join(f"{work.decode_tflop / timing.decode_seconds:.0f}" for timing in timings)
        lines += ["", f"Decode, TFLOP/s in the same order: {rates}."]
    return "\n".join(lines) + "\n"
