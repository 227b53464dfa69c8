"""Smooth: a clip at a higher rate, with frames made between its frames."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from jobs.errors import Refusal
from jobs.requests.base import Advanced, Finishing, Rates, Shape, Sources, Work

MOST_FPS = 60
"""No screen that people have shows more, and 8 × 60 frames a second would be a file of nothing else."""
MOST_FRAMES = 120 * MOST_FPS
"""Two minutes of it."""

Factor = Literal["x2", "x4", "x8"]
Method = Literal["auto", "rife", "film", "flow"]


class SmoothTooMany(Refusal):
    """More frames would come out than a clip may have."""

    code = "smooth_too_many"


class SmoothFast(Refusal):
    """Not even twice the clip's rate may be made."""

    code = "smooth_fast"


def frames_given(count: int, fps: Fraction, rate: Fraction, loop: bool) -> int:
    """How many frames come out of `count` when `fps` becomes `rate`: to the last frame, in a loop back to the first."""
    if loop:
        return max(1, round(count * rate / fps))
    return math.floor((count - 1) * rate / fps) + 1


class SmoothRequest(Finishing):
    """Make motion smoother: put new frames between the frames of a clip."""

    # Measured on one core of a small machine: optical flow takes 2 s for a megapixel; RIFE on a GPU some 20 ms.
    prior: ClassVar[Rates] = Rates(per_step=500.0, per_frame=30.0, constant=500.0)

    system: Literal["smooth"] = "smooth"
    factor: Factor = Field(default="x2", description="how many times the frames a second")
    fps: int | None = Field(
        default=None, ge=8, le=MOST_FPS, description="frames a second to reach, instead of a factor"
    )
    loop: bool = Field(default=False, description="the clip repeats: lead from its last frame to its first as well")
    method: Method = Field(default="auto", description="what makes the frames; auto: the best that is installed here")
    scale: Annotated[Literal["auto", "0.25", "0.5", "1", "2"], Advanced()] = Field(
        default="auto", description="size at which RIFE looks for motion: less for 4K, more for tiny motion"
    )

    @property
    def multi(self) -> int:
        """The factor as a number."""
        return int(self.factor.removeprefix("x"))

    def asked(self, fps: Fraction) -> Fraction:
        """The rate that was asked for a clip at `fps`, however high."""
        return Fraction(self.fps) if self.fps else fps * self.multi

    def rate(self, fps: Fraction) -> Fraction:
        """The new rate of a clip at `fps`: where a factor asks for too much, the largest one that does not.

        Raises:
            SmoothFast: not even twice the rate may be.
        """
        asked = self.asked(fps)
        if asked <= MOST_FPS:
            return asked
        times = MOST_FPS // fps
        if times < 2:
            raise SmoothFast(fps=float(fps), asked=float(asked), factor=self.multi, limit=MOST_FPS)
        return fps * times

    def gives(self, sources: Sources) -> Shape:
        """The same clip with more frames in the same time.

        Raises:
            SmoothFast, SmoothTooMany: more frames than a second or a clip may have.
        """
        clip = self.taken(sources)
        rate = self.rate(clip.fps)
        count = frames_given(clip.num_frames, clip.fps, rate, self.loop)
        if count > MOST_FRAMES:
            raise SmoothTooMany(frames=count, limit=MOST_FRAMES)
        return replace(clip, num_frames=count, fps=rate)

    def work(self, sources: Sources) -> Work:
        """One pass over every frame that comes out, made or handed on."""
        given = self.gives(sources)
        return Work(given.num_frames, given.width * given.height / 1e6, 1)
