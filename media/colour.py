"""Any picture mode that Pillow decodes, brought to 8-bit sRGB over white."""

import struct
from functools import cache
from io import BytesIO
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 2**20
"""Printers' CMYK profiles are half a MiB to 3 MiB; anything larger is not a profile."""

_SPACE_OF_MODE = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}
"""What stands at byte 16 of an ICC profile (ICC.1:2022, 7.2.1) for pixels of each mode."""


def plain_mode(picture: Image.Image) -> Image.Image:
    """The same picture as 8-bit `L`, `LA`, `RGB`, `RGBA` or `CMYK`: the modes that can be scaled and colour-managed."""
    if picture.mode.startswith("I;16"):
        # Pillow clips 16 bits to 8; the upper byte is what libpng keeps too, and needs no wide copy.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in {"I", "F"}:
        return Image.fromarray((np.clip(np.asarray(picture), 0, 65535).astype(np.uint16) >> 8).astype(np.uint8))
    if "transparency" in picture.info and picture.mode in {"1", "L", "P", "RGB"}:
        return picture.convert("RGBA")
    if picture.mode in {"L", "LA", "RGB", "RGBA", "CMYK"}:
        return picture
    return picture.convert({"1": "L", "PA": "RGBA", "La": "LA"}.get(picture.mode, "RGB"))


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """An `RGB` picture over white, converted with its own ICC profile where it has a sane one.

    Transparent pixels show white, as they do on paper: black would turn many a logo into a blot.
    """
    managed = to_srgb_with_alpha(picture, profile)
    if managed.mode == "RGB":
        return managed
    over = Image.new("RGB", picture.size, "white")
    over.paste(managed.convert("RGB"), mask=managed.getchannel("A"))
    return over


def to_srgb_with_alpha(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """An `RGB` picture, or an `RGBA` one whose alpha is what it was, its colours converted as by `to_srgb`."""
    if picture.mode not in {"LA", "RGBA"}:
        return _managed(picture, profile)
    managed = _managed(picture.convert(picture.mode[:-1]), profile)
    managed.putalpha(picture.getchannel("A"))
    return managed


def _managed(picture: Image.Image, profile: bytes | None) -> Image.Image:
    return (_through_profile(picture, profile) if profile else None) or picture.convert("RGB")


def _through_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """The conversion by ICC, or None where the profile is not one for these pixels."""
    if len(profile) > MAX_PROFILE_BYTES or profile[16:20] != _SPACE_OF_MODE.get(picture.mode):
        return None
    try:
        return ImageCms.profileToProfile(picture, BytesIO(profile), _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error):
        return None


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(cast(Any, ImageCms).createProfile("sRGB"))
