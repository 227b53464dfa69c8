"""What a file consists of, without decoding any of it: boxes of MP4, chunks of PNG and WebP, blocks of GIF, elements of
WebM. Bounded and never trusting: a walk goes forward with every step, and ends where a length does not fit."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
MAX_PARTS = 200_000
"""So many parts of one file are looked at, the rest is left alone: a GIF of 25 MB has a tenth of that."""


@dataclass(frozen=True)
class Part:
    """One box, chunk, block or element: where it begins, where its content does, and where both end."""

    name: bytes
    begin: int
    inside: int
    end: int


def boxes(data: bytes | mmap, begin: int = 0, end: int | None = None) -> Iterator[Part]:
    """Boxes of an MP4 (ISO 14496-12, 4.2) side by side: a size of 32 bits, or 1 and 64 bits, or 0 up to the end."""
    at, stop = begin, len(data) if end is None else min(end, len(data))
    for _ in range(MAX_PARTS):
        if at + 8 > stop:
            return
        size, name = struct.unpack_from(">I4s", data, at)
        inside = at + 8
        if size == 1 and at + 16 <= stop:
            [size], inside = struct.unpack_from(">Q", data, at + 8), at + 16
        elif size == 0:
            size = stop - at
        if at + size > stop or size < inside - at:
            return
        yield Part(name, at, inside, at + size)
        at += size


def png_chunks(data: bytes) -> Iterator[Part]:
    """Chunks of a PNG or APNG; `end` is before the checksum, which nobody checks here."""
    at = len(PNG_BEGIN)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + size > len(data):
            return
        yield Part(name, at, at + 8, at + 8 + size)
        at += 12 + size


def riff_chunks(data: bytes) -> Iterator[Part]:
    """Chunks of a WebP; an odd one is followed by a byte that counts for nothing."""
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        name, size = struct.unpack_from("<4sI", data, at)
        if at + 8 + size > len(data):
            return
        yield Part(name, at, at + 8, at + 8 + size)
        at += 8 + size + size % 2


def gif_blocks(data: bytes) -> Iterator[Part]:
    """Blocks of a GIF (GIF89a specification, 17 to 26): `head`, `picture`, and extensions named by their label."""
    if len(data) < 13:
        return
    at = 13 + _colours(data[10])
    yield Part(b"head", 0, 0, min(at, len(data)))
    for _ in range(MAX_PARTS):
        begin = at
        if data[at : at + 1] == b"\x2c" and at + 10 <= len(data):
            name, inside = b"picture", at + 10 + _colours(data[at + 9]) + 1
        elif data[at : at + 1] == b"\x21" and at + 2 <= len(data):
            name, inside = data[at + 1 : at + 2], at + 2
        else:
            return
        at = _after_sub_blocks(data, inside)
        yield Part(name, begin, inside, min(at, len(data)))


def sub_blocks(data: bytes, part: Part, most: int) -> bytes:
    """What a GIF block's sub-blocks hold, put together; empty where that is more than `most` bytes."""
    pieces, at, total = list[bytes](), part.inside, 0
    while at < part.end and data[at]:
        total += data[at]
        if total > most:
            return b""
        pieces.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(pieces)


def _colours(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def elements(data: bytes, begin: int, end: int) -> Iterator[Part]:
    """Elements of a WebM (RFC 8794) side by side, named by their id; one of unknown size goes up to `end`."""
    at, stop = begin, min(end, len(data))
    for _ in range(MAX_PARTS):
        id_bytes = _vint_bytes(data, at, stop, 4)
        size_bytes = _vint_bytes(data, at + id_bytes, stop, 8) if id_bytes else 0
        if not size_bytes:
            return
        inside = at + id_bytes + size_bytes
        size = int.from_bytes(data[at + id_bytes : inside], "big") & ((1 << 7 * size_bytes) - 1)
        unknown = size == (1 << 7 * size_bytes) - 1
        after = stop if unknown else inside + size
        if after > stop:
            return
        yield Part(data[at : at + id_bytes], at, inside, after)
        at = after


def _vint_bytes(data: bytes, at: int, stop: int, most: int) -> int:
    """How long the variable-sized number at `at` is; 0 where there is none."""
    if at >= stop or not data[at]:
        return 0
    length = 9 - data[at].bit_length()
    return length if length <= most and at + length <= stop else 0
