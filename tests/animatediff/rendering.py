"""Small requests for AnimateDiff's systems, and the frames that come of them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.systems.animatediff.system import AnimateDiff
from inference.systems.base import Clip, Sources, Thrift
from jobs.requests.animatediff import AnimateDiffRequest

CPU = torch.device("cpu")
Frames = NDArray[np.uint8]
STYLES = {"toonyou": "checkpoints/toonyou_beta6.safetensors", "dreams": "checkpoints/dreams"}
LORAS = {
    "ghibli": "loras/ghibli_style.safetensors",
    "words": "loras/words.safetensors",
    "sdxl-detail": "loras/detail-xl.safetensors",
}


def untold(stage: str, step: int, total: int) -> None:
    """A tick that nobody watches."""


def picture(hue: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A square on a ground."""
    pixels = np.full((size[1], size[0], 3), (hue, 255 - hue, 120), np.uint8)
    pixels[20:44, 30:60] = (255 - hue, hue, 20)
    return Image.fromarray(pixels)


PICTURES = {"image": picture(20), "last": picture(220), "look": picture(120), "picture_1": picture(90)}


def request(**fields: Any) -> AnimateDiffRequest:
    """Quick: two steps without guidance, four frames."""
    size: dict[str, Any] = {"num_frames": 4, "width": 128, "height": 128}
    usual: dict[str, Any] = {"prompt": "a red cat", "seed": 5, "module": "lightning-2", **size}
    return AnimateDiffRequest(**{**usual, **fields})


def pinned(**fields: Any) -> AnimateDiffRequest:
    """Version 3, with the fewest steps it takes."""
    return request(**{"module": "v3", "num_inference_steps": 5, "num_frames": 3, **fields})


def render(room: AnimateDiff, asked: AnimateDiffRequest, thrift: Thrift | None = None) -> Frames:
    sources = Sources({name: PICTURES[name] for _, name, kind in asked.named() if kind == "image"})
    with torch.inference_mode():
        return frames_of(room.render(asked, sources, untold, thrift or Thrift()))


def frames_of(clip: Clip) -> Frames:
    frames = np.stack(list(clip.frames))
    assert frames.shape == (clip.num_frames, clip.height, clip.width, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 10, "no flat picture"
    return frames
