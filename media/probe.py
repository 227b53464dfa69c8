"""What a finished file is, and its frames once more for another try at a smaller budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av

from media.fitting import Encoded
from media.frames import Frame
from media.gif import encode_gif
from media.passes import OnFrame
from media.video import encode_mp4


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


def probe(path: Path) -> VideoFacts:
    """Read an MP4's or GIF's facts by going over its packets; nothing is decoded but the first frame."""
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
            pix_fmt=codec.pix_fmt or "",
            profile=codec.profile or "",
            moov_first=_moov_first(path),
            metadata=dict(container.metadata),
        )


def reencode(source: Path, path: Path, budget_bytes: int, *, on_frame: OnFrame | None = None) -> Encoded:
    """Write an MP4 or GIF of ours once more, within another budget: Discord said it is too large after all.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    facts = probe(source)
    encode = encode_gif if facts.codec == "gif" else encode_mp4
    kept = {"comment": facts.metadata["comment"]} if "comment" in facts.metadata else {}
    return encode(EncodedFootage(source, facts), path, budget_bytes, metadata=kept, on_frame=on_frame)


class EncodedFootage:
    """The frames of a file, decoded anew at each reading instead of being kept."""

    def __init__(self, path: Path, facts: VideoFacts) -> None:
        self._path = path
        self.width, self.height, self.count, self.fps = facts.width, facts.height, facts.frames, facts.fps
        self.channels, self.sound = 3, None

    def __iter__(self) -> Iterator[Frame]:
        with av.open(str(self._path)) as container:
            for frame in container.decode(video=0):
                yield rgb(frame)


def rgb(frame: av.VideoFrame) -> Frame:
    """One decoded frame as uint8 `[H, W, 3]`, converted by the matrix and range that the file is tagged with."""
    return cast(Frame, frame.to_ndarray(format="rgb24"))


def _moov_first(path: Path) -> bool:
    """Walk the top-level boxes (ISO/IEC 14496-12, 4.2)."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in {b"moov", b"mdat"}:
                return kind == b"moov"
            skipped = int.from_bytes(file.read(8), "big") - 16 if size == 1 else size - 8
            if skipped < 0:
                return False
            file.seek(skipped, 1)
    return False
