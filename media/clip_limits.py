"""What may be read as a clip or a sound, and the refusals of what may not: by declared facts, kind, bytes, pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.errors import Refusal
from media.declared import STILLS, SVG, UNREAD_PICTURES, declared_type, document_words
from media.kinds import EMPTY, Kind

if TYPE_CHECKING:  # the decoding child reads this file too, and starts without pydantic
    from jobs.settings import LimitSettings

MIB = 2**20


@dataclass(frozen=True)
class ClipLimits:
    """What is read at all, to what size it is brought for work, and what the decoding child may use."""

    max_bytes: int = 100 * MIB
    max_seconds: float = 60.0
    max_frames: int = 1800
    """Of the clip that is worked on; a faster one is thinned out until it fits."""
    max_pixels: int = 3840 * 2160 * 11 // 10
    """Per frame. Phones film 4096 × 2160 too."""
    min_side: int = 16
    max_ratio: float = 20.0
    """The long side over the short one."""
    working_side: int = 1280
    """The long side of a decoded frame is at most this."""
    max_sound_seconds: float = 600.0
    """A sound is cut to its clip later, so a whole song may be given. Never below `max_seconds`."""
    decode_seconds: int = 60
    """CPU seconds for looking through a file once; for decoding it, three times as long."""
    memory_bytes: int = 1536 * MIB
    """The child's whole address space."""


class ClipEmpty(Refusal):
    """Zero bytes."""

    code = "clip_empty"


class NotAClip(Refusal):
    """A page, a document, a sound: nothing that moves."""

    code = "clip_not"


class ClipKindNotRead(Refusal):
    """A video, but in a container that is not read here."""

    code = "clip_kind"


class ClipCodecNotRead(Refusal):
    """The container is read, what is inside is not."""

    code = "clip_codec"


class ClipIsStill(Refusal):
    """One frame, or a still picture."""

    code = "clip_still"


class ClipBroken(Refusal):
    """It begins like a clip and does not go on like one."""

    code = "clip_broken"


class FileTooHeavy(Refusal):
    """More bytes than are read here."""

    code = "clip_bytes"


class ClipPlaysTooLong(Refusal):
    """It plays for longer than is read here."""

    code = "clip_lasts_too_long"


class ClipTooManyFrames(Refusal):
    """So many frames that looking at them all would take too long."""

    code = "clip_frames"


class ClipTooManyPixels(Refusal):
    """Its frames are larger than are decoded here."""

    code = "clip_pixels"


class ClipTooSmall(Refusal):
    """A few pixels, or a ribbon."""

    code = "clip_small"


class ClipWithoutPicture(Refusal):
    """Only sound is in it."""

    code = "clip_no_picture"


class TooHardToRead(Refusal):
    """Decoding it takes more memory than is allowed."""

    code = "clip_heavy"


class TooSlowToRead(Refusal):
    """Decoding it takes longer than is allowed."""

    code = "clip_slow"


class NotASound(Refusal):
    """Something in which no sound can be."""

    code = "sound_not"


class NoSound(Refusal):
    """It could have sound, and has none."""

    code = "sound_none"


class SoundBroken(Refusal):
    """It begins like a sound and does not go on like one."""

    code = "sound_broken"


class SoundTooLong(Refusal):
    """It plays for longer than is read here."""

    code = "sound_too_long"


def clip_limits_of(limits: LimitSettings) -> ClipLimits:
    """The owner's settings as limits."""
    return ClipLimits(
        max_bytes=limits.clip_bytes,
        max_seconds=limits.clip_seconds,
        max_frames=limits.clip_frames,
        working_side=limits.clip_side,
        max_sound_seconds=max(limits.clip_seconds, ClipLimits.max_sound_seconds),
    )


def check_file_bytes(size: int, limits: ClipLimits) -> None:
    """Let a file of `size` bytes pass.

    Raises:
        FileTooHeavy: it is too heavy.
    """
    if size > limits.max_bytes:
        raise FileTooHeavy(megabytes=round(size / MIB, 1), limit=round(limits.max_bytes / MIB, 1))


def check_clip_kind(kind: Kind) -> None:
    """Let kinds pass that can hold moving pictures.

    Raises:
        ClipEmpty, ClipIsStill, ClipKindNotRead, NotAClip: it is another kind of file.
    """
    if kind.moves in {"animation", "video"}:
        return
    if kind is EMPTY:
        raise ClipEmpty
    if kind.family in {"readable", "picture"}:
        raise ClipIsStill
    if kind.moves == "unread":
        raise ClipKindNotRead(what=kind.words)
    raise NotAClip(what=kind.words)


def check_sound_kind(kind: Kind) -> None:
    """Let kinds pass that can hold sound.

    Raises:
        ClipEmpty, NotASound: it is another kind of file.
    """
    if kind is EMPTY:
        raise ClipEmpty
    if not kind.demuxer:
        raise NotASound(what=kind.words)


def check_clip_size(width: int, height: int, limits: ClipLimits) -> None:
    """Let frames of this size pass; asked with the header's numbers, before anything is decoded.

    Raises:
        ClipTooManyPixels, ClipTooSmall: they do not fit.
    """
    if width * height > limits.max_pixels:
        raise ClipTooManyPixels(width=width, height=height, limit=round(limits.max_pixels / 1e6, 1))
    if min(width, height) < limits.min_side or max(width, height) > limits.max_ratio * min(width, height):
        raise ClipTooSmall(width=width, height=height, limit=limits.min_side, ratio=f"{limits.max_ratio:g}")


def declared_clip_refusal(name: str, content_type: str | None, size: int, limits: ClipLimits) -> None:
    """Refuse what its own declaration rules out as a clip, before a byte of it is downloaded.

    Lenient where the declaration says nothing or may be a moving picture: the bytes are sniffed later in any case.

    Raises:
        NotAClip, ClipIsStill, ClipEmpty, FileTooHeavy: no need to fetch it.
    """
    declared = declared_type(name, content_type)
    if declared in STILLS:
        raise ClipIsStill
    what = "an audio file" if declared.startswith("audio/") else _document(declared)
    if what:
        raise NotAClip(what=what)
    _check_declared_bytes(size, limits)


def declared_sound_refusal(name: str, content_type: str | None, size: int, limits: ClipLimits) -> None:
    """Refuse what its own declaration rules out as a sound, before a byte of it is downloaded.

    Raises:
        NotASound, ClipEmpty, FileTooHeavy: no need to fetch it.
    """
    declared = declared_type(name, content_type)
    what = _document(declared) or ("a picture" if declared.startswith("image/") else "")
    if what:
        raise NotASound(what=what)
    _check_declared_bytes(size, limits)


def _document(declared: str) -> str:
    """What is neither a picture of pixels nor a clip nor a sound, for people; else empty."""
    return document_words(declared) or (UNREAD_PICTURES[SVG] if declared == SVG else "")


def _check_declared_bytes(size: int, limits: ClipLimits) -> None:
    if size == 0:
        raise ClipEmpty
    check_file_bytes(size, limits)
