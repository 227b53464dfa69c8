"""How large a picture may be, and the refusals of those that are not: by declared facts, by bytes, by pixels."""

from dataclasses import dataclass

from jobs.errors import Refusal
from media.declared import OGG, UNREAD_PICTURES, declared_type, document_words
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


_OTHERS = {"video": "a video", "audio": "an audio file", OGG: "an Ogg audio or video file"}


def declared_refusal(name: str, content_type: str | None, size: int, limits: PictureLimits) -> None:
    """Refuse what its own declaration rules out, before a byte of it is downloaded.

    Lenient where the declaration says nothing or claims to be a picture: the bytes are sniffed later in any case.

    Raises:
        EmptyFile, TooManyBytes, NotAPicture, KindNotRead: no need to fetch it.
    """
    declared = declared_type(name, content_type)
    other = document_words(declared) or _OTHERS.get(declared) or _OTHERS.get(declared.split("/")[0])
    if other:
        raise NotAPicture(what=other)
    unread = UNREAD_PICTURES.get(declared_type("", content_type))  # many a JPEG is called .heic, or .bmp
    if unread:
        raise KindNotRead(what=unread)
    if size == 0:
        raise EmptyFile
    check_bytes(size, limits)
