"""MP4 that plays everywhere: H.264 High, 4:2:0, BT.709, AAC, index in front, within a budget of bytes.

A budget that any clip fits into is encoded for at once, by quality. Otherwise a fast first pass measures the clip; then
it is encoded by quality where that fits, or by size, with what the first pass found out about each frame.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import av
import numpy as np
from av.error import ExternalError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from jobs.errors import Note
from media.fitting import HEADROOM, ClipTooLarge, Encoded
from media.frames import SOUND_RATE, Footage, Frame
from media.likeness import likeness
from media.passes import Meter, OnFrame, Track, heard, over_white, pour

BEST_CRF = 17.0
"""Below this nobody sees a difference; measured in benchmarks/encode.py."""
PLENTY_BITS = 2.5
"""Bits for each pixel of each frame from which on a budget is met by all but the grainiest clips at `BEST_CRF`."""
STARVED_BITS = 0.2
"""Bits a pixel below which the first pass measures at `MIDDLE_CRF`."""
MIDDLE_CRF = 21.0
CERTAIN = 0.75
"""Of the limit: a first pass that weighs no more fits by quality too. Seen: it says 10 to 22 % too little."""
POOR_RATIO = 6.0
"""So many times too heavy at `BEST_CRF`, and the picture shrinks until it is no more than that: about CRF 32."""
AUDIBLE_RATIO = 2.2
"""From here on (about CRF 24) the person is told that quality was given up."""
AIM = 0.985
"""Of the limit, for the second pass. Seen: up to 15 % under it, and up to 37 % over it on 24 grainy frames."""
MAX_PASSES = 8
"""Two are the rule; the others are for clips of a few frames, whose size no first pass foretells."""

SOUND_RATES = (128, 96, 64, 48, 32)
"""Kilobits a second that sound may take, the best first that leaves pictures `PICTURE_SHARE` of the budget."""
PICTURE_SHARE = 0.75
FRAME_BYTES = 24
"""What the index holds for each frame and for each packet of sound, at most."""
INDEX_BYTES = 2500

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
    """One pass: by quality, or by size where `bit_rate` (bits a second) is set; and how large the picture is."""

    bit_rate: int | None = None
    scale: float = 1.0
    sound_kbps: int | None = None


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
    101/102 would blur every pixel, 4:2:0 cannot crop by one. What is transparent becomes white.

    Raises:
        ClipTooLarge: it does not fit at any quality.
    """
    part = path.with_name(f"{path.name}.part")
    limit = int(budget_bytes * HEADROOM)
    sound_kbps = best_sound_kbps(footage, limit)
    try:
        with TemporaryDirectory(prefix="zoetrope-stats-") as folder:
            writer = _Writer(footage, metadata or {}, on_frame, Path(folder) / "stats")
            fitted = _fit(writer, Mp4Plan(sound_kbps=sound_kbps), part, limit)
        if fitted is None:
            raise ClipTooLarge.for_budget(budget_bytes)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    width, height = _size(footage, fitted.plan)
    notes = _notes(footage, fitted, width, height)
    alike = likeness(footage, list(range(footage.count)), _decoded(path))
    weight = path.stat().st_size
    return Encoded(path, weight, width, height, footage.count, footage.fps, fitted.passes, notes, alike)


def best_sound_kbps(footage: Footage, limit_bytes: int) -> int | None:
    """What the footage's sound may take of a budget; None where it has none, or none fits beside the pictures."""
    sound = heard(footage)
    if sound is None:
        return None
    seconds = len(sound) / SOUND_RATE
    fits = (rate for rate in SOUND_RATES if rate * 125 * seconds <= limit_bytes * (1 - PICTURE_SHARE))
    return next(fits, None)


@dataclass(frozen=True)
class _Fitted:
    plan: Mp4Plan
    passes: int
    ratio: float
    """How many times too heavy it was by quality; 1 where it was not."""


def _fit(writer: "_Writer", first: Mp4Plan, part: Path, limit: int) -> _Fitted | None:
    """Encode into `part` within `limit` bytes; None where nothing fits."""
    footage, passes, ratio = writer.footage, 0, 1.0
    pixels = footage.width * footage.height * footage.count
    if 8 * limit >= PLENTY_BITS * pixels:
        passes += 1
        if writer.encode(first, part, limit) <= limit:
            return _Fitted(first, passes, ratio)
    room = max(1, limit - writer.besides(first))
    ratio = writer.measure(first, room)
    if not passes and ratio < CERTAIN:
        passes += 1
        if writer.encode(first, part, limit) <= limit:
            return _Fitted(first, passes, ratio)
    plan = _shrunk(footage, first, ratio)
    if plan.scale < 1:
        writer.measure(plan, room)
    return _by_size(writer, plan, part, limit, passes, ratio)


def _by_size(writer: "_Writer", first: Mp4Plan, part: Path, limit: int, passes: int, ratio: float) -> _Fitted | None:
    """Second passes, each told what the last one weighed too much, then smaller pictures, then no sound."""
    plan = first
    seconds, aim, smallest = float(writer.footage.count / writer.footage.fps), AIM, _smallest(writer.footage)
    while passes < MAX_PASSES:
        room = limit - writer.besides(plan)
        plan = replace(plan, bit_rate=max(1000, int(room * aim * 8 / seconds)))
        weight = writer.encode_second(plan, part, limit)
        passes += weight is not None
        if weight is not None and weight <= limit:
            return _Fitted(plan, passes, max(1.0, ratio))
        if weight is not None and passes < 4:
            over = max(1, weight - writer.besides(plan)) / max(1, room)
            aim *= 0.97 * math.pow(min(5.0, max(1.0, over)), -1.2)
        elif plan.scale > smallest:
            plan, aim = replace(plan, scale=max(smallest, plan.scale * 0.6)), AIM
            writer.measure(plan, room)
        elif plan.sound_kbps:
            plan = replace(plan, sound_kbps=None)
        else:
            break
    return None


def _shrunk(footage: Footage, plan: Mp4Plan, ratio: float) -> Mp4Plan:
    """The plan, made smaller where its bits would not do: half the width takes about a third of them."""
    if ratio <= POOR_RATIO:
        return plan
    return replace(plan, scale=max(_smallest(footage), (POOR_RATIO / ratio) ** 0.6))


def _smallest(footage: Footage) -> float:
    return min(1.0, SHORTEST_SIDE / min(footage.width, footage.height))


@dataclass(frozen=True)
class _Writer:
    """Encodes one clip by any plan."""

    footage: Footage
    metadata: Mapping[str, str]
    on_frame: OnFrame | None
    stats: Path

    def besides(self, plan: Mp4Plan) -> int:
        """Bytes of the file that are not pictures, at most."""
        seconds = float(self.footage.count / self.footage.fps)
        sound = (plan.sound_kbps or 0) * 125 * seconds * 1.03
        packets = self.footage.count + (seconds * SOUND_RATE / 1024 if plan.sound_kbps else 0)
        tags = sum(len(text.encode()) for text in self.metadata.values())
        return round(sound + FRAME_BYTES * packets + INDEX_BYTES / (1 if plan.sound_kbps else 2) + tags)

    def measure(self, plan: Mp4Plan, room: int) -> float:
        """A fast first pass that leaves its findings in `stats`; how many times `room` pictures weigh at `BEST_CRF`.

        Nearer the quality to come more of the budget is used, but only so far: grain that is gone at a high
        CRF cannot be told from none, and a second pass after such a first weighed three times what it was told.
        """
        width, height = _size(self.footage, plan)
        starved = 8 * room < STARVED_BITS * width * height * self.footage.count
        crf = MIDDLE_CRF if starved else BEST_CRF
        meter = Meter(math.inf, self.footage.count)
        with av.open("measure.mp4", "w", format="null") as container:
            options = {"flags": "+cgop+pass1", "crf": f"{crf:.2f}"}
            stream = self._stream(container, replace(plan, bit_rate=None), options)
            pour(_yuv(self.footage, stream.width, stream.height), stream, meter, self.on_frame)
        return sum(meter.sizes) / max(1, room) * 2 ** ((crf - BEST_CRF) / 6)

    def encode(self, plan: Mp4Plan, path: Path, limit_bytes: int) -> int:
        """Write the file; its size, or a forecast where it was given up.

        A second pass is never given up: one that is over is a little over, and its true weight is worth knowing.
        """
        meter = Meter(math.inf if plan.bit_rate else limit_bytes, self.footage.count)
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            container.metadata.update(self.metadata)
            second = {"flags": "+cgop+pass2"} if plan.bit_rate else {"crf": f"{BEST_CRF:.2f}"}
            stream = self._stream(container, plan, second)
            track = self._track(container, plan)
            whole = pour(_yuv(self.footage, stream.width, stream.height), stream, meter, self.on_frame, track)
        return path.stat().st_size if whole else max(limit_bytes + 1, meter.forecast())

    def encode_second(self, plan: Mp4Plan, path: Path, limit_bytes: int) -> int | None:
        """The same by size; None where x264 says before it begins that so few bits cannot hold the clip."""
        try:
            return self.encode(plan, path, limit_bytes)
        except ExternalError:
            return None

    def _stream(self, container: Any, plan: Mp4Plan, options: dict[str, str]) -> Any:
        width, height = _size(self.footage, plan)
        common = _x264_options(self.footage.fps, (width, height))
        if "pass" in options.get("flags", ""):
            common["stats"] = str(self.stats)
        stream = container.add_stream("libx264", self.footage.fps, {**common, **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if plan.bit_rate:
            stream.codec_context.bit_rate = plan.bit_rate
        _tag_bt709(stream.codec_context)
        return stream

    def _track(self, container: Any, plan: Mp4Plan) -> Track | None:
        sound = heard(self.footage)
        if sound is None or not plan.sound_kbps:
            return None
        stream = container.add_stream("aac", SOUND_RATE)
        stream.codec_context.bit_rate, stream.codec_context.layout = plan.sound_kbps * 1000, "stereo"
        return Track(stream, sound)


def _x264_options(fps: Fraction, size: tuple[int, int]) -> dict[str, str]:
    keyframes = max(1, round(fps * KEYFRAME_SECONDS))
    return {
        **({"x264-params": "no-mbtree=1"} if min(size) < SMALL_SIDE else {}),
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
            av.VideoFrame.from_ndarray(_even(over_white(frame)), format="rgb24"),
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


def _decoded(path: Path) -> Iterator[Frame]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield cast(Frame, frame.to_ndarray(format="rgb24"))


def _notes(footage: Footage, fitted: _Fitted, width: int, height: int) -> tuple[Note, ...]:
    notes = [Note("alpha_over_white")] if footage.channels == 4 else []
    if fitted.plan.scale < 1:
        was = {"from_width": footage.width, "from_height": footage.height}
        notes.append(Note("made_smaller", {"width": width, "height": height, **was}))
    elif fitted.ratio > AUDIBLE_RATIO:
        notes.append(Note("lower_quality"))
    if heard(footage) is not None and not fitted.plan.sound_kbps:
        notes.append(Note("sound_left_out"))
    return tuple(notes)
