"""What the rooms that edit a clip have in common: what is known of a spool, and a clip made from one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inference.systems.base import Clip, Frame, Tick
from jobs.errors import Note
from jobs.requests.base import Shape
from media.frames import FrameSpool, Sound


def shape_of(spool: FrameSpool) -> Shape:
    """What a request needs to know of a clip."""
    return Shape(
        spool.width,
        spool.height,
        spool.count,
        spool.fps,
        has_alpha=spool.channels == 4,
        has_sound=spool.sound is not None,
    )


def clip_of(
    shape: Shape,
    frames: Iterator[Frame],
    channels: int,
    sound: Sound | None,
    notes: tuple[Note, ...] = (),
    weights: tuple[str, ...] = (),
) -> Clip:
    """A clip of this shape. Whether it has sound is told by `sound` alone; the first of `weights` is named with it."""
    return Clip(
        width=shape.width,
        height=shape.height,
        num_frames=shape.num_frames,
        fps=shape.fps,
        frames=frames,
        channels=channels,
        sound=sound,
        notes=notes,
        weights=weights,
        facts={"model": weights[0]} if weights else {},
    )


def ticked(frames: Iterable[Frame], stage: str, total: int, tick: Tick) -> Iterator[Frame]:
    """The frames, and a word about each: there a cancel takes effect."""
    for number, frame in enumerate(frames, 1):
        tick(stage, number, total)
        yield frame
