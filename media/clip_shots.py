"""What the readers of videos and of pictures that move have in common: frames as they stand in the file, with times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from av.error import FFmpegError

from media.damage import DAMAGE as PICTURE_DAMAGE
from media.frames import Frame

DAMAGE = (FFmpegError, *PICTURE_DAMAGE)
"""The same for all that a clip goes through."""


@dataclass(frozen=True)
class Shot:
    """One frame that can be looked at until the next is asked for."""

    start: Fraction
    """Seconds on the file's own clock; later than the frame before."""
    hold: Fraction | None
    """How long it stays, where the file says so."""
    looks: str
    """Its size, layout and colours; frames that look alike are converted alike."""
    opaque: Callable[[], bool]
    picture: Callable[[bool], Frame]
    """Upright, sRGB, at the working size, with alpha or without: uint8 `[H, W, 4 or 3]`."""


class Shots(Protocol):
    """A file that moves."""

    width: int
    height: int
    """The working size, upright."""
    full_width: int
    full_height: int
    """The size as it is shown by the file, upright."""
    hdr: bool
    damaged: bool
    """Known in full once all frames were gone through."""

    def __iter__(self) -> Iterator[Shot]: ...


def working_size(width: int, height: int, side: int) -> tuple[int, int]:
    """The size scaled down until its long side is `side`, if it is longer."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
