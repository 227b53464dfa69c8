"""Trim: a part of a clip, and of its frames only every n-th where that is asked for."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from jobs.errors import Refusal
from jobs.requests.base import Advanced, Finishing, Rates, Shape, Shaped, Sources


class TrimOrder(Refusal):
    """The end does not come after the start."""

    code = "trim_order"


class TrimPastEnd(Refusal):
    """The clip is over before."""

    code = "trim_past_end"


class TrimRequest(Finishing):
    """Cut a part out of a clip."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=10.0, constant=200.0)

    system: Literal["trim"] = "trim"
    start: float = Field(default=0.0, ge=0, le=3600, description="seconds into the clip at which it begins")
    end: float | None = Field(default=None, gt=0, le=3600, description="seconds at which it stops; empty: its end")
    every: Annotated[int, Advanced()] = Field(
        default=1, ge=1, le=10, description="keep only every n-th frame: before /smooth, it takes flicker away"
    )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise TrimOrder(start=self.start, end=self.end)
        return self

    def span(self, taken: Shaped) -> range:
        """Which frames stay, at least one. Each stands for `step` frames of the clip.

        What is left at the end and is no whole step goes: the last frame would be shown for longer than the part lasts,
        and the sound would end before it, or go on past the end that was asked for.

        Raises:
            TrimPastEnd: the clip is shorter than that.
        """
        fps, frames = taken.fps, taken.num_frames
        first = round(self.start * fps)
        last = frames if self.end is None else round(self.end * fps)
        # An end that is told as a rounded number of seconds may lie a little behind the last frame.
        if first >= frames or last > frames + fps * 0.1:
            raise TrimPastEnd(
                asked=self.start if first >= frames else self.end or 0.0, seconds=round(float(frames / fps), 2)
            )
        count = max(1, min(last, frames) - first)
        step = min(self.every, count)
        return range(first, first + count // step * step, step)

    def gives(self, sources: Sources) -> Shape:
        """The part's length; every n-th frame plays at an n-th of the rate."""
        taken = self.taken(sources)
        span = self.span(taken)
        return replace(taken, num_frames=len(span), fps=taken.fps / span.step)
