"""Numbers that change in the course of a clip, as `0:(1), 8:(1.4)`.

Between plain numbers the value goes in a straight line; arithmetic such as `(1 + t/10)` is worked out for every frame
until the next key, and the last value stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from jobs.schedules.expressions import Expression, expression
from jobs.schedules.notation import CLOSING, Entry, check_length, checked
from jobs.schedules.passage import Passage
from jobs.schedules.refusals import (
    ScheduleNoColon,
    ScheduleNoComma,
    ScheduleNoValue,
    ScheduleParenthesis,
    ScheduleValueOutside,
)
from jobs.schedules.times import Clock, frame_of

EXAMPLE = "0:(1), 8:(1.4)"
PLAIN = re.compile(r"[\s(]*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[\s)]*", re.ASCII)
NAMES = frozenset({"t", "max_f"})


def value_schedule(
    text: str,
    num_frames: int,
    *,
    fps: float | None = None,
    low: float = float("-inf"),
    high: float = float("inf"),
    option: str = "values",
) -> tuple[float, ...]:
    """Read a schedule: one number for each frame of the clip.

    Raises:
        Refusal: what is wrong, and in which line and column.
    """
    clock = Clock(num_frames, fps, max_f=num_frames - 1)
    entries = _entries(Passage.of(option, text))
    keys = {frame_of(entry.time, clock): entry.body for entry in entries}
    values = _values({frame: expression(body, NAMES) for frame, body in keys.items()}, clock)
    for frame, value in enumerate(values):
        if not low <= value <= high:
            key = max((key for key in keys if key <= frame), default=min(keys))
            place = keys[key].place()
            raise ScheduleValueOutside(**place, value=f"{value:g}", frame=frame, low=f"{low:g}", high=f"{high:g}")
    return tuple(values)


def _values(keys: Mapping[int, Expression], clock: Clock) -> list[float]:
    """A number for each frame."""

    def value(key: int, t: int) -> float:
        return float(keys[key].value({"t": t, "max_f": clock.max_f}))

    # FizzNodes passes over keys outside the clip; where there is no other, the nearest holds.
    inside = sorted(key for key in keys if 0 <= key < clock.num_frames) or [min(keys, key=lambda key: (abs(key), key))]
    values = [value(inside[0], inside[0])] * clock.num_frames
    for key, following in pairwise([*inside, clock.num_frames]):
        last = following == clock.num_frames
        start = value(key, key)
        step = 0.0 if last else (value(following, following) - start) / (following - key)
        moves = not PLAIN.fullmatch(keys[key].source.text)
        for t in range(max(key, 0), following):
            values[t] = value(key, t) if moves else start + step * (t - key)
    return values


def _entries(text: Passage) -> list[Entry]:
    """The entries; a lone number holds from the start."""
    check_length(text)
    if PLAIN.fullmatch(text.text):
        return [Entry(text.drawn("0", (0, 0)), text.strip())]
    return checked(text, [_entry(piece) for piece in _pieces(text)], EXAMPLE)


def _entry(piece: Passage) -> Entry:
    """One key and its value."""
    head, colon, tail = piece.text.partition(":")
    if not colon or not head.strip():
        raise ScheduleNoColon(**piece.place(), found=piece.stands(), example=EXAMPLE)
    body = _bare(piece.cut(len(head) + 1))
    if not body.text.strip("()"):
        raise ScheduleNoValue(**piece.place(len(head)), found=piece.stands(), example=EXAMPLE)
    if ":" in tail:
        index = len(head) + 1 + tail.index(":")
        raise ScheduleNoComma(**piece.place(index), found=piece.stands(index), example=EXAMPLE)
    return Entry(_bare(piece.cut(0, len(head))), body)


def _bare(text: Passage) -> Passage:
    """Without quotes around it."""
    text = text.strip()
    if len(text.text) > 1 and text.text[-1] in CLOSING.get(text.text[0], ""):
        return text.cut(1, len(text.text) - 1).strip()
    return text


def _pieces(text: Passage) -> list[Passage]:
    """What stands between commas, bars and line ends that are not in parentheses."""
    pieces: list[Passage] = []
    opened: list[int] = []
    start = 0
    for index, char in enumerate(text.text):
        if char == "(":
            opened.append(index)
        elif char == ")" and opened:
            opened.pop()
        elif char in ",|\n" and not opened:
            pieces.append(text.cut(start, index).strip())
            start = index + 1
    if opened:
        raise ScheduleParenthesis(**text.place(opened[0]), found=text.stands(opened[0]), example=EXAMPLE)
    return [piece for piece in (*pieces, text.cut(start).strip()) if piece]
