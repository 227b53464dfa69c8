"""What is known of a clip or a sound once it was decoded, and how that crosses from the child: as JSON, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

from jobs.errors import Fact, Note


@dataclass(frozen=True)
class ClipFacts:
    """A clip as it is worked on: upright, at the working size, at a steady rate."""

    width: int
    height: int
    num_frames: int
    fps: Fraction
    has_alpha: bool
    """Some pixel can really be seen through."""
    has_sound: bool
    kind: str
    """What the file is, for people: `"an MP4 video"`."""
    notes: tuple[Note, ...] = ()
    """What should be said about how it was read."""

    @property
    def channels(self) -> int:
        """Of its frames: 4 with alpha, else 3."""
        return 4 if self.has_alpha else 3

    @property
    def frame_bytes(self) -> int:
        """Of one raw frame."""
        return self.width * self.height * self.channels


@dataclass(frozen=True)
class SoundFacts:
    """A sound as it is worked with."""

    seconds: float


def plain_clip(facts: ClipFacts) -> dict[str, Any]:
    """For the wire."""
    return {
        **{name: getattr(facts, name) for name in ("width", "height", "num_frames", "has_alpha", "has_sound", "kind")},
        "fps": [facts.fps.numerator, facts.fps.denominator],
        "notes": [[note.code, dict(note.facts)] for note in facts.notes],
    }


def clip_from_plain(plain: Any) -> ClipFacts:
    """From the wire. The child reads strangers' files, so what it says is not trusted further than it must be.

    Raises:
        ValueError: it is nonsense.
    """
    said = _fields(plain, {"width", "height", "num_frames", "fps", "has_alpha", "has_sound", "kind", "notes"})
    numerator, denominator = (_whole(part) for part in _items(said["fps"]))
    return ClipFacts(
        width=_whole(said["width"]),
        height=_whole(said["height"]),
        num_frames=_whole(said["num_frames"]),
        fps=Fraction(numerator, denominator),
        has_alpha=said["has_alpha"] is True,
        has_sound=said["has_sound"] is True,
        kind=_words(said["kind"]),
        notes=tuple(_note(*_items(note)) for note in _items(said["notes"])),
    )


def facts_from_plain(plain: Any) -> dict[str, Fact]:
    """A sentence's facts, from the wire.

    Raises:
        ValueError: they are nonsense.
    """
    return {_name(name): _fact(value) for name, value in _fields(plain).items()}


def _fields(plain: Any, wanted: set[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(plain, dict):
        raise ValueError("no object")
    fields = cast(dict[str, Any], plain)
    if wanted is not None and set(fields) != wanted:
        raise ValueError(f"{sorted(fields)} are not the fields")
    return fields


def _items(plain: Any) -> list[Any]:
    if not isinstance(plain, list) or len(cast(list[Any], plain)) > 16:
        raise ValueError("no list, or a long one")
    return cast(list[Any], plain)


def _whole(plain: Any) -> int:
    if type(plain) is not int or not 0 < plain < 2**40:
        raise ValueError(f"{plain!r} is no count")
    return plain


def _words(plain: Any) -> str:
    if not isinstance(plain, str) or len(plain) > 100:
        raise ValueError("no words")
    return plain


def _name(plain: Any) -> str:
    if not re.fullmatch(r"[a-z_]{1,40}", _words(plain)):
        raise ValueError("no name")
    return plain


def _fact(plain: Any) -> Fact:
    return plain if type(plain) in (int, float) else _words(plain)


def _note(code: Any, facts: Any) -> Note:
    return Note(_name(code), facts_from_plain(facts))
