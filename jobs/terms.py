"""On which terms a person asks: their share of the GPU and their limits, worked out from roles and settings."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from jobs.recipe import Value

LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0
"""A tag grows by cost / weight: a weight of next to nothing would carry it past all numbers, and the line with it."""


def _within_bounds(weight: object) -> object:
    """Records of older versions may hold any weight, and must still be read."""
    return min(max(weight, LEAST_WEIGHT), MOST_WEIGHT) if isinstance(weight, int | float) else weight


Weight = Annotated[float, BeforeValidator(_within_bounds)]


class Terms(Value):
    """One person's terms in one server, as they hold for a job that is accepted now. 0 as a limit means none."""

    weight: Weight = Field(default=1.0, description="share of the server's GPU time, beside the others' weights")
    guild_weight: Weight = Field(default=1.0, description="the server's share, beside other servers' weights")
    waiting: int = Field(default=10, ge=0, description="jobs this person may have open")
    running: int = Field(default=0, ge=0, description="jobs of theirs that may run at once")
    gpu_seconds_per_day: float = Field(default=0.0, ge=0, description="GPU seconds from midnight to midnight, UTC")
    megapixel_seconds: float = Field(default=0.0, ge=0, description="seconds × megapixels that one clip may have")
