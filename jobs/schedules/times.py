"""When something is to hold: `24` (a frame), `2s` (seconds), `50%` (of the clip), `max_f/2` (arithmetic)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from jobs.schedules.expressions import expression
from jobs.schedules.passage import Passage
from jobs.schedules.refusals import (
    ScheduleBeyond,
    ScheduleFar,
    ScheduleFraction,
    ScheduleNoRate,
    ScheduleNoTime,
    SchedulePercent,
    ScheduleUnit,
)

FARTHEST = 100_000
"""Frames; a key may lie beyond the clip, which then ends on the way there."""
BEYOND = 1e9
"""What larger numbers are taken for."""
NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*([a-z]*|%)", re.ASCII | re.IGNORECASE)
ENDS = {"first": 0, "start": 0, "last": -1, "end": -1}
SECONDS = {"s", "sec", "secs", "second", "seconds"}
FRAMES = {"", "f", "frame", "frames"}


@dataclass(frozen=True)
class Clock:
    """What times are counted by."""

    num_frames: int
    fps: float | None
    max_f: int
    """In arithmetic. FizzNodes counts the clip's frames for prompts, and one less for numbers."""


def frame_of(time: Passage, clock: Clock) -> int:
    """The frame that a time stands for; it may lie outside the clip.

    Raises:
        Refusal: it is no time, or arithmetic that is none.
    """
    time = time.strip()
    number = NUMBER.fullmatch(time.text)
    if number:
        frame = _counted(time, max(-BEYOND, min(BEYOND, float(number[1]))), number[2].lower(), clock)
    elif "max_f" in time.text or time.text[:1] in tuple("0123456789.+-("):
        frame = expression(time, frozenset({"max_f"})).value({"max_f": clock.max_f})
    else:
        raise ScheduleNoTime(**time.place(), found=time.shown())
    if abs(frame) > FARTHEST:
        raise ScheduleFar(**time.place(), found=time.shown(), limit=FARTHEST)
    return int(frame)


def places(text: str, num_frames: int, *, fps: float, option: str) -> tuple[int, ...]:
    """Frames of the clip, as a list of times: `0s, 1.5s, last`.

    Raises:
        Refusal: one is no time, or lies beyond the clip.
    """
    clock = Clock(num_frames, fps, max_f=num_frames - 1)
    found: list[int] = []
    for piece in map(Passage.strip, Passage.of(option, text).split(",")):
        frame = ENDS.get(piece.text.lower())
        frame = frame_of(piece, clock) if frame is None else frame % num_frames
        if not 0 <= frame < num_frames:
            raise ScheduleBeyond(**piece.place(), found=piece.shown(), last=num_frames - 1)
        found.append(frame)
    return tuple(found)


def is_frame(time: str) -> bool:
    """Whether a time is a frame's plain number."""
    return bool(re.fullmatch(r"[+-]?\d+", time.strip(), re.ASCII))


def _counted(time: Passage, number: float, unit: str, clock: Clock) -> float:
    """A number with its unit, in frames."""
    if unit in FRAMES:
        if not number.is_integer():
            raise ScheduleFraction(**time.place(), found=time.shown(), number=f"{number:g}")
        return number
    if unit == "%":
        if not 0 <= number <= 100:
            raise SchedulePercent(**time.place(), found=f"{number:g}%")
        return math.floor(number / 100 * (clock.num_frames - 1) + 0.5)
    if unit in SECONDS:
        if clock.fps is None:
            raise ScheduleNoRate(**time.place(), found=time.shown())
        return math.floor(number * clock.fps + 0.5)
    raise ScheduleUnit(**time.place(), found=time.shown(), unit=unit)
