"""Small requests for Stable Video Diffusion, and the frames that come of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.residency import Residency
from inference.systems.base import Clip, Place, Sources
from inference.systems.svd.system import StableVideoDiffusion
from jobs.requests.svd import SvdRequest

CPU = torch.device("cpu")
Frames = NDArray[np.uint8]


def system(models: Path, **options: Any) -> StableVideoDiffusion:
    return StableVideoDiffusion(Place(models, CPU, torch.float32, Residency(CPU), options))


def picture(width: int = 160, height: int = 90) -> Image.Image:
    """Coarse colours: something for the networks to see."""
    colours = np.random.default_rng(7).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def request(**fields: Any) -> SvdRequest:
    return SvdRequest(**{"seed": 5, "num_frames": 4, "num_inference_steps": 2, **fields})


def untold(stage: str, step: int, total: int) -> None:
    """A tick that nobody watches."""


def render(room: StableVideoDiffusion, asked: SvdRequest, still: Image.Image | None = None) -> Frames:
    return frames_of(room.render(asked, Sources({"image": still or picture()}), untold))


def frames_of(clip: Clip) -> Frames:
    frames = np.stack(list(clip.frames))
    assert frames.shape == (clip.num_frames, clip.height, clip.width, 3)
    assert frames.dtype == np.uint8
    return frames
