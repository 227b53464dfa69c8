"""The frames of a picture that moves (GIF, APNG, WebP, AVIF), by Pillow. For the decoding child alone."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import AvifImagePlugin, GifImagePlugin, Image, ImageFile, PngImagePlugin, WebPImagePlugin

from media.clip_limits import ClipLimits, check_clip_size
from media.clip_shots import DAMAGE, Shot, working_size
from media.colour import plain_mode, to_srgb_with_alpha
from media.frames import Frame
from media.kinds import AVIF, GIF, PNG, WEBP, Kind

SHORTEST_DELAY = Fraction(11, 1000)
USUAL_DELAY = Fraction(1, 10)
"""A picture's frame that asks for 10 ms or less is shown for 100 ms, as all browsers do."""
_WEBP_ALPHA = 0x10

_PLUGINS: dict[Kind, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    PNG: PngImagePlugin.PngImageFile,
    WEBP: WebPImagePlugin.WebPImageFile,
    AVIF: AvifImagePlugin.AvifImageFile,
    GIF: GifImagePlugin.GifImageFile,
}


class Animation:
    """Frames by Pillow, already laid over each other as the file asks."""

    def __init__(self, path: Path, kind: Kind, limits: ClipLimits) -> None:
        self._image = _PLUGINS[kind](_webp(path, limits) if kind is WEBP else path.open("rb"))
        self.full_width, self.full_height = self._image.size
        check_clip_size(self.full_width, self.full_height, limits)
        self.width, self.height = working_size(self.full_width, self.full_height, limits.working_side)
        self.hdr = self.damaged = False

    def __iter__(self) -> Iterator[Shot]:
        # The first picture of an APNG may be for viewers that know no APNG, and no part of what moves.
        number = int(getattr(self._image, "default_image", False))
        start = Fraction(0)
        while (frame := self._frame(number)) is not None:
            hold = _delay(self._image.info.get("duration", 0))
            yield Shot(
                start, hold, f"{frame.mode} {frame.size}", partial(_opaque, frame), partial(self._picture, frame)
            )
            start += hold
            number += 1

    def _frame(self, number: int) -> Image.Image | None:
        """One frame as it can be scaled and colour-managed; None after the last, or from the first damaged one on."""
        try:
            self._image.seek(number)
        except EOFError:
            return None
        except DAMAGE:
            self._note_damage(number)
            return None
        try:
            self._image.load()
            return plain_mode(self._image)
        except DAMAGE:
            self._note_damage(number)
            return None

    def _note_damage(self, number: int) -> None:
        if number == 0:
            raise ValueError("no frame in it can be decoded")
        self.damaged = True

    def _picture(self, frame: Image.Image, with_alpha: bool) -> Frame:
        size = (self.width, self.height)
        if frame.size != size:
            frame = frame.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        managed = to_srgb_with_alpha(frame, self._image.info.get("icc_profile"))
        return np.asarray(managed.convert("RGBA" if with_alpha else "RGB"))


def _opaque(frame: Image.Image) -> bool:
    return frame.mode not in {"LA", "RGBA"} or frame.getchannel("A").getextrema()[0] == 255


def _delay(milliseconds: float) -> Fraction:
    """How long a frame stays, in seconds."""
    asked = Fraction(round(milliseconds * 10), 10_000)
    return asked if asked >= SHORTEST_DELAY else USUAL_DELAY


def _webp(path: Path, limits: ClipLimits) -> IO[bytes]:
    """A WebP, checked before libwebp takes memory for its whole canvas, and marked as one that may have alpha.

    Its writers leave the mark out where every frame is opaque, even if none covers the whole canvas (RFC 9649, 2.7).
    """
    data = bytearray(path.read_bytes())
    if bytes(data[12:16]) == b"VP8X" and len(data) > 30:
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        check_clip_size(width, height, limits)
        data[20] |= _WEBP_ALPHA
    return BytesIO(data)
