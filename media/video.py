"""MP4 that plays everywhere: H.264 High, 4:2:0, BT.709, AAC, index in front, within a budget of bytes.

A budget that any clip fits into is encoded for at once, by quality. Otherwise a fast first pass at the budget's own bit
rate finds out what each frame needs, and how coarse all of it must become; then it is encoded by size.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import av
import numpy as np
from av.error import ExternalError
from av.video.reformatter import VideoReformatter

from jobs.errors import Note
from media.bt709 import tag_bt709, to_bt709
from media.fitting import HEADROOM, ClipTooLarge, Encoded
from media.frames import SOUND_RATE, Footage, Frame
from media.likeness import likeness
from media.passes import Meter, OnFrame, Track, heard, over_white, pour

BEST_CRF = 17.0
"""Below this nobody sees a difference; measured in benchmarks/encode.py."""
PLENTY_BITS = 2.5
"""Bits for each pixel of each frame from which on a budget is met by all but the grainiest clips at `BEST_CRF`."""
CERTAIN_QP = 17.0
"""A first pass that needs no coarser quantiser on the mean says that `BEST_CRF` fits: that one's mean is 18 to 22."""
NOTICED_QP = 27.0
"""From here on (about CRF 24) the person is told that quality was given up."""
POOR_QP = 39.0
"""Where it needs a coarser one, a smaller picture is more alike. Seen: from 34 (grain) to 46 (flat colours) on."""
SIDE_BITS = 0.45
"""How many halvings of each side make up for one of the weight (six steps of the quantiser)."""
AIM, SHORT_AIM = 0.975, 0.86
"""Of the limit, for the second pass. Seen: 6 % under it to 2 % over; up to 27 % over on clips of up to 25 frames. Of 90
encodes of nine clips at ten budgets 72 fitted at once, the others at the second try."""
SHORT_FRAMES = 48
WASTED = 0.7
"""Of the limit: a second pass that uses less is made once more, if it was the first."""
MAX_PASSES = 8
"""Two are the rule; the others are for clips that no first pass foretells, and then become smaller."""

SOUND_RATES = (128, 96, 64, 48, 32)
"""Kilobits a second that sound may take, the best first that leaves pictures `PICTURE_SHARE` of the budget."""
PICTURE_SHARE = 0.75
FRAME_BYTES = 24
"""What the index holds for each frame and for each packet of sound, at most."""
INDEX_BYTES = 2500

PRESET = "medium"
"""On two cores: twice as fast as `slow` or better, and within 3 % of its size (benchmarks/encode.py)."""
PSY = 0.4
"""x264's preference for texture over likeness, whose default is 1: at this both SSIM and PSNR are at least those of
ffmpeg's defaults at equal size, and grain is still grain."""
KEYFRAME_SECONDS = 10
"""Clips are short: one more keyframe in the middle is seen in the others' quality, seeking is not."""
SMALL_SIDE = 128
"""On frames of a few macroblocks x264's macroblock tree is not deterministic: measured, 96 × 48 gave five files for the
same frames in 300 encodes, with one thread as with many; without it, and at 352 × 192 with it, always the same one."""
SHORTEST_SIDE = 48
"""No clip is made smaller than this on its short side to fit."""

QUANTISER = re.compile(r" q:(-?[\d.]+) ")
"""Of each frame, in the lines that x264 writes about a first pass."""


@dataclass(frozen=True)
class Mp4Plan:
    """How large the picture is, and what sound may take."""

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
    limit, had_alpha = int(budget_bytes * HEADROOM), footage.channels == 4
    footage = Opaque(footage) if had_alpha else footage
    sound_kbps = best_sound_kbps(footage, limit)
    try:
        with TemporaryDirectory(dir=path.parent, prefix="stats-") as folder:
            writer = _Writer(footage, metadata or {}, on_frame, Path(folder) / "stats")
            fitted = _fit(writer, Mp4Plan(sound_kbps=sound_kbps), part, limit)
        if fitted is None:
            raise ClipTooLarge.for_budget(budget_bytes)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    width, height = _size(footage, fitted.plan)
    notes = ((Note("alpha_over_white"),) if had_alpha else ()) + _notes(footage, fitted, width, height)
    alike = likeness(footage, list(range(footage.count)), partial(_decoded, path))
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


class Opaque:
    """Footage over white: what a format without alpha shows of it."""

    channels = 3

    def __init__(self, footage: Footage) -> None:
        self._footage = footage
        self.width, self.height, self.count = footage.width, footage.height, footage.count
        self.fps, self.sound = footage.fps, footage.sound

    def __iter__(self) -> Iterator[Frame]:
        """All frames, `[H, W, 3]`."""
        return (over_white(frame) for frame in self._footage)


@dataclass(frozen=True)
class _Fitted:
    plan: Mp4Plan
    passes: int
    qp: float = 0.0
    """The mean quantiser (0 to 51) that the budget asks for at the clip's own size; 0 where it asks for nothing."""


def _fit(writer: "_Writer", first: Mp4Plan, part: Path, limit: int) -> _Fitted | None:
    """Encode into `part` within `limit` bytes; None where nothing fits."""
    footage, passes = writer.footage, 0
    pixels = footage.width * footage.height * footage.count
    if 8 * limit >= PLENTY_BITS * pixels:
        passes += 1
        if writer.encode(first, part, limit) <= limit:
            return _Fitted(first, passes)
    qp = writer.measure(first, limit)
    if not passes and qp < CERTAIN_QP:
        passes += 1
        if writer.encode(first, part, limit) <= limit:
            return _Fitted(first, passes)
    plan = first
    if qp > POOR_QP:
        plan = _smaller(footage, first, 2 ** ((POOR_QP - qp) / 6 * SIDE_BITS))
        writer.measure(plan, limit)
    fitted = _by_size(writer, plan, part, limit, passes)
    return fitted and replace(fitted, qp=qp)


def _by_size(writer: "_Writer", plan: Mp4Plan, part: Path, limit: int, passes: int) -> _Fitted | None:
    """Second passes, each told what the last one weighed too much, then smaller pictures, then no sound."""
    footage, smallest = writer.footage, _smallest(writer.footage)
    first_aim = aim = AIM if footage.count >= SHORT_FRAMES else SHORT_AIM
    tried = 0
    while passes < MAX_PASSES:
        weight = writer.encode_second(plan, part, limit, aim)
        passes, tried = passes + (weight is not None), tried + 1
        over = weight and (weight - writer.besides(plan)) / max(1, limit - writer.besides(plan))
        if weight is not None and weight <= limit:
            if tried == 1 and over and over < WASTED:
                passes += _improved(writer, plan, part, limit, aim / over)
            return _Fitted(plan, passes)
        if over and tried < 3:
            aim *= 0.97 / min(5.0, max(1.0, over))
        elif plan.scale > smallest:
            plan, aim, tried = _smaller(footage, plan, 0.6), first_aim, 0
            writer.measure(plan, limit)
        elif plan.sound_kbps:
            plan = replace(plan, sound_kbps=None)
        else:
            break
    return None


def _improved(writer: "_Writer", plan: Mp4Plan, part: Path, limit: int, aim: float) -> int:
    """Replace the file at `part`, which uses too little of `limit`, by a better one that fits; how many encodes."""
    better = part.with_name(f"{part.name}.better")
    try:
        weight = writer.encode_second(plan, better, limit, aim * 0.97)
        if weight is not None and part.stat().st_size < weight <= limit:
            better.replace(part)
    finally:
        better.unlink(missing_ok=True)
    return int(weight is not None)


def _smaller(footage: Footage, plan: Mp4Plan, times: float) -> Mp4Plan:
    return replace(plan, scale=max(_smallest(footage), plan.scale * times))


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

    def measure(self, plan: Mp4Plan, limit: int) -> float:
        """A fast first pass that leaves its findings in `stats`; the mean quantiser that the limit asks for.

        At the bit rate to come, for what is gone at one quantiser and weighs much at another (grain) cannot be told
        from one pass. What it weighs more or less than it was told is reckoned in, at six steps for half the weight.
        """
        rate = self._bit_rate(plan, limit, 1.0)
        weight = self._first_pass(plan, rate)
        told = rate * float(self.footage.count / self.footage.fps) / 8
        quantisers = [float(each) for each in QUANTISER.findall(self.stats.read_text())]
        return sum(quantisers) / len(quantisers) + 6 * math.log2(max(1, weight) / told)

    def _first_pass(self, plan: Mp4Plan, rate: int) -> int:
        """What it weighs. Its findings lie in `stats` when the encoder is gone: at the end of this scope."""
        meter = Meter(math.inf, self.footage.count)
        with av.open("measure.mp4", "w", format="null") as container:
            stream = self._stream(container, plan, {"flags": "+cgop+pass1"}, rate)
            pour(_yuv(self.footage, stream.width, stream.height), stream, meter, self.on_frame)
        return sum(meter.sizes)

    def encode(self, plan: Mp4Plan, path: Path, limit: int) -> int:
        """Write the file by quality; its size, or a forecast where it was given up."""
        meter = Meter(limit, self.footage.count)
        whole = self._write(plan, path, meter, {"crf": f"{BEST_CRF:.2f}"})
        return path.stat().st_size if whole else max(limit + 1, meter.forecast())

    def encode_second(self, plan: Mp4Plan, path: Path, limit: int, aim: float) -> int | None:
        """Write the file by size; None where x264 says before it begins that so few bits cannot hold the clip.

        It is never given up: one that is over is a little over, and its true weight is worth knowing.
        """
        rate = self._bit_rate(plan, limit, aim)
        try:
            self._write(plan, path, Meter(math.inf, self.footage.count), {"flags": "+cgop+pass2"}, rate)
        except ExternalError:
            return None
        return path.stat().st_size

    def _bit_rate(self, plan: Mp4Plan, limit: int, aim: float) -> int:
        """What pictures may take, in bits a second, to fill this share of the limit."""
        seconds = float(self.footage.count / self.footage.fps)
        return max(1000, round((limit - self.besides(plan)) * aim * 8 / seconds))

    def _write(self, plan: Mp4Plan, path: Path, meter: Meter, how: dict[str, str], rate: int | None = None) -> bool:
        """False where it was given up."""
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            container.metadata.update(self.metadata)
            stream = self._stream(container, plan, how, rate)
            track = self._track(container, plan)
            return pour(_yuv(self.footage, stream.width, stream.height), stream, meter, self.on_frame, track)

    def _stream(self, container: Any, plan: Mp4Plan, options: dict[str, str], rate: int | None = None) -> Any:
        width, height = _size(self.footage, plan)
        common = _x264_options(self.footage.fps, (width, height))
        if "pass" in options.get("flags", ""):
            common["stats"] = str(self.stats)
        stream = container.add_stream("libx264", self.footage.fps, {**common, **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # PyAV's default cuts every frame into a slice for each core, which costs likeness: 0.4 dB of flat colours
        stream.codec_context.thread_type = "FRAME"
        if rate:
            stream.codec_context.bit_rate = rate
        tag_bt709(stream.codec_context)
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
        "x264-params": f"psy-rd={PSY}" + (":no-mbtree=1" if min(size) < SMALL_SIDE else ""),
        "preset": PRESET,
        "profile": "high",
        "g": str(keyframes),
        "flags": "+cgop",
    }


def _yuv(footage: Footage, width: int, height: int) -> Iterator[av.VideoFrame]:
    """The frames in limited-range BT.709 4:2:0, numbered."""
    converter = VideoReformatter()
    for number, frame in enumerate(footage):
        picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
        converted = to_bt709(converter, picture, "yuv420p", width, height)
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


def _decoded(path: Path, step: int) -> Iterator[Frame]:
    with av.open(str(path)) as container:
        for frame in itertools.islice(container.decode(video=0), 0, None, step):
            yield cast(Frame, frame.to_ndarray(format="rgb24"))


def _notes(footage: Footage, fitted: _Fitted, width: int, height: int) -> tuple[Note, ...]:
    notes: list[Note] = []
    if fitted.plan.scale < 1:
        was = {"from_width": footage.width, "from_height": footage.height}
        notes.append(Note("made_smaller", {"width": width, "height": height, **was}))
    elif fitted.qp > NOTICED_QP:
        notes.append(Note("lower_quality"))
    if heard(footage) is not None and not fitted.plan.sound_kbps:
        notes.append(Note("sound_left_out"))
    return tuple(notes)
