"""GIF as good as the format allows: a palette for the clip, dithering, only what changes, within a budget of bytes."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.reformatter import Interpolation, VideoReformatter

from jobs.errors import Note
from media.fitting import AIM, Encoded, fit
from media.frames import Footage, Frame
from media.passes import Meter, OnFrame, pour

MAX_FPS = Fraction(15)
FEWEST_FPS = Fraction(6)
PALETTE_FRAMES = 32
PALETTE_SIDE = 320
"""How many frames the palette is drawn from, and how large; all pixels take three times as long and gain 0.1 dB."""
DITHER = "bayer:bayer_scale=4"
"""An ordered pattern stands still between frames. Against error diffusion (sierra2_4a): 12 % fewer bytes, half the time
and 2 dB closer on photographs; error diffusion is a little smoother in skies."""
FEW_COLOURS = 96
EVEN_STEPS_FROM = 10
"""Taking every second frame looks steadier than 2-1-2-1, as long as this many a second are left."""
MODEST_SIDE = 320
"""Down to this long side the picture shrinks; below it, frames are dropped first."""
SHORTEST_SIDE = 32
CENTISECONDS = Fraction(1, 100)
"""GIF's unit of time."""


@dataclass(frozen=True)
class GifPlan:
    """One pass: how many colours, how large against the original, how many frames a second."""

    fps: Fraction
    colours: int = 256
    scale: float = 1.0


def encode_gif(
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
) -> Encoded:
    """Write `footage` as a GIF that loops for ever, of at most 95 % of the budget.

    Gives up colours first, then size, then frames a second. Of `metadata` a GIF can carry `comment`.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    first = GifPlan(_gif_rate(footage.fps))
    comment = (metadata or {}).get("comment", "")
    plan, passes = fit(first, _GifLadder(footage, comment, on_frame), path, budget_bytes)
    width, height = _size(footage, plan)
    notes = _notes(footage, first, plan, width, height)
    return Encoded(path, path.stat().st_size, width, height, len(_picked(footage, plan)), plan.fps, passes, notes)


@dataclass(frozen=True)
class _GifLadder:
    """Fewer colours, then smaller down to `MODEST_SIDE`, then fewer frames, then smaller still."""

    footage: Footage
    comment: str
    on_frame: OnFrame | None

    def encode(self, plan: GifPlan, path: Path, limit_bytes: int) -> int:
        picked = _picked(self.footage, plan)
        meter = Meter(limit_bytes, len(picked))
        moments = _moments(self.footage, plan, len(picked))
        options = {"loop": "0", "final_delay": str(moments[-1] - moments[-2])}
        with av.open(str(path), "w", format="gif", options=options) as container:
            stream = cast(Any, container).add_stream("gif", rate=100)
            stream.width, stream.height = _size(self.footage, plan)
            stream.pix_fmt = "pal8"
            stream.codec_context.time_base = CENTISECONDS
            whole = pour(_timed(_paletted(self.footage, plan, picked), moments), stream, meter, self.on_frame)
        if not whole:
            return meter.forecast()
        if self.comment:
            path.write_bytes(with_comment(path.read_bytes(), self.comment))
        return path.stat().st_size

    def lighter(self, plan: GifPlan, ratio: float) -> GifPlan | None:
        """Fewer colours take off a third; after that the weight goes with the pixels, a little slower than they."""
        wanted = AIM / ratio
        if plan.colours == 256 and wanted > 0.55:
            return replace(plan, colours=FEW_COLOURS)
        longest = max(self.footage.width, self.footage.height)
        wanted *= 1.5 if plan.colours == 256 else 1
        scale = min(1.0, plan.scale * wanted ** (1 / 1.8))
        if scale * longest >= MODEST_SIDE or plan.fps <= FEWEST_FPS:
            floor = min(1.0, SHORTEST_SIDE / longest)
            return replace(plan, colours=FEW_COLOURS, scale=max(floor, scale)) if plan.scale > floor else None
        modest = min(plan.scale, MODEST_SIDE / longest)
        left = min(1.0, wanted * (plan.scale / modest) ** 1.8)
        fps = max(FEWEST_FPS, plan.fps * Fraction(left).limit_denominator(100))
        return GifPlan(min(fps, plan.fps), FEW_COLOURS, modest)

    def between(self, heavy: GifPlan, light: GifPlan, way: float) -> GifPlan | None:
        if heavy.scale == light.scale or heavy.fps != light.fps:
            return None
        return replace(light, scale=heavy.scale * (light.scale / heavy.scale) ** way)


def _gif_rate(fps: Fraction) -> Fraction:
    """At most `MAX_FPS`, by taking every n-th frame where that leaves enough."""
    even = fps / math.ceil(fps / MAX_FPS)
    return even if even >= min(EVEN_STEPS_FROM, fps) else MAX_FPS


def _picked(footage: Footage, plan: GifPlan) -> list[int]:
    """Which frames are shown: for each moment of the GIF the one that is on at that time."""
    count = max(1, math.ceil(footage.count * plan.fps / footage.fps))
    return [math.floor(number * footage.fps / plan.fps) for number in range(count)]


def _moments(footage: Footage, plan: GifPlan, num_frames: int) -> list[int]:
    """When each frame begins, and when the last one ends, in centiseconds.

    Moments are rounded, not delays: those differ by a centisecond, their mean is exact. The GIF lasts as long as the
    footage, but nothing shorter than 2, which browsers stretch to 10.
    """
    begins = [round(number / plan.fps / CENTISECONDS) for number in range(num_frames)]
    return [*begins, max(begins[-1] + 2, round(footage.count / footage.fps / CENTISECONDS))]


def _timed(frames: Iterable[av.VideoFrame], moments: list[int]) -> Iterator[av.VideoFrame]:
    for frame, begin, end in zip(frames, moments, moments[1:], strict=False):
        frame.pts, frame.time_base, frame.duration = begin, CENTISECONDS, end - begin
        yield frame


def _paletted(footage: Footage, plan: GifPlan, picked: list[int]) -> Iterator[av.VideoFrame]:
    """The picked frames in the clip's own palette, one at a time."""
    size = _size(footage, plan)
    palette = _palette(footage, plan, picked)
    graph = Graph()
    source = graph.add("buffer", _buffer_of(*size, "rgb24"))
    colours = graph.add("buffer", _buffer_of(palette.width, palette.height, palette.format.name))
    use = graph.add("paletteuse", f"dither={DITHER}:diff_mode=rectangle")
    sink = graph.add("buffersink")
    source.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    colours.push(palette)
    colours.push(None)
    for number, frame in enumerate(_scaled(footage, size, picked)):
        frame.pts, frame.time_base = number, CENTISECONDS
        source.push(frame)
        yield _pulled(sink)


def _palette(footage: Footage, plan: GifPlan, picked: list[int]) -> av.VideoFrame:
    """The clip's colours. Pixels are picked, not averaged: the few exact colours of a drawing survive."""
    small = min(plan.scale, PALETTE_SIDE / max(footage.width, footage.height))
    size = _size(footage, replace(plan, scale=small))
    sample = picked[:: math.ceil(len(picked) / PALETTE_FRAMES)]
    graph = Graph()
    source = graph.add("buffer", _buffer_of(*size, "rgb24"))
    generate = graph.add("palettegen", f"max_colors={plan.colours}:reserve_transparent=1:stats_mode=full")
    sink = graph.add("buffersink")
    source.link_to(generate)
    generate.link_to(sink)
    graph.configure()
    for number, frame in enumerate(_scaled(footage, size, sample, Interpolation.POINT)):
        frame.pts, frame.time_base = number, CENTISECONDS
        source.push(frame)
    source.push(None)
    palette = _pulled(sink)
    palette.pts, palette.time_base = 0, CENTISECONDS
    return palette


def _buffer_of(width: int, height: int, pixel_format: str) -> str:
    return f"video_size={width}x{height}:pix_fmt={pixel_format}:time_base=1/100:pixel_aspect=1/1"


def _pulled(sink: FilterContext) -> av.VideoFrame:
    frame = sink.pull()
    if not isinstance(frame, av.VideoFrame):
        raise TypeError(f"a video filter gave {type(frame).__name__}")
    return frame


def _scaled(
    footage: Footage, size: tuple[int, int], picked: list[int], how: Interpolation = Interpolation.LANCZOS
) -> Iterator[av.VideoFrame]:
    converter = VideoReformatter()
    for frame in _at(footage, picked):
        whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        yield converter.reformat(whole, *size, "rgb24", interpolation=how)


def _at(footage: Footage, picked: list[int]) -> Iterator[Frame]:
    """The frames at these places, in order, in one reading."""
    wanted = set(picked)
    return (frame for number, frame in enumerate(footage) if number in wanted)


def _size(footage: Footage, plan: GifPlan) -> tuple[int, int]:
    return max(1, round(footage.width * plan.scale)), max(1, round(footage.height * plan.scale))


def _notes(footage: Footage, first: GifPlan, plan: GifPlan, width: int, height: int) -> tuple[Note, ...]:
    notes: list[Note] = []
    if plan.scale < 1:
        was = {"from_width": footage.width, "from_height": footage.height}
        notes.append(Note("made_smaller", {"width": width, "height": height, **was}))
    if plan.colours < first.colours:
        notes.append(Note("fewer_colours", {"colours": plan.colours}))
    if plan.fps < first.fps:
        notes.append(Note("fewer_frames", {"fps": round(float(plan.fps), 1)}))
    return tuple(notes)


def with_comment(data: bytes, comment: str) -> bytes:
    """A GIF with a comment (GIF89a specification, 24) before its first picture, behind the loop extension if any."""
    colours = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    at = 13 + colours
    if data[at : at + 14] == b"\x21\xff\x0bNETSCAPE2.0":
        at += 19
    text = comment.encode("utf-8")
    blocks = b"".join(bytes([len(text[i : i + 255])]) + text[i : i + 255] for i in range(0, len(text), 255))
    return data[:at] + b"\x21\xfe" + blocks + b"\0" + data[at:]
