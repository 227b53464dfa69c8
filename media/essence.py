"""The essence of a file: a hash of its pictures and sound as they were encoded, without anything said about them.

It stays the same where a program strips or rewrites metadata, or packs the same streams anew, and nothing else does.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from av.error import FFmpegError

from media.containers import PNG_BEGIN, gif_blocks, png_chunks, riff_chunks
from media.opening import opened

_SAYS_SOMETHING_GIF = frozenset({b"\xfe", b"\xff"})
"""Comments, and what programs add (the loop count among it, which some drop)."""
_SHOWS_SOMETHING_PNG = frozenset(
    {
        b"IHDR",
        b"PLTE",
        b"tRNS",
        b"IDAT",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"IEND",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"cICP",
    }
)
_SHOWS_SOMETHING_WEBP = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANMF"})


def essence(data: bytes) -> str | None:
    """SHA-256 in hex; None where the file is of no kind that we make, or is broken. Demuxes: not for a process that
    must live on."""
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _hash(
            b"gif", (data[part.begin : part.end] for part in gif_blocks(data) if part.name not in _SAYS_SOMETHING_GIF)
        )
    if data.startswith(PNG_BEGIN):
        shown = (part for part in png_chunks(data) if part.name in _SHOWS_SOMETHING_PNG)
        return _hash(b"png", (part.name + data[part.inside : part.end] for part in shown))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        shown = (part for part in riff_chunks(data) if part.name in _SHOWS_SOMETHING_WEBP)
        return _hash(b"webp", (part.name + data[part.inside : part.end] for part in shown))
    try:
        return _hash(b"streams", sorted(_streams(data)))
    except FFmpegError:
        return None


def _hash(kind: bytes, pieces: Iterable[bytes]) -> str | None:
    digest, none = hashlib.sha256(kind), True
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
        none = False
    return None if none else digest.hexdigest()


def _streams(data: bytes) -> Iterator[bytes]:
    """A hash for each stream that is seen or heard, whatever order their packets lie in."""
    hashes = dict[int, Any]()
    container = opened(data)
    if container is None:
        return
    with container:
        for packet in container.demux():
            if packet.size and packet.stream.type in ("video", "audio"):
                digest = hashes.setdefault(packet.stream.index, hashlib.sha256(packet.stream.type.encode()))
                digest.update(packet.size.to_bytes(8, "big"))
                digest.update(bytes(packet))
    yield from (digest.digest() for digest in hashes.values())
