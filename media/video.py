"""MP4 that plays everywhere: H.264 High, 4:2:0, BT.709, index in front, within a budget of bytes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from jobs.errors import Note
from media.fitting import AIM, Encoded, fit
from media.frames import Footage, Frame
from media.passes import Meter, OnFrame, pour

BEST_CRF = 17.0
"""Below this nobody sees a difference; measured in benchmarks/encode.py."""
SCALED_CRF = 28.0
"""What a clip that has to shrink is meant to be compressed with: softer but clean beats large and blocky."""
POOR_CRF = 33.0
"""Above this a smaller picture looks better at the same weight."""
WORST_CRF = 51.0
AUDIBLE_CRF = 24.0
"""From here on the person is told that quality was given up."""

PRESET = "medium"
"""On two cores: twice as fast as `slow` or better, and within 3 % of its size (benchmarks/encode.py)."""
KEYFRAME_SECONDS = 4
SMALL_SIDE = 128
"""On frames of a few macroblocks x264's macroblock tree is not deterministic: measured, 96 × 48 gave five files for the
same frames in 300 encodes, with one thread as with many; without it, and at 352 × 192 with it, always the same one."""
SHORTEST_SIDE = 48
"""No clip is made smaller than this on its short side to fit."""

_FINE = Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


@dataclass(frozen=True)
class Mp4Plan:
    """One pass: how hard to compress, and how large the picture is against the original."""

    crf: float = BEST_CRF
    scale: float = 1.0


def encode_mp4(
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
) -> Encoded:
    """Write `footage` as an MP4 of at most 95 % of the budget: first compressed harder, then smaller.

    `metadata` are container tags (`comment`, `title`, …). Odd sides grow by one pixel that repeats the edge: scaling by
    101/102 would blur every pixel, 4:2:0 cannot crop by one.

    Raises:
        ClipTooLarge: it does not fit at any quality.
    """
    plan, passes = fit(Mp4Plan(), _Mp4Ladder(footage, metadata or {}, on_frame), path, budget_bytes)
    width, height = _size(footage, plan)
    notes = _notes(footage, plan, width, height)
    return Encoded(path, path.stat().st_size, width, height, footage.count, footage.fps, passes, notes)


@dataclass(frozen=True)
class _Mp4Ladder:
    """Compressed harder down to `POOR_CRF`, then smaller at `SCALED_CRF`, then both to the utmost."""

    footage: Footage
    metadata: Mapping[str, str]
    on_frame: OnFrame | None

    def encode(self, plan: Mp4Plan, path: Path, limit_bytes: int) -> int:
        footage, meter = self.footage, Meter(limit_bytes, self.footage.count)
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.metadata.update(self.metadata)
            stream = cast(Any, container).add_stream(
                "libx264", footage.fps, _x264_options(footage.fps, plan, _size(footage, plan))
            )
            stream.width, stream.height = _size(footage, plan)
            stream.pix_fmt = "yuv420p"
            _tag_bt709(stream.codec_context)
            whole = pour(_yuv(footage, stream.width, stream.height), stream, meter, self.on_frame)
        return path.stat().st_size if whole else meter.forecast()

    def lighter(self, plan: Mp4Plan, ratio: float) -> Mp4Plan | None:
        """Six steps of CRF halve the bits (x264's own rule); half the width takes about a third of them."""
        bits = math.log2(ratio / AIM)
        if plan.crf < POOR_CRF and plan.scale == 1:
            return Mp4Plan(min(POOR_CRF, plan.crf + 6 * bits))
        smallest = min(1.0, SHORTEST_SIDE / min(self.footage.width, self.footage.height))
        if plan.scale > smallest:
            bits += (plan.crf - SCALED_CRF) / 6
            return Mp4Plan(SCALED_CRF, max(smallest, plan.scale * 2 ** (-0.6 * max(0.2, bits))))
        return Mp4Plan(min(WORST_CRF, plan.crf + 6 * max(0.5, bits)), plan.scale) if plan.crf < WORST_CRF else None

    def between(self, heavy: Mp4Plan, light: Mp4Plan, way: float) -> Mp4Plan | None:
        if heavy.scale == light.scale:
            return Mp4Plan(heavy.crf + way * (light.crf - heavy.crf), light.scale)
        return Mp4Plan(light.crf, heavy.scale * (light.scale / heavy.scale) ** way)


def _x264_options(fps: Fraction, plan: Mp4Plan, size: tuple[int, int]) -> dict[str, str]:
    keyframes = max(1, round(fps * KEYFRAME_SECONDS))
    return {
        **({"x264-params": "no-mbtree=1"} if min(size) < SMALL_SIDE else {}),
        "crf": f"{plan.crf:.2f}",
        "preset": PRESET,
        "profile": "high",
        "g": str(keyframes),
        "flags": "+cgop",
    }


def _tag_bt709(codec: av.VideoCodecContext) -> None:
    """Say what `_yuv` does. Without the tags a player guesses by size, and small clips turn greenish."""
    codec.colorspace = Colorspace.ITU709
    codec.color_range = ColorRange.MPEG
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709


def _yuv(footage: Footage, width: int, height: int) -> Iterator[av.VideoFrame]:
    """The frames in limited-range BT.709 4:2:0, numbered."""
    converter = VideoReformatter()
    for number, frame in enumerate(footage):
        converted = converter.reformat(
            av.VideoFrame.from_ndarray(_even(frame), format="rgb24"),
            width,
            height,
            "yuv420p",
            src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=_FINE,
        )
        converted.pts, converted.time_base = number, 1 / footage.fps
        yield converted


def _even(frame: Frame) -> Frame:
    """The frame with even sides: the last row or column once more where one is odd."""
    height, width, _ = frame.shape
    if width % 2 == 0 and height % 2 == 0:
        return np.ascontiguousarray(frame)
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _size(footage: Footage, plan: Mp4Plan) -> tuple[int, int]:
    width, height = footage.width + footage.width % 2, footage.height + footage.height % 2
    if plan.scale == 1:
        return width, height
    return max(2, round(width * plan.scale / 2) * 2), max(2, round(height * plan.scale / 2) * 2)


def _notes(footage: Footage, plan: Mp4Plan, width: int, height: int) -> tuple[Note, ...]:
    if plan.scale < 1:
        was = {"from_width": footage.width, "from_height": footage.height}
        return (Note("made_smaller", {"width": width, "height": height, **was}),)
    return (Note("lower_quality"),) if plan.crf > AUDIBLE_CRF else ()
