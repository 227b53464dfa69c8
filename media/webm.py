"""WebM with alpha: VP9 in good quality, Opus, within a budget of bytes."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from jobs.errors import Note
from media.bt709 import tag_bt709, to_bt709
from media.fitting import HEADROOM, Encoded, fit
from media.frames import SOUND_RATE, Footage, Frame
from media.passes import Meter, OnFrame, Track, heard, pour
from media.plans import Plan, Road, Sampled, finished, picked, shown, size
from media.video import best_sound_kbps

BEST_CRF, WORST_CRF = 22.0, 50.0
"""VP9's scale goes to 63; chosen by scale, not by comparison with H.264."""
QUALITY_BITS = 2.6
"""Halvings of weight between the two. Measured on the clips of benchmarks/encode.py: 2.3 (drawn) to 3.2, and 5.1 under
strong grain."""
SEEN_CRF = 33.0
MAX_FPS = Fraction(60)
PLENTY_BITS = 1.2
"""Bits a pixel from which on nothing need be sampled first."""
KEYFRAME_SECONDS = 5
RUN_FRAMES = 20
"""VP9 spends on hidden frames first and saves on those that follow. Measured on the clips of benchmarks/encode.py, from
the best to the worst quality: samples of so many frames foretell 0.86 to 1.05 of the whole, of ten 0.66 to 1.37, and of
forty 0.96 to 1.14 in twice the time."""
SPEED = {"deadline": "good", "cpu-used": "4", "row-mt": "1", "tile-columns": "1", "threads": "2"}


def encode_webm(
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
) -> Encoded:
    """Write `footage` as a WebM of at most 95 % of the budget, with its alpha and sound where it has them.

    Gives up quality first, then size, then frames a second. `metadata` become tags (`COMMENT`). Odd sides are kept.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    limit = int(budget_bytes * HEADROOM)
    road = Road(footage, min(footage.fps, MAX_FPS), QUALITY_BITS)
    bits = 8 * limit / (footage.width * footage.height * footage.count)
    sound, kbps = heard(footage), best_sound_kbps(footage, limit)
    sound_bytes = round((kbps or 0) * 125 * len(sound) / SOUND_RATE) if sound is not None else 0
    course = Sampled(road, _Webm(footage, metadata or {}, kbps), on_frame, RUN_FRAMES, sound_bytes)
    step, passes = fit(course, path, budget_bytes, plenty=bits > PLENTY_BITS)
    lower = Note("lower_quality") if _crf(road.plan(step)) > SEEN_CRF else None
    encoded = finished(road, step, path, passes, webm_frames, lower)
    if sound is None or kbps:
        return encoded
    return replace(encoded, notes=(*encoded.notes, Note("sound_left_out")))


def _crf(plan: Plan) -> float:
    return WORST_CRF + (BEST_CRF - WORST_CRF) * plan.quality


@dataclass(frozen=True)
class _Webm:
    footage: Footage
    metadata: Mapping[str, str]
    sound_kbps: int | None

    def write(self, plan: Plan, places: list[int], path: Path, meter: Meter, on_frame: OnFrame | None) -> bool:
        whole = len(places) == len(picked(self.footage, plan))
        with av.open(str(path), "w", format="webm", options={"fflags": "+bitexact"}) as container:
            container.metadata.update({key.upper(): text for key, text in self.metadata.items()})
            stream = self._stream(container, plan)
            track = self._track(container) if whole else None
            pictures = _yuv(shown(self.footage, plan, places), plan.fps, self.footage.channels == 4)
            return pour(pictures, stream, meter, on_frame, track)

    def _stream(self, container: Any, plan: Plan) -> Any:
        """`auto-alt-ref` off with alpha: libvpx encodes alpha as a second film that must keep step."""
        options = {**SPEED, "crf": f"{round(_crf(plan))}", "b": "0"}
        options["g"] = str(max(1, round(plan.fps * KEYFRAME_SECONDS)))
        if self.footage.channels == 4:
            options["auto-alt-ref"] = "0"
        stream = container.add_stream("libvpx-vp9", plan.fps, options)
        stream.width, stream.height = size(self.footage, plan)
        stream.pix_fmt = "yuva420p" if self.footage.channels == 4 else "yuv420p"
        stream.codec_context.bit_rate = 0
        tag_bt709(stream.codec_context)
        return stream

    def _track(self, container: Any) -> Track | None:
        sound = heard(self.footage)
        if sound is None or not self.sound_kbps:
            return None
        stream = container.add_stream("libopus", SOUND_RATE)
        stream.codec_context.bit_rate, stream.codec_context.layout = self.sound_kbps * 1000, "stereo"
        return Track(stream, sound)


def _yuv(frames: Iterator[Frame], fps: Fraction, has_alpha: bool) -> Iterator[av.VideoFrame]:
    """The frames in limited-range BT.709 4:2:0, alpha beside it, numbered."""
    converter = VideoReformatter()
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgba" if has_alpha else "rgb24")
        converted = to_bt709(converter, picture, "yuva420p" if has_alpha else "yuv420p")
        converted.pts, converted.time_base = number, 1 / fps
        yield converted


def webm_frames(path: Path, step: int = 1) -> Iterator[Frame]:
    """Every `step`-th frame of a VP9 file, `[H, W, 3]`, or `[H, W, 4]` where it has alpha, which FFmpeg drops."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        has_alpha = stream.metadata.get("alpha_mode") == "1"
        decoder = cast(Any, av.CodecContext.create("libvpx-vp9", "r"))
        decoder.extradata = stream.codec_context.extradata
        packets = (packet if packet.size else None for packet in container.demux(stream))
        frames = itertools.chain.from_iterable(decoder.decode(packet) for packet in packets)
        for frame in itertools.islice(frames, 0, None, step):
            yield frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
