"""The mark: our recipe as JSON in a file's own metadata, written by every encoder and read back here from any file.

A mark is a claim: anybody can write one. What proves something is `media/provenance.py`.
"""

import html
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from jobs.recipe import Recipe
from media.containers import PNG_BEGIN, Part, boxes, elements, gif_blocks, png_chunks, riff_chunks, sub_blocks

MAX_MARK_BYTES = 256 * 1024
"""A recipe of twenty steps is not a tenth of it."""
KEY = "zoetrope"
"""Under this key stands the recipe; `job` and `checkpoints` stand beside it."""
_BEGINS = re.compile(r'\{\s*"zoetrope"\s*:')
_JOB_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,23}")

_SEGMENT, _TAGS, _TAG, _SIMPLE = b"\x18\x53\x80\x67", b"\x12\x54\xc3\x67", b"\x73\x73", b"\x67\xc8"
_TAG_STRING = b"\x44\x87"


def mark_text(recipe: Recipe, job_id: str, checkpoints: Mapping[str, Any] | None = None) -> str:
    """What an encoder writes: one line of JSON in ASCII, so that no container's idea of characters can spoil it."""
    mark: dict[str, Any] = {KEY: recipe.model_dump(mode="json"), "job": job_id}
    if checkpoints:
        mark["checkpoints"] = checkpoints
    return json.dumps(mark, separators=(",", ":"))


def read_mark(data: bytes) -> dict[str, Any] | None:
    """The mark in an MP4, GIF, WebP, PNG, APNG or WebM file, as it stands there; None where there is none of ours."""
    for text in _texts(data):
        if (mark := parse_mark(text)) is not None:
            return mark
    return None


def parse_mark(text: bytes) -> dict[str, Any] | None:
    """The mark in a piece of metadata, in whose midst it may stand. Never raises."""
    words = text.decode("utf-8", "replace") if len(text) <= MAX_MARK_BYTES else ""
    begins = _BEGINS.search(words)
    if begins is None:
        return None
    try:
        found, _ = json.JSONDecoder(parse_constant=_no_number).raw_decode(words, begins.start())
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], found) if isinstance(found[KEY], dict) else None


def job_of(mark: Mapping[str, Any] | None) -> str | None:
    """The job that a mark names, where that is an id as ours are."""
    job_id = (mark or {}).get("job")
    return job_id if isinstance(job_id, str) and _JOB_ID.fullmatch(job_id) else None


def recipe_of(mark: Mapping[str, Any] | None) -> Recipe | None:
    """The recipe in a mark, checked like every recipe from outside; None where this version cannot make it."""
    try:
        return Recipe.model_validate((mark or {}).get(KEY))
    except (ValidationError, RecursionError):
        return None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _texts(data: bytes) -> Iterator[bytes]:
    """Pieces of metadata in which a mark may stand, by what the file's first bytes say it is."""
    if data[4:8] == b"ftyp":
        yield from _in_mp4(data)
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        yield from _in_gif(data)
    elif data.startswith(PNG_BEGIN):
        yield from _in_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        yield from _in_webp(data)
    elif data[:4] == b"\x1a\x45\xdf\xa3":
        yield from _in_webm(data)


def _piece(data: bytes, part: Part, skip: int = 0) -> bytes:
    """A part's content; empty where it is longer than any mark."""
    return data[part.inside + skip : part.end] if part.end - part.inside <= MAX_MARK_BYTES else b""


def _in_mp4(data: bytes) -> Iterator[bytes]:
    """`moov/udta/meta/ilst/*/data`: 8 bytes say what is in it, then the text. `meta` begins with 4 bytes of version."""
    path: tuple[tuple[bytes | None, int], ...] = (
        (b"moov", 0), (b"udta", 0), (b"meta", 4), (b"ilst", 0), (b"\xa9cmt", 0), (b"data", 8),
    )  # fmt: skip
    yield from _along(data, boxes, path, 0, len(data))


def _in_webp(data: bytes) -> Iterator[bytes]:
    for part in riff_chunks(data):
        if part.name == b"XMP ":  # XML, in which quotes and more are written as entities
            yield html.unescape(_piece(data, part).decode("utf-8", "replace")).encode()
        elif part.name == b"EXIF":
            yield _piece(data, part)


def _in_webm(data: bytes) -> Iterator[bytes]:
    """`Segment/Tags/Tag/SimpleTag/TagString`."""
    path: tuple[tuple[bytes | None, int], ...] = (
        (_SEGMENT, 0), (_TAGS, 0), (_TAG, 0), (_SIMPLE, 0), (_TAG_STRING, 0),
    )  # fmt: skip
    yield from _along(data, elements, path, 0, len(data))


def _along(
    data: bytes,
    walk: Callable[[bytes, int, int], Iterator[Part]],
    path: tuple[tuple[bytes | None, int], ...],
    begin: int,
    end: int,
) -> Iterator[bytes]:
    """Contents of the parts at the end of a path of names, each with how many bytes of its content to pass over."""
    [(name, skip), *rest] = path
    for part in walk(data, begin, end):
        if part.name != name:
            continue
        if rest:
            yield from _along(data, walk, tuple(rest), part.inside + skip, part.end)
        else:
            yield _piece(data, part, skip)


def _in_gif(data: bytes) -> Iterator[bytes]:
    """Comments, and the XMP that other programs write."""
    for part in gif_blocks(data):
        if part.name in (b"\xfe", b"\xff"):
            yield sub_blocks(data, part, MAX_MARK_BYTES)


def _in_png(data: bytes) -> Iterator[bytes]:
    for part in png_chunks(data):
        if part.name in (b"tEXt", b"eXIf"):
            yield _piece(data, part)
        elif part.name == b"zTXt":
            keyword, _, rest = _piece(data, part).partition(b"\0")
            yield _inflated(rest[1:]) if keyword else b""
        elif part.name == b"iTXt":
            yield _international(_piece(data, part))


def _international(content: bytes) -> bytes:
    """An iTXt's text: behind keyword, two bytes (is it compressed, and how), language, translated keyword."""
    _, _, rest = content.partition(b"\0")
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _inflated(text) if rest[:1] == b"\1" else text


def _inflated(data: bytes) -> bytes:
    """At most one mark's worth of what was compressed; more is a bomb, or nothing of ours."""
    try:
        return zlib.decompressobj().decompress(data, MAX_MARK_BYTES)
    except zlib.error:
        return b""
