"""How large a picture may be, and the refusals of those that are not: by declared facts, by bytes, by pixels."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from jobs.errors import Refusal
from media.kinds import EmptyFile, KindNotRead, NotAPicture

MIB = 2**20


@dataclass(frozen=True)
class PictureLimits:
    """What is read at all, and to what size it is brought for work."""

    max_bytes: int = 25 * MIB
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    min_side: int = 16
    max_ratio: float = 20.0
    """The long side over the short one. A ribbon would have next to no rows left at `working_side`."""
    working_side: int = 2048
    """The long side of the normalised picture is at most this."""


class TooManyBytes(Refusal):
    """The file is heavier than is read here."""

    code = "picture_bytes"


class TooManyPixels(Refusal):
    """The header claims more pixels than are decoded here."""

    code = "picture_pixels"


class SideTooLong(Refusal):
    """One side is longer than is decoded here."""

    code = "picture_side"


class TooSmall(Refusal):
    """There is nothing in it to animate."""

    code = "picture_small"


class TooThin(Refusal):
    """A ribbon."""

    code = "picture_thin"


def check_bytes(size: int, limits: PictureLimits) -> None:
    """Let a file of `size` bytes pass; usable while it is still coming in.

    Raises:
        TooManyBytes: it is, or has become, too heavy.
    """
    if size > limits.max_bytes:
        raise TooManyBytes(megabytes=round(size / MIB, 1), limit=round(limits.max_bytes / MIB, 1))


def check_size(width: int, height: int, limits: PictureLimits) -> None:
    """Let a picture of this many pixels pass; asked with the header's numbers, before anything is decoded.

    Raises:
        SideTooLong, TooManyPixels, TooSmall, TooThin: it does not fit.
    """
    if max(width, height) > limits.max_side:
        raise SideTooLong(width=width, height=height, limit=limits.max_side)
    if width * height > limits.max_pixels:
        raise TooManyPixels(width=width, height=height, limit=limits.max_pixels // 1_000_000)
    if min(width, height) < limits.min_side:
        raise TooSmall(width=width, height=height, limit=limits.min_side)
    if max(width, height) > limits.max_ratio * min(width, height):
        raise TooThin(width=width, height=height, limit=f"{limits.max_ratio:g}")


_DECLARED_OTHER = {
    "video": "a video",
    "audio": "an audio file",
    "text": "a text file",
    "application/pdf": "a PDF document",
    "application/zip": "a ZIP archive",
    "application/json": "a JSON file",
}
_DECLARED_UNREAD = {
    "image/bmp": "a BMP picture",
    "image/heic": "a HEIC picture",
    "image/heif": "a HEIC picture",
    "image/jxl": "a JPEG XL picture",
    "image/svg+xml": "an SVG drawing",
    "image/tiff": "a TIFF picture",
    "image/vnd.adobe.photoshop": "a Photoshop document (PSD)",
}
_DECLARED_SUFFIXES = {
    **dict.fromkeys((".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"), "video/*"),
    **dict.fromkeys((".mp3", ".wav", ".ogg", ".flac", ".m4a", ".opus"), "audio/*"),
    **dict.fromkeys((".txt", ".md", ".html", ".csv", ".py"), "text/*"),
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".json": "application/json",
}


def declared_refusal(name: str, content_type: str | None, size: int, limits: PictureLimits) -> None:
    """Refuse what its own declaration rules out, before a byte of it is downloaded.

    Lenient where the declaration says nothing or claims to be a picture: the bytes are sniffed later in any case.

    Raises:
        EmptyFile, TooManyBytes, NotAPicture, KindNotRead: no need to fetch it.
    """
    declared = (content_type or "").split(";")[0].strip().lower()
    if declared in {"", "application/octet-stream"}:
        declared = _DECLARED_SUFFIXES.get(PurePosixPath(name).suffix.lower(), "")
    other = _DECLARED_OTHER.get(declared) or _DECLARED_OTHER.get(declared.split("/")[0])
    if other:
        raise NotAPicture(what=other)
    if declared in _DECLARED_UNREAD:
        raise KindNotRead(what=_DECLARED_UNREAD[declared])
    if size == 0:
        raise EmptyFile
    check_bytes(size, limits)
