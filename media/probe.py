"""What a finished file is, and its frames once more for another try at a smaller budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from PIL import Image

from media.apng import png_comment, png_frames
from media.containers import boxes
from media.fitting import Encoded
from media.formats import encode
from media.frames import SOUND_RATE, Frame, Sound
from media.passes import OnFrame
from media.webm import webm_frames
from media.webp import webp_comment, webp_frames

KIND_OF_CODEC = {"gif": "gif", "webp": "webp", "vp9": "webm", "apng": "apng", "png": "apng"}
"""Of our own files; everything else is an MP4."""
READERS = {"gif": png_frames, "webp": webp_frames, "webm": webm_frames, "apng": png_frames}


@dataclass(frozen=True)
class VideoFacts:
    """What a player would find."""

    width: int
    height: int
    frames: int
    fps: Fraction
    seconds: float
    codec: str
    pix_fmt: str
    profile: str
    moov_first: bool
    """An MP4's index stands before its pictures, so that it plays while it loads."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    sound_codec: str = ""
    """Empty where it has no sound."""


def probe(path: Path) -> VideoFacts:
    """Read the facts of a file of ours, of any kind, by going over its packets; at most the first frame is decoded."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return _webp_facts(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        sizes = [(packet.pts or 0, packet.duration or 0) for packet in container.demux(stream) if packet.size]
        begin, end = min(pts for pts, _ in sizes), max(pts + duration for pts, duration in sizes)
        seconds = (end - begin) * cast(Fraction, stream.time_base)
        codec = stream.codec_context
        return VideoFacts(
            width=codec.width,
            height=codec.height,
            frames=len(sizes),
            fps=len(sizes) / seconds if seconds else Fraction(0),
            seconds=float(seconds),
            codec=codec.name,
            pix_fmt="yuva420p" if stream.metadata.get("alpha_mode") == "1" else codec.pix_fmt or "",
            profile=codec.profile or "",
            moov_first=_moov_first(path),
            metadata=_tags(path, head, container.metadata),
            sound_codec=next((sound.codec_context.name for sound in container.streams.audio), ""),
        )


def _tags(path: Path, head: bytes, found: Mapping[str, str]) -> dict[str, str]:
    """Container tags by lower-case names; a PNG's comment is no tag to FFmpeg."""
    tags = {key.lower(): text for key, text in found.items()}
    if head.startswith(b"\x89PNG"):
        comment = png_comment(path.read_bytes())
        return tags if comment is None else {**tags, "comment": comment}
    return tags


def _webp_facts(path: Path) -> VideoFacts:
    """FFmpeg reads no animated WebP; Pillow does."""
    with Image.open(path) as picture:
        delays: list[int] = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            picture.load()
            delays.append(int(picture.info.get("duration", 0)))
        seconds, comment = Fraction(sum(delays), 1000), webp_comment(path.read_bytes())
        return VideoFacts(
            width=picture.width,
            height=picture.height,
            frames=len(delays),
            fps=len(delays) / seconds if seconds else Fraction(0),
            seconds=float(seconds),
            codec="webp",
            pix_fmt="rgba" if picture.mode == "RGBA" else "rgb24",
            profile="",
            moov_first=False,
            metadata={} if comment is None else {"comment": comment},
        )


def reencode(source: Path, path: Path, budget_bytes: int, *, on_frame: OnFrame | None = None) -> Encoded:
    """Write a file of ours once more, as what it is, within another budget: Discord said it is too large after all.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    facts = probe(source)
    kept = {"comment": facts.metadata["comment"]} if "comment" in facts.metadata else {}
    footage = EncodedFootage(source, facts)
    return encode(footage.kind, footage, path, budget_bytes, metadata=kept, on_frame=on_frame)


class EncodedFootage:
    """The frames of a file, decoded anew at each reading instead of being kept, and its sound."""

    def __init__(self, path: Path, facts: VideoFacts) -> None:
        self._path = path
        self.kind = KIND_OF_CODEC.get(facts.codec, "mp4")
        self.width, self.height, self.count = facts.width, facts.height, facts.frames
        self.fps = facts.fps.limit_denominator(1001)
        self.sound = decoded_sound(path) if facts.sound_codec else None
        self.channels = next(iter(self._frames())).shape[2]

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first on."""
        for frame in self._frames():
            yield frame if frame.shape[2] == self.channels else np.ascontiguousarray(frame[..., : self.channels])

    def _frames(self) -> Iterator[Frame]:
        if self.kind in READERS:
            yield from READERS[self.kind](self._path)
            return
        with av.open(str(self._path)) as container:
            for frame in container.decode(video=0):
                yield rgb(frame)


def decoded_sound(path: Path) -> Sound | None:
    """The sound of a file of ours, int16 `[N, 2]` at 48 kHz; None where it has none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=SOUND_RATE)
        parts: list[Any] = []
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray().reshape(-1, 2) for part in resampler.resample(frame)]
        parts += [part.to_ndarray().reshape(-1, 2) for part in resampler.resample(None)]
    return np.concatenate(parts) if parts else None


def rgb(frame: av.VideoFrame) -> Frame:
    """One decoded frame as uint8 `[H, W, 3]`, converted by the matrix and range that the file is tagged with."""
    return cast(Frame, frame.to_ndarray(format="rgb24"))


def _moov_first(path: Path) -> bool:
    """Of the top-level boxes; the file is mapped, not read."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        found = (part.name for part in boxes(data) if part.name in {b"moov", b"mdat"})
        return next(found, b"") == b"moov"
