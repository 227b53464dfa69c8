"""One frame in a size and shape of another: filled by cropping, or fitted in over what is beside it."""

from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from media.frames import Frame

Padding = Literal["transparent", "blurred"]


def filled(frame: Frame, width: int, height: int) -> Frame:
    """`frame` `[H, W, C]` scaled until nothing of `width` × `height` stays empty, cut evenly at the sides."""
    return np.asarray(_filled(Image.fromarray(frame), width, height))


def fitted(frame: Frame, width: int, height: int, padding: Padding) -> Frame:
    """`frame` `[H, W, C]` whole within `width` × `height`.

    Beside it is nothing, and then the result is RGBA, or a blurred copy of itself. One of that shape is only scaled.
    """
    picture = Image.fromarray(frame)
    scale = min(width / picture.width, height / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = _resized(picture, *inner)
    if inner == (width, height):
        return np.asarray(small)
    if padding == "transparent":
        ground, small = Image.new("RGBA", (width, height)), small.convert("RGBA")
    else:
        ground = _blurred(picture, width, height)
    ground.paste(small, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return np.asarray(ground)


def with_alpha(frame: Frame) -> Frame:
    """RGBA, opaque where it was RGB."""
    if frame.shape[2] == 4:
        return frame
    return np.concatenate([frame, np.full_like(frame[..., :1], 255)], axis=2)


def _filled(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = max(width / picture.width, height / picture.height)
    across, down = width / scale, height / scale
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    return _resized(picture, width, height, (left, top, left + across, top + down))


def _resized(
    picture: Image.Image, width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Pillow weighs colours by alpha itself."""
    return picture.resize((width, height), Image.Resampling.LANCZOS, box)


def _blurred(picture: Image.Image, width: int, height: int) -> Image.Image:
    """A blurred copy, for what lies beside a fitted picture: made small, where blurring is cheap."""
    small = _filled(picture, max(1, width // 8), max(1, height // 8)).filter(ImageFilter.GaussianBlur(3))
    return small.resize((width, height), Image.Resampling.BICUBIC)
