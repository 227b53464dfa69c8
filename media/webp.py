"""Animated WebP: lossy colours, lossless-edged alpha, loops for ever, within a budget of bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape, unescape

import numpy as np
from PIL import Image

from jobs.errors import Note
from media.containers import riff_chunks
from media.fitting import HEADROOM, Encoded, fit
from media.frames import Footage, Frame
from media.passes import Meter, OnFrame
from media.plans import Plan, Road, Sampled, finished, moments, shown, size

BEST_QUALITY, WORST_QUALITY = 88.0, 30.0
QUALITY_BITS = 1.6
"""Halvings of weight between the two; 1.1 to 2.2 were measured on the clips of benchmarks/encode.py."""
SEEN_QUALITY = 70.0
"""Below this the person is told."""
MAX_FPS = Fraction(30)
METHOD = 3
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
ANIMATED, HAS_XMP, HAS_ALPHA = 0x02, 0x04, 0x10
"""Flags of the VP8X chunk (RFC 9649, 2.7)."""
DO_NOT_BLEND = 0x02
"""A flag of an animation frame: what it shows replaces what was there, alpha included."""


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
    lower = Note("lower_quality") if _quality(road.plan(step)) < SEEN_QUALITY else None
    return finished(road, step, path, passes, webp_frames, lower)


def _quality(plan: Plan) -> float:
    return WORST_QUALITY + (BEST_QUALITY - WORST_QUALITY) * plan.quality


@dataclass(frozen=True)
class _Webp:
    footage: Footage
    comment: str

    def write(self, plan: Plan, places: list[int], path: Path, meter: Meter, on_frame: OnFrame | None) -> bool:
        """One frame after the other straight into the file: libwebp's own animation encoder keeps all of them."""
        begins = moments(self.footage, plan, places, MILLISECONDS)
        with path.open("wb") as file:
            file.write(_head(size(self.footage, plan), alpha=self.footage.channels == 4, xmp=bool(self.comment)))
            before: Frame | None = None
            for number, frame in enumerate(shown(self.footage, plan, places)):
                box = _changed(before, frame)
                chunk = _animation_frame(frame, box, begins[number + 1] - begins[number], _quality(plan))
                file.write(chunk)
                meter.add(len(chunk))
                if on_frame:
                    on_frame(number + 1, meter.num_frames)
                if meter.hopeless:
                    return False
                before = frame
            if self.comment:
                file.write(_xmp(self.comment))
            weight = file.tell() - 8
            file.seek(4)
            file.write(weight.to_bytes(4, "little"))
        return True


Box = tuple[int, int, int, int]
"""Left and top, which are even, right and bottom."""


def _changed(before: Frame | None, frame: Frame) -> Box:
    """Where the frame differs from the one before it; where it does not, one pixel, for a frame needs some."""
    height, width, _ = frame.shape
    if before is None:
        return 0, 0, width, height
    differs = np.bitwise_or.reduce([frame[..., c] != before[..., c] for c in range(frame.shape[2])])
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]) // 2 * 2, int(rows[0]) // 2 * 2, int(columns[-1]) + 1, int(rows[-1]) + 1


def _head(canvas: tuple[int, int], *, alpha: bool, xmp: bool) -> bytes:
    """RIFF (its size is known last), the extended header, and an animation that loops for ever (RFC 9649, 2.7)."""
    flags = ANIMATED | (HAS_ALPHA if alpha else 0) | (HAS_XMP if xmp else 0)
    extended = bytes([flags, 0, 0, 0]) + b"".join((side - 1).to_bytes(3, "little") for side in canvas)
    return b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", extended) + _chunk(b"ANIM", bytes(6))


def _animation_frame(frame: Frame, box: Box, milliseconds: int, quality: float) -> bytes:
    """A chunk that replaces what was shown in the box."""
    left, top, right, bottom = box
    still = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame[top:bottom, left:right])).save(
        still, "WEBP", quality=quality, method=METHOD
    )
    data = still.getvalue()
    pictures = b"".join(
        _chunk(part.name, data[part.inside : part.end])
        for part in riff_chunks(data)
        if part.name in {b"ALPH", b"VP8 ", b"VP8L"}
    )
    numbers = (left // 2, top // 2, right - left - 1, bottom - top - 1, milliseconds)
    head = b"".join(number.to_bytes(3, "little") for number in numbers) + bytes([DO_NOT_BLEND])
    return _chunk(b"ANMF", head + pictures)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def _xmp(comment: str) -> bytes:
    return _chunk(b"XMP ", PACKET.format(escape(comment)).encode("utf-8"))


def webp_comment(data: bytes) -> str | None:
    """The comment that `encode_webp` put there, or None."""
    for part in riff_chunks(data):
        if part.name == b"XMP ":
            text = data[part.inside : part.end].decode("utf-8", "replace")
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
