"""Encoding until it fits: one pass after another, each with a plan drawn from what the last one weighed."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from jobs.errors import Failure, Note

HEADROOM = 0.95
"""Of the budget; the rest is for what a host counts besides the file itself."""

AIM = 0.92
"""Of the limit; what a new plan is meant to weigh, so that a forecast a little too low still fits."""

MAX_PASSES = 12
REFINEMENTS = 4
"""Passes spent on coming closer once something fits."""
CLOSE_ENOUGH = 0.75
"""Of the limit: nobody sees what a quarter more would bring."""


class ClipTooLarge(Failure):
    """No plan however poor fits into the budget."""

    code = "clip_too_large"


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


Plan = TypeVar("Plan")


class Ladder(Protocol[Plan]):
    """How one format encodes, and what it gives up to become lighter."""

    def encode(self, plan: Plan, path: Path, limit_bytes: int) -> int:
        """Encode by `plan` into `path`; its size, or, where it became hopeless and stopped early, a forecast."""
        ...

    def lighter(self, plan: Plan, ratio: float) -> Plan | None:
        """The plan after one that weighed `ratio` times the limit; None where nothing is left to give up."""
        ...

    def between(self, heavy: Plan, light: Plan, way: float) -> Plan | None:
        """A plan `way` (0 to 1) from one that is too heavy to one that is too light; None where there is none."""
        ...


@dataclass(frozen=True)
class Weighed(Generic[Plan]):
    """A plan that was tried, and its weight over the limit."""

    plan: Plan
    ratio: float

    @property
    def bits(self) -> float:
        """How many halvings it is away from the aim: above 0 too heavy."""
        return math.log2(self.ratio / AIM)


def fit(first: Plan, ladder: Ladder[Plan], path: Path, budget_bytes: int) -> tuple[Plan, int]:
    """Encode to `path` within `HEADROOM` of the budget; return the plan that did it and the number of passes.

    `path` appears whole or not at all.

    Raises:
        ClipTooLarge: nothing fits.
    """
    limit = int(budget_bytes * HEADROOM)
    part = path.with_name(f"{path.name}.part")
    heavy: Weighed[Plan] | None = None
    light: Weighed[Plan] | None = None
    plan: Plan | None = first
    passes, refinements, bolder = 0, REFINEMENTS, 1.0
    try:
        while plan is not None and passes < MAX_PASSES:
            tried = Weighed(plan, max(1, ladder.encode(plan, part, limit)) / max(1, limit))
            passes += 1
            if tried.ratio <= 1:
                part.replace(path)
                light, bolder = tried, bolder * 0.6 if light else 1.0
            else:
                heavy, bolder = tried, 1.0
            if light is None:
                plan = ladder.lighter(plan, tried.ratio)
            elif heavy is None or light.ratio > CLOSE_ENOUGH or refinements == 0:
                plan = None
            else:
                refinements -= 1
                plan = ladder.between(heavy.plan, light.plan, _part_way(heavy, light) * bolder)
    finally:
        part.unlink(missing_ok=True)
    if light is None:
        raise ClipTooLarge(limit=round(budget_bytes / 2**20, 2))
    return light.plan, passes


def _part_way(heavy: Weighed[Plan], light: Weighed[Plan]) -> float:
    """Where between the two the aim is met, 0 (heavy) to 1 (light), kept off both ends.

    Weight falls steeply while film grain goes and slowly after, so a straight line lands too light time and again; the
    caller goes bolder after each such landing (as in the Illinois method).
    """
    return min(0.95, max(0.1, heavy.bits / (heavy.bits - light.bits)))
