"""The frames of a stranger's video, by FFmpeg. For the decoding child alone.

Only the demuxer of the file's own kind and a few decoders may ever touch the bytes.
"""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Disposition
from PIL import Image

from media.clip_colour import ToSrgb, is_hdr
from media.clip_limits import ClipCodecNotRead, ClipLimits, ClipTooManyPixels, ClipWithoutPicture, check_clip_size
from media.clip_shots import DAMAGE, Shot, working_size
from media.frames import Frame
from media.kinds import Kind

VIDEO_CODECS = frozenset(
    [
        "h264",
        "hevc",
        "vp8",
        "vp9",
        "av1",
        "libdav1d",
        "libvpx",
        "libvpx-vp9",
        "mpeg4",
        "mpeg2video",
        "mjpeg",
        "prores",
        "theora",
        "ffv1",
        "png",
        "qtrle",
    ]
)
SOUND_CODECS = frozenset(
    [
        "aac",
        "mp3",
        "mp3float",
        "opus",
        "libopus",
        "vorbis",
        "flac",
        "alac",
        "ac3",
        "eac3",
        "amrnb",
        "adpcm_ms",
        "adpcm_ima_wav",
    ]
)
MOST_STREAMS = 32
MOST_ERRORS = 200
"""Packets that could not be decoded; after so many the rest is not worth the time. Chosen by eye, not measured: some
seconds of a clip."""
CUT_SECONDS = Fraction(3, 4)
"""A track that ends so much earlier than it says was cut off."""
MOST_STRETCH = 4
"""Pixels may be so many times as wide as high, or the other way round."""


def open_container(path: Path, kind: Kind) -> Any:
    """The file opened by its kind's demuxer, which may open nothing else.

    Raises:
        One of `DAMAGE`, MemoryError: it is broken.
    """
    options = {**walls("file", VIDEO_CODECS | SOUND_CODECS), "threads": "1"}
    return av.open(str(path), format=kind.demuxer, options=options, metadata_errors="replace")


def walls(protocol: str, codecs: Set[str]) -> dict[str, str]:
    """FFmpeg's options that hold a demuxer to this protocol, these codecs (and plain samples) and a few streams."""
    return {
        "protocol_whitelist": protocol,
        "codec_whitelist": ",".join([*sorted(codecs), "pcm_s16le", "pcm_s24le", "pcm_f32le"]),
        "max_streams": str(MOST_STREAMS),
    }


def decoded(container: Any, stream: Any, codec: Any) -> Iterator[Any]:
    """All frames of one stream; None where a packet could not be decoded, or the file ended in the middle of one.

    Raises:
        MemoryError: there was too little of it.
    """
    errors = 0
    packets = container.demux(stream)
    while errors <= MOST_ERRORS:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from codec.decode(packet)
        except MemoryError:
            raise
        except EOFError:
            return
        except DAMAGE:
            errors += 1
            yield None


class Video:
    """Frames by FFmpeg."""

    def __init__(self, path: Path, kind: Kind, limits: ClipLimits) -> None:
        self._container = open_container(path, kind)
        self._stream = self._chosen()
        self._codec = _decoder(self._stream, limits)
        check_clip_size(self._codec.width, self._codec.height, limits)
        self.hdr = self.damaged = False
        self._frames: Iterator[Any] = decoded(self._container, self._stream, self._codec)
        self._first = self._peeked()
        self._turn = _turn_of(self._first)
        full = _shown_size(self._first, self._stream)
        check_clip_size(*full, limits)
        small = working_size(*full, limits.working_side)
        self._to_srgb = ToSrgb(*small)
        self.hdr = is_hdr(self._first)
        self.full_width, self.full_height = self._turn.size(*full)
        self.width, self.height = self._turn.size(*small)
        self._max_pixels = limits.max_pixels

    def _chosen(self) -> Any:
        """The first video track that is no cover picture."""
        for stream in self._container.streams.video:
            if not int(stream.disposition) & int(Disposition.attached_pic):
                return stream
        raise ClipWithoutPicture

    def _peeked(self) -> av.VideoFrame:
        """The first frame that can be decoded: only it tells how the clip is to be turned."""
        for frame in self._frames:
            if frame is not None:
                return cast(av.VideoFrame, frame)
            self.damaged = True
        raise ValueError("no frame in it can be decoded")

    def __iter__(self) -> Iterator[Shot]:
        rate = self._stream.average_rate or self._stream.guessed_rate or 25
        step = 1 / Fraction(rate) if 0 < rate <= 1000 else Fraction(1, 25)
        last: Fraction | None = None
        end = Fraction(0)
        everything: Iterator[Any] = chain((self._first,), self._frames)
        for frame in everything:
            if frame is None:
                self.damaged = True
                continue
            last = _time_of(frame, last, step)
            shot = self._shot(frame, last)
            end = last + (shot.hold or step)
            yield shot
        self.damaged |= self._cut_short(end)

    def _shot(self, frame: av.VideoFrame, start: Fraction) -> Shot:
        if frame.width * frame.height > self._max_pixels:
            raise ClipTooManyPixels(width=frame.width, height=frame.height, limit=round(self._max_pixels / 1e6, 1))
        self.damaged |= bool(frame.is_corrupt)
        hold = frame.duration * frame.time_base if frame.duration and frame.time_base else None
        return Shot(start, hold, _looks(frame), partial(_opaque, frame), partial(self._picture, frame))

    def _picture(self, frame: av.VideoFrame, with_alpha: bool) -> Frame:
        return self._turn.upright(self._with_alpha(frame) if with_alpha else self._to_srgb.rgb(frame))

    def _with_alpha(self, frame: av.VideoFrame) -> Frame:
        """Scaled by Pillow, which weighs colours by their alpha: hidden ones must not bleed into the edges."""
        whole = self._to_srgb.scaled(frame, frame.width, frame.height, "rgba")
        size = (self._to_srgb.width, self._to_srgb.height)
        rgba = Image.fromarray(cast(Frame, whole.to_ndarray()))
        return np.asarray(rgba if rgba.size == size else rgba.resize(size, Image.Resampling.LANCZOS))

    def _cut_short(self, end: Fraction) -> bool:
        """The container promises some time that is not there."""
        promised = _promised(self._stream)
        begin = Fraction(self._stream.start_time or 0) * self._stream.time_base
        return promised is not None and promised - (end - begin) > CUT_SECONDS


def _promised(stream: Any) -> Fraction | None:
    """How long the track is to be, in seconds; Matroska says so in a tag, most others in the index."""
    if stream.duration:
        return stream.duration * stream.time_base
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) if tag else None


def _decoder(stream: Any, limits: ClipLimits) -> Any:
    """What decodes the track, on one thread."""
    codec = stream.codec_context
    if codec is None or codec.name not in VIDEO_CODECS:
        raise ClipCodecNotRead(codec=codec.name if codec else "something unknown")
    if stream.metadata.get("alpha_mode") == "1" and codec.name in {"vp8", "vp9"}:
        # FFmpeg's own decoders of these leave the alpha out, which WebM carries beside the picture.
        with_alpha = cast(Any, av.CodecContext.create("libvpx" if codec.name == "vp8" else "libvpx-vp9", "r"))
        with_alpha.extradata, with_alpha.width, with_alpha.height = codec.extradata, codec.width, codec.height
        codec = with_alpha
    codec.thread_count = 1
    codec.options = {"max_pixels": str(4 * limits.max_pixels)}
    return codec


def _time_of(frame: av.VideoFrame, last: Fraction | None, step: Fraction) -> Fraction:
    """When the frame begins; a frame step after the last one where its own time is missing or goes back."""
    start = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
    if last is None:
        return start or Fraction(0)
    return start if start is not None and start > last else last + step


def _shown_size(frame: av.VideoFrame, stream: Any) -> tuple[int, int]:
    """Its size with square pixels, before it is turned."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, MOST_STRETCH) <= aspect <= MOST_STRETCH:
        aspect = Fraction(1)
    return max(1, round(frame.width * aspect)), frame.height


def _looks(frame: av.VideoFrame) -> str:
    colours = (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries)
    return f"{frame.format.name} {frame.width} {frame.height} {colours}"


def _opaque(frame: av.VideoFrame) -> bool:
    if not any(component.is_alpha for component in frame.format.components):
        return True
    return bool(frame.to_ndarray(format="rgba")[..., 3].min() == 255)


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to hold a picture."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size after turning."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, frame: Frame) -> Frame:
        """The frame, turned: `[H, W, C]` or `[W, H, C]`."""
        if self.transposed:
            frame = frame.transpose(1, 0, 2)
        return frame[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]


def _turn_of(frame: av.VideoFrame) -> Turn:
    """From the display matrix (ISO/IEC 14496-12, 6.2.2) that phones write; x' = a·x + c·y, y' = b·x + d·y."""
    try:
        matrix = np.frombuffer(bytes(cast(Any, frame.side_data)[Type.DISPLAYMATRIX])[:36], np.int32)
    except KeyError:
        return Turn()
    a, b, c, d = (int(matrix[at]) for at in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(transposed=True, mirrored=c < 0, flipped=b < 0)
    return Turn(mirrored=a < 0, flipped=d < 0)
