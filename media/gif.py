"""GIF as good as the format allows: a palette for the clip, dithering, only what changes, within a budget of bytes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from jobs.errors import Note
from media.apng import paletted, png_frames
from media.containers import gif_blocks
from media.fitting import AIM, HEADROOM, Encoded, fit
from media.frames import Footage, Frame
from media.palette import Palettes, bayer, graded
from media.passes import Meter, OnFrame, Steady, pour, timed
from media.plans import Plan, Road, Sampled, finished, moments, picked, shown, size

FULL_FPS, MODEST_FPS = Fraction(100, 3), Fraction(15)
"""Frames a second at most: where that fits the budget as it is, and otherwise, for size is missed more than frames."""
PALETTE_FRAMES = 32
"""How many frames the palette is drawn from."""
MOST_COLOURS, FEWEST_COLOURS = 256, 64
LEAST_TOLERANCE, MOST_TOLERANCE = 2, 10
"""Differences from one frame to the next (of 255) that are not shown; the first is invisible."""
QUALITY_BITS = 1.0
"""Halvings of weight between best and worst colours and tolerance. Measured on the clips of benchmarks/encode.py: 0.8
to 1.1, and none on the drawn one, whose colours are few."""
PLENTY_BITS = 7.0
"""Bits a pixel from which on nothing need be sampled first: 256 colours of noise have 8."""
EVEN_STEPS_FROM = 10
"""Taking every second frame looks steadier than 2-1-2-1, as long as this many a second are left."""
CENTISECONDS = Fraction(1, 100)
"""GIF's unit of time."""
SHORTEST_DELAY = 2
"""In centiseconds; browsers stretch anything shorter to 10."""
CLEAR, SOLID = 48, 208
"""Below the one alpha is transparent, above the other opaque; what lies between is dithered."""
_PATTERN = bayer(4)


def encode_gif(
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
    fixed_size: bool = False,
) -> Encoded:
    """Write `footage` as a GIF that loops for ever, of at most 95 % of the budget; alpha becomes all or nothing.

    Gives up size first, then colours, then frames a second; with `fixed_size` never size, but length at last. Of
    `metadata` a GIF can carry `comment`.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    comment = (metadata or {}).get("comment", "")
    gif = _Gif(footage, comment, Palettes(footage, PALETTE_FRAMES, soft=False))

    def course_at(most_fps: Fraction) -> Sampled:
        road = Road(footage, gif_rate(footage.fps, most_fps), QUALITY_BITS, fixed_size, size_first=True)
        return Sampled(road, gif, on_frame)

    course, limit = course_at(FULL_FPS), budget_bytes * HEADROOM
    plenty = _plenty(footage, course, limit)
    if not plenty and course.road.first_fps > MODEST_FPS and course.sample(0) > limit * AIM:
        course = course_at(MODEST_FPS)
        plenty = _plenty(footage, course, limit)
    step, passes = fit(course, path, budget_bytes, plenty=plenty)
    plan = course.road.plan(step)
    fewer = Note("fewer_colours", {"colours": _colours(plan)}) if plan.quality < 1 else None
    return finished(course.road, step, path, passes, png_frames, fewer)


def _plenty(footage: Footage, course: Sampled, limit_bytes: float) -> bool:
    """Whether anything fits, so that nothing need be sampled."""
    pixels = footage.width * footage.height * len(picked(footage, course.road.plan(0)))
    return 8 * limit_bytes / pixels > PLENTY_BITS


def gif_rate(fps: Fraction, most: Fraction) -> Fraction:
    """At most `most`, by taking every n-th frame where that leaves enough."""
    even = fps / math.ceil(fps / most)
    return even if even >= min(EVEN_STEPS_FROM, fps) else most


def _colours(plan: Plan) -> int:
    return graded(MOST_COLOURS, FEWEST_COLOURS, plan.quality)


@dataclass(frozen=True)
class _Gif:
    footage: Footage
    comment: str
    palettes: Palettes

    def write(self, plan: Plan, places: list[int], path: Path, meter: Meter, on_frame: OnFrame | None) -> bool:
        begins = moments(self.footage, plan, places, CENTISECONDS, SHORTEST_DELAY)
        options = {"loop": "0", "final_delay": str(begins[-1] - begins[-2])}
        with av.open(str(path), "w", format="gif", options=options) as container:
            stream = cast(Any, container).add_stream("gif", rate=100)
            stream.width, stream.height = size(self.footage, plan)
            stream.pix_fmt = "pal8"
            stream.codec_context.time_base = CENTISECONDS
            whole = pour(timed(self._pictures(plan, places), begins, CENTISECONDS), stream, meter, on_frame)
        if whole and self.comment:
            path.write_bytes(with_comment(path.read_bytes(), self.comment))
        return whole

    def _pictures(self, plan: Plan, places: list[int]) -> Iterator[av.VideoFrame]:
        """The frames in the clip's own palette, one at a time."""
        steady = Steady(round(MOST_TOLERANCE + (LEAST_TOLERANCE - MOST_TOLERANCE) * plan.quality))
        palette = self.palettes.of(_colours(plan))
        return (paletted(palette, steady(_all_or_nothing(frame))) for frame in shown(self.footage, plan, places))


def _all_or_nothing(frame: Frame) -> Frame:
    """The frame with alpha 0 or 255: soft edges are dithered, what is nearly clear or solid becomes so."""
    if frame.shape[2] == 3:
        return frame
    height, width, _ = frame.shape
    pattern = np.tile(_PATTERN, (-(-height // 4), -(-width // 4)))[:height, :width]
    threshold = (CLEAR + SOLID) / 2 + pattern * (SOLID - CLEAR)
    hard = frame.copy()
    hard[..., 3] = np.where(frame[..., 3] > threshold, 255, 0)
    hard[hard[..., 3] == 0] = 0
    return hard


def with_comment(data: bytes, comment: str) -> bytes:
    """A GIF with a comment (GIF89a specification, 24) before its first picture, behind the loop extension if any."""
    blocks = gif_blocks(data)
    at = next(blocks).end
    loop = next(blocks, None)
    if loop and data.startswith(b"\x21\xff\x0bNETSCAPE2.0", loop.begin):
        at = loop.end
    text = comment.encode("utf-8")
    pieces = b"".join(bytes([len(text[i : i + 255])]) + text[i : i + 255] for i in range(0, len(text), 255))
    return data[:at] + b"\x21\xfe" + pieces + b"\0" + data[at:]
