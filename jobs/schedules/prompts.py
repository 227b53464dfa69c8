"""Prompts that change in the course of a clip: two for each frame, and how much of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from jobs.schedules.expressions import Expression, Number, Numbers, expression
from jobs.schedules.notation import check_length, prompt_entries
from jobs.schedules.passage import Passage
from jobs.schedules.refusals import ScheduleBacktick, ScheduleManyExpressions, ScheduleTwoNegatives
from jobs.schedules.times import Clock, frame_of, is_frame

NEGATIVE = "--neg"
MOST_EXPRESSIONS = 20
WEIGHTS = ("pw_a", "pw_b", "pw_c", "pw_d")
NAMES = frozenset({"t", "max_f", *WEIGHTS})
Weight = Number | Sequence[Number]
"""A number, or one for each frame; the last one stays."""


class Prompt(NamedTuple):
    """What is wanted, and what is not."""

    positive: str
    negative: str


@dataclass(frozen=True)
class Frame:
    """A frame's conditioning is weight * E(now) + (1 - weight) * E(then), positive and negative alike."""

    now: Prompt
    then: Prompt
    weight: float


@dataclass(frozen=True)
class Key:
    """A frame with a prompt of its own; its expressions stand there as they were written."""

    frame: int
    prompt: Prompt


@dataclass(frozen=True)
class PromptSchedule:
    """What was written, made out."""

    frames: tuple[Frame, ...]
    keys: tuple[Key, ...]


class Between(NamedTuple):
    """Where a frame lies: the indices of two keys, and how much of the first."""

    now: int
    then: int
    weight: float


@dataclass(frozen=True)
class _Template:
    """A prompt with its expressions, which are worked out anew for each frame."""

    parts: tuple[str | Expression, ...]

    def at(self, numbers: Numbers) -> str:
        """The prompt of a frame."""
        return "".join(part if isinstance(part, str) else str(part.value(numbers)) for part in self.parts).strip()

    def __str__(self) -> str:
        return "".join(part if isinstance(part, str) else f"`{part.source.text}`" for part in self.parts)


@dataclass(frozen=True)
class _Templates:
    """A prompt's positive and negative half."""

    positive: _Template
    negative: _Template

    def at(self, numbers: Numbers) -> Prompt:
        """Both halves for a frame."""
        return Prompt(self.positive.at(numbers), self.negative.at(numbers))


def prompt_schedule(
    text: str,
    num_frames: int,
    *,
    fps: float | None = None,
    before: str = "",
    after: str = "",
    weights: Sequence[Weight] = (0, 0, 0, 0),
    option: str = "prompts",
    around: tuple[str, str] = ("before", "after"),
) -> PromptSchedule:
    """Read a schedule for a clip of so many frames; `before` and `after` stand around every prompt of it.

    `option` and `around` are what the three texts are called, for sentences.

    Raises:
        Refusal: what is wrong, and in which option, line and column.
    """
    clock = Clock(num_frames, fps, max_f=num_frames)
    joined = _Joiner(Passage.of(around[0], before), Passage.of(around[1], after))
    # Of equal times the last holds, at the place of the first: of those written alike, then of those worked out alike,
    # and plain numbers apart from arithmetic, which matters where both come to the same frame. All as FizzNodes has it.
    written = {entry.time.text.strip(): entry for entry in prompt_entries(Passage.of(option, text))}
    held: dict[str | int, tuple[int, _Templates]] = {}
    for time, entry in written.items():
        frame = frame_of(entry.time, clock)
        held[time if is_frame(time) else frame] = frame, joined(entry.body)
    keyed = sorted(held.values(), key=lambda key: key[0])
    prompts = [prompt for _, prompt in keyed]
    frames: list[Frame] = []
    for t, place in enumerate(between([frame for frame, _ in keyed], num_frames)):
        numbers: Numbers = {"t": t, "max_f": num_frames - 1, **_weights_at(weights, t)}
        now = prompts[place.now].at(numbers)
        then = now if place.now == place.then else prompts[place.then].at(numbers)
        frames.append(Frame(now, then, place.weight))
    keys = (Key(frame, Prompt(str(prompt.positive), str(prompt.negative))) for frame, prompt in keyed)
    return PromptSchedule(tuple(frames), tuple(keys))


def between(keys: Sequence[int], num_frames: int) -> list[Between]:
    """For each frame the keys it lies between. Before the first and after the last key, both are the same.

    The weights fall there too, towards the clip's ends, as FizzNodes has them; of equal prompts that means nothing.
    """
    framed = [(0, 0), *((frame, index) for index, frame in enumerate(keys)), (num_frames, len(keys) - 1)]
    places = [Between(0, 0, 1.0)] * num_frames
    for (start, now), (end, then) in pairwise(framed):
        if start < end:
            step = 1 / (end - start)
            for frame in range(max(start, 0), min(end, num_frames)):
                places[frame] = Between(now, then, 1 - step * (frame - start))
    return places


def _weights_at(weights: Sequence[Weight], frame: int) -> dict[str, Number]:
    """The four numbers of a frame, by their names."""
    return {
        name: weight if isinstance(weight, int | float) else weight[min(frame, len(weight) - 1)]
        for name, weight in zip(WEIGHTS, weights, strict=True)
    }


class _Joiner:
    """Puts the texts around a prompt, each half by itself, and reads the expressions."""

    def __init__(self, before: Passage, after: Passage) -> None:
        for text in (before, after):
            check_length(text)
            pieces = text.split(NEGATIVE)
            if len(pieces) > 2:
                second = len(pieces[0].text) + len(NEGATIVE) + len(pieces[1].text)
                raise ScheduleTwoNegatives(**text.place(second))
        self.count = 0
        self.before = [self._parts(half) for half in _halves(before)]
        # FizzNodes takes one trailing 0 for a text that was left out.
        self.after = [self._parts(half.cut(0, len(half.text.removesuffix("0")))) for half in _halves(after)]

    def __call__(self, prompt: Passage) -> _Templates:
        """A prompt with what stands around it."""
        parts = [
            _Template((*first, " ", *self._parts(half), " ", *last))
            for first, half, last in zip(self.before, _halves(prompt), self.after, strict=True)
        ]
        return _Templates(*parts)

    def _parts(self, text: Passage) -> list[str | Expression]:
        """Text and expressions in turn; an expression stands between backticks."""
        pieces = text.split("`")
        if len(pieces) % 2 == 0:
            raise ScheduleBacktick(**text.place(len(text.text) - len(pieces[-1].text) - 1))
        self.count += len(pieces) // 2
        if self.count > MOST_EXPRESSIONS:
            raise ScheduleManyExpressions(**text.place(), limit=MOST_EXPRESSIONS)
        return [expression(piece, NAMES) if index % 2 else piece.text for index, piece in enumerate(pieces)]


def _halves(text: Passage) -> tuple[Passage, Passage]:
    """What is wanted and what is not; FizzNodes leaves out what follows a second `--neg`."""
    positive, *negative = text.split(NEGATIVE)
    return positive, negative[0] if negative else text.cut(len(text.text))
