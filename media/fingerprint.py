"""A fingerprint of what a clip looks like, which survives being encoded anew, made smaller or another format.

Five frames, of each whether it grows brighter from one field of a 9 × 8 grid to the next: 64 bits (the difference hash
known as dHash). Likeness is no proof: two clips of one picture are alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from media.frames import Footage, Frame
from media.passes import frames_at, over_white

MOMENTS = 5
BITS = 64
CELL = 8
"""Pixels of each field's side on the way down, so that averages are exact."""
ALIKE = 48
"""Of 320 bits: at most so many differ where it is the same clip. tests/test_whose.py says how that was found."""
FLATTEST = 2.0
"""Grey levels between fields, on average: a frame with less has noise for bits."""


def moments(count: int) -> list[int]:
    """Which of `count` frames are looked at: the middles of five equal spans."""
    return [(2 * number + 1) * count // (2 * MOMENTS) for number in range(MOMENTS)]


def of_footage(footage: Footage) -> str | None:
    """The fingerprint of frames that were just made; None where they show next to nothing."""
    seen = frames_at(footage, moments(footage.count))
    return fingerprint([grid(_opaque(frame)) for frame in seen])


def of_grids(grids: Sequence[NDArray[np.float32]]) -> str | None:
    """The fingerprint of a clip of which every frame was brought to its grid."""
    return fingerprint([grids[number] for number in moments(len(grids))]) if grids else None


def grid(frame: av.VideoFrame, converter: VideoReformatter | None = None) -> NDArray[np.float32]:
    """A frame's brightness on the grid, float32 `[8, 9]`, 0 to 255. What it lets through shows white, as in an MP4."""
    if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
        frame = _opaque(cast(Frame, frame.to_ndarray(format="rgba")))
    small = (converter or VideoReformatter()).reformat(
        frame, 9 * CELL, 8 * CELL, "gray", interpolation=Interpolation.AREA
    )
    return small.to_ndarray().astype(np.float32).reshape(8, CELL, 9, CELL).mean((1, 3))


def _opaque(frame: Frame) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(over_white(frame)), format="rgb24")


def fingerprint(grids: Sequence[NDArray[np.float32]]) -> str | None:
    """80 hexadecimal digits of five grids; None where most of them are flat."""
    steps = [np.diff(one, axis=1) for one in grids]
    if sum(float(np.abs(step).mean()) >= FLATTEST for step in steps) <= MOMENTS // 2:
        return None
    return np.packbits(np.stack(steps) > 0).tobytes().hex()


def distance(one: str, other: str) -> int:
    """How many of the 320 bits differ; unrelated clips differ in about half."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def nearest(wanted: str, known: Iterable[tuple[str, str]]) -> str | None:
    """Of (job id, fingerprint) pairs the job that looks most like it, if any is alike at all."""
    distances: Iterator[tuple[int, str]] = ((distance(wanted, print_), job_id) for job_id, print_ in known)
    best = min(distances, default=(ALIKE + 1, ""))
    return best[1] if best[0] <= ALIKE else None
