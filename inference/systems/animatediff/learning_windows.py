"""From a clip to what is learned from: some of its frames, small, as latents.

Every n-th frame is taken, so that a window of 16 lasts about as long as the clips that AnimateDiff makes: 2 s at 8
frames a second, as in its training (every 4th frame of films with about 30). A longer clip has several windows, which
share their frames; each step of learning looks at one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from inference.systems.animatediff.learning_errors import LearningClipTooShort
from inference.systems.animatediff.sparsectrl import encode_pictures
from media.passes import over_white

LEAST_FRAMES = 8
"""In fewer than these, motion modules hardly move anything."""
MOST_FRAMES = 128
"""Of one clip, after leaving out: 16 s at 8 a second. What comes later is not looked at."""
WIDEST = 2.5
"""As wide for its height a clip may be; from others the ends are cut off."""


class Frames(Protocol):
    """A decoded clip, such as `media.frames.FrameSpool` or an array `[T, H, W, 3]`."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """`[H, W, 3]`, RGB; what a fourth channel lets through is seen as white."""
        ...


@dataclass(frozen=True)
class Chosen:
    """Which of a clip's frames are learned from."""

    indices: tuple[int, ...]
    every: int
    """The n of every n-th."""
    window: int
    """How many of them are looked at together."""

    @property
    def num_windows(self) -> int:
        """A window may begin with any frame that has enough behind it."""
        return len(self.indices) - self.window + 1


def choose(num_frames: int, fps: Fraction | float, seconds: float = 2.0, window: int = 16) -> Chosen:
    """Every n-th frame, so that a window lasts about as long as asked for; in a shorter clip, as long as that lasts.

    Args:
        num_frames: of the clip.
        fps: of the clip.
        seconds: that a window should last, 1 … 8: slow motions need more.
        window: frames, at most what the motion module has positions for.

    Raises:
        LearningClipTooShort: fewer than 8 frames.
    """
    if min(num_frames, window) < LEAST_FRAMES:
        raise LearningClipTooShort(frames=num_frames, least=LEAST_FRAMES)
    wanted = max(1, round(float(fps) * seconds / window))
    every = min(wanted, max(1, (num_frames - 1) // (window - 1)))
    indices = tuple(range(0, num_frames, every))[:MOST_FRAMES]
    return Chosen(indices, every, min(window, len(indices)))


def learning_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height in pixels, in the clip's own shape, with no larger area than a square of this side.

    Args:
        width: of the clip.
        height: of the clip.
        side: 256 … 384; more is learned from more, and takes more memory and time.
    """
    stretch = math.sqrt(min(max(width / height, 1 / WIDEST), WIDEST))
    across, down = (max(8, int(length / 8 + 1e-6) * 8) for length in (side * stretch, side / stretch))
    return across, down


def encode(
    vae: AutoencoderKL, frames: Frames, indices: tuple[int, ...], size: tuple[int, int], seed: int
) -> Iterator[Tensor]:
    """Latents frame by frame, `[1, C, 1, h, w]` float32 on the CPU: samples of the posterior, scaled.

    Joined along the third axis they are what `Learning` wants. Asked for one by one, so that a cancel takes effect.

    Args:
        vae: the image model's, on its device.
        frames: the clip's.
        indices: `Chosen.indices`.
        size: width and height in pixels.
        seed: the request's.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    for index in indices:
        picture = ImageOps.fit(Image.fromarray(over_white(frames[index])), size, Image.Resampling.LANCZOS)
        values = torch.from_numpy(np.asarray(picture, dtype=np.float32)[None] / 127.5 - 1).permute(0, 3, 1, 2)
        yield encode_pictures(vae, values, generator).float().cpu()
