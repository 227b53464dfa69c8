"""Encoding until it fits: what a file will weigh is measured on a few of its frames, before all of them are encoded.

What counts as an encode is a pass that could have become the file, whether it was finished or given up. Samples, a few
short runs of frames, are none; together they cost less than one.
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from jobs.errors import Failure, Note

HEADROOM = 0.95
"""Of the budget; the rest is for what a host counts besides the file itself."""
AIM = 0.95
"""Of the limit; what a forecast is meant to say, so that one a little too low still fits."""
NEAR_BITS = 0.1
"""A forecast so many halvings below the aim will do: another sample costs more than it brings."""
NEAR_STEPS = 0.04
"""Between two steps so near lies nothing worth a sample."""
MAX_PASSES = 8
"""Two are the rule; the others are for clips that no sample foretells."""
SAMPLES = 7
CLOSE_ENOUGH = 0.75
"""Of the limit: nobody sees what a quarter more would bring."""


class ClipTooLarge(Failure):
    """No plan however poor fits into the budget."""

    code = "clip_too_large"

    @classmethod
    def for_budget(cls, budget_bytes: int) -> "ClipTooLarge":
        """With the budget as people read it, in MiB."""
        return cls(limit=round(budget_bytes / 2**20, 2))


@dataclass(frozen=True)
class Encoded:
    """A finished file, and what had to be given up to make it fit."""

    path: Path
    size_bytes: int
    width: int
    height: int
    num_frames: int
    fps: Fraction
    passes: int
    notes: tuple[Note, ...] = ()
    ssim: float | None = None
    """Mean structural similarity (0 to 1) to the footage at its own size, over a few frames; see `media.likeness`."""


class Course(Protocol):
    """How one format becomes lighter, as a road: `step` 0 is the best, and each whole step about halves the weight."""

    @property
    def end(self) -> float:
        """The last step: nothing is left to give up there."""
        ...

    def sample(self, step: float) -> int:
        """What the file would weigh, from a few of its frames."""
        ...

    def encode(self, step: float, path: Path, limit_bytes: int) -> int:
        """Encode into `path`; its size, or, where it became hopeless and stopped early, a forecast."""
        ...


def fit(course: Course, path: Path, budget_bytes: int, *, plenty: bool) -> tuple[float, int]:
    """Encode to `path` within `HEADROOM` of the budget; the step that did it, and the number of encodes.

    With `plenty` the first encode begins at once, without samples. `path` appears whole or not at all.

    Raises:
        ClipTooLarge: nothing fits.
    """
    limit = int(budget_bytes * HEADROOM)
    part = path.with_name(f"{path.name}.part")
    search, passes, done = _Search(course, max(1, limit)), 0, None
    try:
        step: float | None = 0.0 if plenty else search.step()
        while step is not None and passes < MAX_PASSES:
            ratio = max(1, course.encode(step, part, limit)) / max(1, limit)
            passes += 1
            if ratio <= 1:
                part.replace(path)
                step, done = _better(search, step, ratio, passes), step
            else:
                step = None if done is not None else _lighter(search, step, ratio)
    finally:
        part.unlink(missing_ok=True)
    if done is None:
        raise ClipTooLarge.for_budget(budget_bytes)
    return done, passes


def _better(search: "_Search", step: float, ratio: float, passes: int) -> float | None:
    """A step that uses more of the budget, where one encode is left for it and it would be seen."""
    if step == 0 or ratio > CLOSE_ENOUGH or passes > 1:
        return None
    search.learn(step, ratio)
    better = search.step()
    return better if better < step else None


def _lighter(search: "_Search", step: float, ratio: float) -> float | None:
    """The next step after one that was too heavy; None at the end of the road."""
    if step >= search.course.end:
        return None
    search.learn(step, ratio)
    return min(search.course.end, max(search.step(), step + math.log2(ratio / AIM) / 2))


class _Search:
    """Finds the step that weighs what it should, by samples that are kept and corrected by what encodes weighed."""

    def __init__(self, course: Course, limit_bytes: int) -> None:
        self.course = course
        self._limit = limit_bytes
        self._sampled: dict[float, int] = {}
        self._trust = 1.0

    def learn(self, step: float, ratio: float) -> None:
        """What an encode weighed over the limit says how far samples are off."""
        self._trust = ratio * self._limit / self._forecast(step)

    def step(self) -> float:
        """The best step that is forecast to fit; the end of the road where none is."""
        heavy, light, step, stride = None, None, 0.0, 0.05
        for number in itertools.count(1):
            bits = math.log2(self._forecast(step) * self._trust / (self._limit * AIM))
            if bits <= 0:
                light = (step, bits)
                if step == 0 or bits > -NEAR_BITS:
                    break
            elif step >= self.course.end:
                return step
            else:
                heavy = (step, bits)
            if light and (number >= SAMPLES or (heavy and light[0] - heavy[0] < NEAR_STEPS)):
                break
            if heavy and light:
                step = _between(heavy, light)
            else:
                # where the road is flatter than it should be (or goes up first), strides double until it is passed
                stride = max(bits * 1.05, 2 * stride)
                step = min(self.course.end, step + stride)
        return light[0] if light else self.course.end

    def _forecast(self, step: float) -> int:
        if step not in self._sampled:
            self._sampled[step] = max(1, self.course.sample(step))
        return self._sampled[step]


def _between(heavy: tuple[float, float], light: tuple[float, float]) -> float:
    """Where a straight line between the two meets the aim, kept off both ends and leaning to the light side."""
    way = heavy[1] / (heavy[1] - light[1])
    return heavy[0] + (light[0] - heavy[0]) * min(0.95, max(0.1, way + 0.03))
