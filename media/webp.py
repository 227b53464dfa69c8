"""Animated WebP: lossy colours, lossless-edged alpha, loops for ever, within a budget of bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from xml.sax.saxutils import escape, unescape

import av
import numpy as np
from PIL import Image

from jobs.errors import Note
from media.fitting import HEADROOM, Encoded, fit
from media.frames import Footage, Frame
from media.likeness import likeness
from media.passes import Meter, OnFrame
from media.plans import Plan, Road, Sampled, given_up, moments, picked, shown, size

BEST_QUALITY, WORST_QUALITY = 88.0, 30.0
QUALITY_BITS = 1.6
"""Halvings of weight between the two."""
SEEN_QUALITY = 70.0
"""Below this the person is told."""
MAX_FPS = Fraction(30)
METHOD = "3"
"""Of libwebp's 0 (fast) to 6 (small); not compared with its neighbours yet."""
PLENTY_BITS = 3.0
"""Bits a pixel from which on nothing need be sampled first."""
MILLISECONDS = Fraction(1, 1000)
BEGIN, END = "<dc:description>", "</dc:description>"
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    f"{BEGIN}{{}}{END}</rdf:Description></rdf:RDF></x:xmpmeta>"
)
HAS_XMP = 0x04
"""A flag of the VP8X chunk (RFC 9649, 2.7)."""


def encode_webp(
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
) -> Encoded:
    """Write `footage` as an animated WebP of at most 95 % of the budget, with its alpha where it has one.

    Gives up quality first, then size, then frames a second. Of `metadata` it carries `comment`, as XMP.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    comment = (metadata or {}).get("comment", "")
    road = Road(footage, min(footage.fps, MAX_FPS), QUALITY_BITS)
    bits = 8 * budget_bytes * HEADROOM / (footage.width * footage.height * footage.count)
    course = Sampled(road, _Webp(footage, comment), on_frame)
    step, passes = fit(course, path, budget_bytes, plenty=bits > PLENTY_BITS)
    plan = road.plan(step)
    places, lower = picked(footage, plan), Note("lower_quality") if _quality(plan) < SEEN_QUALITY else None
    alike = likeness(footage, places, partial(webp_frames, path))
    return Encoded(
        path, path.stat().st_size, *size(footage, plan), len(places), plan.fps, passes,
        given_up(footage, road.plan(0), plan, lower), alike,
    )  # fmt: skip


def _quality(plan: Plan) -> float:
    return WORST_QUALITY + (BEST_QUALITY - WORST_QUALITY) * plan.quality


@dataclass(frozen=True)
class _Webp:
    footage: Footage
    comment: str

    def write(self, plan: Plan, places: list[int], path: Path, meter: Meter, on_frame: OnFrame | None) -> bool:
        """All frames leave libwebp's animation encoder at once, so a pass is never given up in its middle."""
        options = {"quality": f"{_quality(plan):.2f}", "compression_level": METHOD}
        begins = moments(self.footage, plan, places, MILLISECONDS)
        with av.open(str(path), "w", format="webp", options={"loop": "0"}) as container:
            stream = cast(Any, container).add_stream("libwebp_anim", 1000, options)
            stream.width, stream.height = size(self.footage, plan)
            stream.pix_fmt = "bgra"
            stream.codec_context.time_base = MILLISECONDS
            for number, frame in enumerate(shown(self.footage, plan, places)):
                picture = av.VideoFrame.from_ndarray(_bgra(frame), format="bgra")
                picture.pts, picture.time_base = begins[number], MILLISECONDS
                picture.duration = begins[number + 1] - begins[number]
                for packet in stream.encode(picture):
                    stream.container.mux_one(packet)
                if on_frame:
                    on_frame(number + 1, meter.num_frames)
            for packet in stream.encode(None):
                stream.container.mux_one(packet)
        _finish(path, self.comment, [end - begin for begin, end in pairwise(begins)], meter)
        return True


def _bgra(frame: Frame) -> Frame:
    bgra = np.full((*frame.shape[:2], 4), 255, np.uint8)
    bgra[..., :3] = frame[..., 2::-1]
    if frame.shape[2] == 4:
        bgra[..., 3] = frame[..., 3]
    return bgra


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """A WebP file's chunks (RFC 9649, 2.3): name, begin and size of what each holds."""
    at = 12
    while at + 8 <= len(data):
        weight = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, min(weight, len(data) - at - 8)
        at += 8 + weight + weight % 2


def _finish(path: Path, comment: str, delays: list[int], meter: Meter) -> None:
    """Weigh each frame, mend the last one's delay, which the encoder guesses, and add the comment."""
    data = bytearray(path.read_bytes())
    frames = [(begin, weight) for name, begin, weight in chunks(bytes(data)) if name == b"ANMF"]
    for _, weight in frames or [(0, len(data))]:
        meter.add(weight + 8)
    if frames and len(frames) == len(delays):
        last = frames[-1][0] + 12
        data[last : last + 3] = delays[-1].to_bytes(3, "little")
    path.write_bytes(with_xmp(bytes(data), comment) if comment else bytes(data))


def with_xmp(data: bytes, comment: str) -> bytes:
    """A WebP with an extended header and `comment` as the description of its XMP chunk, at the file's end."""
    if data[12:16] != b"VP8X":
        data = _extended(data)
    flags = bytes([data[20] | HAS_XMP])
    packet = PACKET.format(escape(comment)).encode("utf-8")
    chunk = b"XMP " + len(packet).to_bytes(4, "little") + packet + b"\0" * (len(packet) % 2)
    data = data[:20] + flags + data[21:] + chunk
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


def _extended(data: bytes) -> bytes:
    """A plain WebP (one frame) with the header that metadata need."""
    with Image.open(BytesIO(data)) as picture:
        width, height = picture.size
        flags = 0x10 if picture.mode == "RGBA" else 0
    header = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return data[:12] + b"VP8X" + len(header).to_bytes(4, "little") + header + data[12:]


def webp_comment(data: bytes) -> str | None:
    """The comment that `with_xmp` put there, or None."""
    for name, begin, weight in chunks(data):
        if name == b"XMP ":
            text = data[begin : begin + weight].decode("utf-8", "replace")
            _, found, rest = text.partition(BEGIN)
            return unescape(rest.partition(END)[0]) if found else None
    return None


def webp_frames(path: Path, step: int = 1) -> Iterator[Frame]:
    """Every `step`-th frame of a WebP, `[H, W, 3]`, or `[H, W, 4]` where it has alpha."""
    with Image.open(path) as picture:
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        for number in range(0, getattr(picture, "n_frames", 1), step):
            picture.seek(number)
            yield np.asarray(picture.convert(mode))
