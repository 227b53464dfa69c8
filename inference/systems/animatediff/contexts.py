"""Clips longer than a motion module has learned to hold: windows of frames that overlap, and how they become one again.

A module knows 16 frames well and 24 or 32 at most. So at every step the UNet sees some frames at a time, and its
predictions are averaged where windows overlap; memory is a window's, however long the clip. The schedules are those of
AnimateDiff-Evolved, whose names they keep. They do not depend on torch's state or on any random number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Window = tuple[int, ...]
"""Frames that are denoised together, in this order."""
Schedule = Literal["looped_uniform", "standard_uniform", "standard_static", "batched", "view_as_context"]
Fusing = Literal["flat", "pyramid", "relative", "delayed_reverse_sawtooth", "overlap-linear"]

FAINT = 0.01
"""AnimateDiff-Evolved's least weight, of `delayed_reverse_sawtooth` and `relative`."""
FAINTEST = 1e-37
"""The least weight of `overlap-linear`: almost nothing, but a frame that has no other is still divided by it."""


@dataclass(frozen=True)
class Windowing:
    """How a clip is cut into windows; the defaults are what AnimateDiff-Evolved recommends."""

    schedule: Schedule = "standard_static"
    length: int = 16
    """Frames of a window."""
    overlap: int = 4
    """Frames that a window shares with the one before."""
    stride: int = 1
    """Of the uniform schedules: how many levels; the windows of level k take every 2^(k-1)-th frame."""
    closed_loop: bool = False
    """Of `looped_uniform`: whether the clip's end is always tied to its beginning."""
    fusing: Fusing = "pyramid"

    def __post_init__(self) -> None:
        """Requests are checked long before; here a wrong number must not become an endless or an empty list."""
        if self.length < 1 or self.stride < 1 or not 0 <= self.overlap < self.length:
            raise ValueError(f"windows of {self.length} frames, overlap {self.overlap}, stride {self.stride}")

    def at(self, num_frames: int, step: int) -> list[Window]:
        """What the UNet sees at a denoising step, counted from 0: the whole clip, where it fits one window.

        A closed loop that fits one begins elsewhere at each step, so that no two frames are always its ends.
        """
        if num_frames > self.length:
            return windows(self, num_frames, step)
        loops = self.closed_loop and self.schedule == "looped_uniform"
        start = round(num_frames * _bit_reversed(step)) if loops else 0
        return [tuple((start + place) % num_frames for place in range(num_frames))]

    def views(self, num_frames: int) -> list[Window]:
        """What a motion module sees of the frames that the UNet sees: windows of them under `view_as_context`.

        Fused by the same weights. The UNet holds the whole clip then, and its memory grows with the clip.
        """
        if self.schedule != "view_as_context" or num_frames <= self.length:
            return [tuple(range(num_frames))]
        return _static(self, num_frames, 0)


NAMED: Mapping[str, Windowing] = {
    "looped_uniform": Windowing("looped_uniform"),
    "standard_uniform": Windowing("standard_uniform"),
    "standard_static": Windowing("standard_static"),
    "batched": Windowing("batched", overlap=0, fusing="flat"),
    "view_as_context": Windowing("view_as_context"),
    # ArtVentureX/comfyui-animatediff knows this one only, and averages plainly.
    "uniform": Windowing("looped_uniform", stride=3, overlap=4, closed_loop=True, fusing="flat"),
}
"""By the names that people know, with the defaults of the node that bears the name."""


def windows(windowing: Windowing, num_frames: int, step: int) -> list[Window]:
    """The windows at a denoising step, counted from 0; every frame is in one of them."""
    return _covering(SCHEDULES[windowing.schedule](windowing, num_frames, step), num_frames, windowing.length)


def _looped_uniform(windowing: Windowing, num_frames: int, step: int) -> list[Window]:
    """Windows that run on from the last frame to the first, elsewhere at each step so that no seam stays in one place.

    At a high level a window may come around and hold a frame twice.
    """
    if num_frames < windowing.length:
        return [tuple(range(num_frames))]
    offset = _bit_reversed(step)
    shift = round(num_frames * offset)
    end = num_frames + shift - (0 if windowing.closed_loop else windowing.overlap)
    placed: list[Window] = []
    for spacing in _spacings(windowing, num_frames):
        advance = windowing.length * spacing - windowing.overlap
        for start in range(int(offset * spacing) + shift, end, advance):
            reach = range(start, start + windowing.length * spacing, spacing)
            placed.append(tuple(frame % num_frames for frame in reach))
    return placed


def _standard_uniform(windowing: Windowing, num_frames: int, step: int) -> list[Window]:
    """The same, but what would run over the end is moved back to end with the clip, and what it leaves is made up for.

    AnimateDiff-Evolved also moves windows that are longer than the clip; they then point beyond it. Here such a level
    is left out.
    """
    if num_frames <= windowing.length:
        return [tuple(range(num_frames))]
    levels = [spacing for spacing in _spacings(windowing, num_frames) if (windowing.length - 1) * spacing < num_frames]
    looped = Windowing("looped_uniform", windowing.length, windowing.overlap, len(levels))
    placed = _looped_uniform(looped, num_frames, step)
    index = 0
    while index < len(placed):
        window = placed[index]
        again = next((frame for before, frame in pairwise(window) if frame < before), None)
        if again is not None:
            spacing = (window[1] - window[0]) % num_frames
            placed[index] = tuple(range(num_frames - 1 - (windowing.length - 1) * spacing, num_frames, spacing))
            if again not in placed[(index + 1) % len(placed)]:
                placed.insert(index + 1, tuple(range(again, again + windowing.length)))
        index += 1
    return list(dict.fromkeys(placed))


def _static(windowing: Windowing, num_frames: int, step: int) -> list[Window]:
    """The same windows at each step; the last one is moved back to end with the clip."""
    length = windowing.length
    if num_frames <= length:
        return [tuple(range(num_frames))]
    last = num_frames - length
    starts = [*range(0, last, length - windowing.overlap), last]
    return [tuple(range(start, start + length)) for start in starts]


def _batched(windowing: Windowing, num_frames: int, step: int) -> list[Window]:
    """One after another without overlap: the cheapest, with a seam after each."""
    frames = range(num_frames)
    return [tuple(frames[start : start + windowing.length]) for start in range(0, num_frames, windowing.length)]


def _whole(windowing: Windowing, num_frames: int, step: int) -> list[Window]:
    """All frames at once; only the motion modules look at windows (`Windowing.views`)."""
    return [tuple(range(num_frames))]


SCHEDULES: Mapping[Schedule, Callable[[Windowing, int, int], list[Window]]] = {
    "looped_uniform": _looped_uniform,
    "standard_uniform": _standard_uniform,
    "standard_static": _static,
    "batched": _batched,
    "view_as_context": _whole,
}


def _spacings(windowing: Windowing, num_frames: int) -> list[int]:
    """1, 2, 4 …: no level more than it takes for one window to reach over the whole clip."""
    useful = math.ceil(math.log2(num_frames / windowing.length)) + 1
    return [1 << level for level in range(min(windowing.stride, useful))]


def _bit_reversed(step: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8 …: always far from where it was."""
    return int(f"{step:064b}"[::-1], 2) / (1 << 64)


def _covering(placed: list[Window], num_frames: int, length: int) -> list[Window]:
    """With further windows for what is left out.

    `standard_uniform` forgets the first frames where its last window runs over and one of the next level follows;
    AnimateDiff-Evolved then divides by a weight of 0.
    """
    seen = {frame for window in placed for frame in window}
    for frame in range(num_frames):
        if frame not in seen:
            start = min(frame, num_frames - length)
            placed.append(tuple(range(start, start + length)))
            seen.update(placed[-1])
    return placed


def weights(fusing: Fusing, window: Window, num_frames: int, overlap: int) -> Tensor:
    """How much each frame of a window counts where it overlaps others: `[length]` float32, all above 0."""
    length = len(window)
    positions = torch.arange(length, dtype=torch.float32)
    pyramid = torch.minimum(positions + 1, length - positions)
    if fusing == "flat":
        return torch.ones(length)
    if fusing == "pyramid":
        return pyramid
    if fusing == "delayed_reverse_sawtooth":
        # Of an odd length AnimateDiff-Evolved makes one weight too many, and fails; here the first faint one is gone.
        return torch.where(positions < (length - 1) // 2, FAINT, pyramid)
    if fusing == "overlap-linear":
        return _overlap_linear(window, num_frames, overlap)
    return _relative(window, num_frames)


def _overlap_linear(window: Window, num_frames: int, overlap: int) -> Tensor:
    """Ramps where another window follows or went before, and 1 between them; a window that loops has none."""
    linear = torch.ones(len(window))
    overlap = min(overlap, len(window))  # the last of `batched` may be shorter than any
    if overlap and min(window) > 0:
        linear[:overlap] = torch.linspace(FAINTEST, 1, overlap)
    if overlap and max(window) < num_frames - 1:
        linear[-overlap:] = torch.linspace(1, FAINTEST, overlap)
    return linear


def _relative(window: Window, num_frames: int) -> Tensor:
    """1 in the middle, falling to almost nothing at both ends.

    By the distance within the window. AnimateDiff-Evolved takes the frames' numbers, by which the ends of a window that
    loops count most; elsewhere both are the same.
    """
    spacing = (window[1] - window[0]) % num_frames if len(window) > 1 else 1
    reach = (len(window) - 1) * spacing
    places = torch.arange(len(window), dtype=torch.float64) * spacing
    return (1 - (places - reach / 2).abs() / ((reach + FAINT) / 2)).clamp(min=FAINT).float()


def shares(windowing: Windowing, placed: Sequence[Window], num_frames: int) -> list[list[float]]:
    """Weights, divided so that each frame's come to 1 over all windows; known before anything is predicted."""
    weighed = [weights(windowing.fusing, window, num_frames, windowing.overlap).tolist() for window in placed]
    total = [0.0] * num_frames
    for window, weight in zip(placed, weighed, strict=True):
        for frame, part in zip(window, weight, strict=True):
            total[frame] += part
    return [
        [part / total[frame] for frame, part in zip(window, weight, strict=True)]
        for window, weight in zip(placed, weighed, strict=True)
    ]


def fuse(windowing: Windowing, placed: Sequence[Window], num_frames: int, parts: Iterable[Tensor], dim: int) -> Tensor:
    """One prediction for all frames, float32, from one for each window.

    Args:
        windowing: whose weights count.
        placed: the windows, which together hold every frame.
        num_frames: of the clip.
        parts: in the windows' order, of any shape with the window's frames along `dim`; may be predicted one by one
            as they are asked for, so that one alone takes up memory.
        dim: where the frames are.
    """
    whole: Tensor | None = None
    for window, share, part in zip(placed, shares(windowing, placed, num_frames), parts, strict=True):
        if whole is None:
            shape = list(part.shape)
            shape[dim] = num_frames
            whole = part.new_zeros(shape, dtype=torch.float32)
        # Frame by frame, for a window may hold one twice, and added up in one order it comes out the same every time.
        for place, (frame, weight) in enumerate(zip(window, share, strict=True)):
            whole.select(dim, frame).add_(part.select(dim, place).float(), alpha=weight)
    if whole is None:
        raise ValueError("no window, so nothing to fuse")
    return whole
