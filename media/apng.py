"""Animated PNG: every colour and soft alpha; in a tight budget a palette of its own, alpha included."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from PIL import Image

from jobs.errors import Note
from media.containers import png_chunks
from media.fitting import HEADROOM, Encoded, fit
from media.frames import Footage, Frame
from media.palette import Palette, Palettes, graded
from media.passes import Meter, OnFrame, Steady, pour, timed
from media.plans import Plan, Road, Sampled, finished, moments, shown, size

MOST_COLOURS, FEWEST_COLOURS = 256, 24
MOST_TOLERANCE = 14
"""Differences from one frame to the next that are not shown, at the worst quality."""
QUALITY_BITS = 3.2
"""Halvings of weight between true colours and the poorest palette; the first two come with the palette itself. Measured
on the clips of benchmarks/encode.py: 3.0 to 3.6, and 0.5 on the drawn one, which has few colours anyway."""
MAX_FPS = Fraction(30)
PLENTY_BITS = 26.0
"""Bits a pixel from which on nothing need be sampled first: noise itself fits."""
PALETTE_FRAMES = 24
TICKS = Fraction(1, 1000)
COMMENT = b"comment\0\0\0\0\0"
"""What an iTXt chunk begins with that is called so and has neither compression, language nor translation."""


def encode_apng(
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
    fixed_size: bool = False,
    max_fps: Fraction = MAX_FPS,
) -> Encoded:
    """Write `footage` as an APNG that loops for ever, of at most 95 % of the budget, with its alpha where it has one.

    Exact where that fits. Gives up colours first, then size, then frames a second; with `fixed_size` never size, but
    length at last. Of `metadata` it carries `comment`.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    comment = (metadata or {}).get("comment", "")
    road = Road(footage, min(footage.fps, max_fps), QUALITY_BITS, fixed_size)
    bits = 8 * budget_bytes * HEADROOM / (footage.width * footage.height * footage.count)
    course = Sampled(
        road, _Apng(footage, comment, Palettes(footage, PALETTE_FRAMES, soft=footage.channels == 4)), on_frame
    )
    step, passes = fit(course, path, budget_bytes, plenty=bits > PLENTY_BITS)
    plan = road.plan(step)
    fewer = Note("fewer_colours", {"colours": _colours(plan)}) if plan.quality < 1 else None
    return finished(road, step, path, passes, png_frames, fewer)


def _colours(plan: Plan) -> int:
    return graded(MOST_COLOURS, FEWEST_COLOURS, plan.quality)


@dataclass(frozen=True)
class _Apng:
    footage: Footage
    comment: str
    palettes: Palettes

    def write(self, plan: Plan, places: list[int], path: Path, meter: Meter, on_frame: OnFrame | None) -> bool:
        pixel_format, pictures = self._pictures(plan, places)
        begins = moments(self.footage, plan, places, TICKS)
        options = {"plays": "0", "final_delay": f"{begins[-1] - begins[-2]}/1000", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="apng", options=options) as container:
            stream = cast(Any, container).add_stream("apng", 1000, {"pred": "none" if plan.quality < 1 else "mixed"})
            stream.width, stream.height = size(self.footage, plan)
            stream.pix_fmt = pixel_format
            stream.codec_context.time_base = TICKS
            whole = pour(timed(pictures, begins, TICKS), stream, meter, on_frame)
        if whole and self.comment:
            path.write_bytes(with_text(path.read_bytes(), self.comment))
        return whole

    def _pictures(self, plan: Plan, places: list[int]) -> tuple[str, Iterator[av.VideoFrame]]:
        frames = shown(self.footage, plan, places)
        if plan.quality == 1:
            pixel_format = "rgba" if self.footage.channels == 4 else "rgb24"
            return pixel_format, (av.VideoFrame.from_ndarray(np.ascontiguousarray(f), pixel_format) for f in frames)
        palette, steady = self.palettes.of(_colours(plan)), Steady(round(MOST_TOLERANCE * (1 - plan.quality)))
        return "pal8", (paletted(palette, steady(frame)) for frame in frames)


def paletted(palette: Palette, frame: Frame) -> av.VideoFrame:
    """The frame in FFmpeg's `pal8`."""
    return av.VideoFrame.from_ndarray(cast(Any, (palette.indices(frame), palette.argb)), format="pal8")


def with_text(data: bytes, comment: str) -> bytes:
    """A PNG with an iTXt chunk `comment` (PNG specification, 11.3.3.4; UTF-8, not compressed) behind its header."""
    body = b"iTXt" + COMMENT + comment.encode("utf-8")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:33] + chunk + data[33:]


def png_comment(data: bytes) -> str | None:
    """The comment that `with_text` put there, or None."""
    for chunk in png_chunks(data):
        if chunk.name == b"iTXt" and data.startswith(COMMENT, chunk.inside):
            return data[chunk.inside + len(COMMENT) : chunk.end].decode("utf-8", "replace")
    return None


def png_frames(path: Path, step: int = 1) -> Iterator[Frame]:
    """Every `step`-th frame of a PNG or GIF, `[H, W, 3]`, or `[H, W, 4]` where its first frame has alpha."""
    with Image.open(path) as picture:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        for number in range(0, getattr(picture, "n_frames", 1), step):
            picture.seek(number)
            yield np.asarray(picture.convert(mode))
