"""Speed: a clip that plays faster or slower, its sound at the pitch it had."""

from dataclasses import replace
from fractions import Fraction
from typing import ClassVar, Literal

from pydantic import Field

from jobs.requests.base import Finishing, Rates, Shape, Shaped, Sources

SLOWEST_FPS, FASTEST_FPS = Fraction(1), Fraction(60)
"""Beyond these, keeping every frame would make a slide show, or frames that no screen shows."""

SpeedFrames = Literal["keep", "nearest", "blend"]


class SpeedRequest(Finishing):
    """Play a clip faster or slower; its sound keeps its pitch."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=30.0, constant=300.0)

    system: Literal["speed"] = "speed"
    factor: float = Field(default=2.0, ge=0.25, le=4, description="2: twice as fast, 0.5: half as fast")
    frames: SpeedFrames = Field(
        default="keep", description="keep every frame at another rate, or keep the rate: nearest frames, or a blend"
    )

    @property
    def ratio(self) -> Fraction:
        """The factor as it was meant: 0.3 is 3/10."""
        return Fraction(self.factor).limit_denominator(1000)

    def rate(self, taken: Shaped) -> Fraction:
        """Frames a second of what comes out."""
        kept = taken.fps * self.ratio if self.frames == "keep" else taken.fps
        return max(SLOWEST_FPS, min(kept, FASTEST_FPS)) if self.frames == "keep" else kept

    def gives(self, sources: Sources) -> Shape:
        """As long as the factor says, to the nearest frame; at least one frame."""
        taken = self.taken(sources)
        rate = self.rate(taken)
        frames = max(1, round(taken.num_frames / taken.fps / self.ratio * rate))
        return replace(taken, num_frames=frames, fps=rate)
