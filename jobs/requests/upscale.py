"""Upscale: two or four times as many pixels on each side, with a super-resolution network where one is installed."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from jobs.errors import Refusal
from jobs.requests.base import Advanced, Finishing, Rates, Shape, Sources, Work

LONGEST_SIDE = 4096
"""What every hardware decoder of H.264 still plays."""
UpscaleFactor = Literal["x2", "x4"]


class UpscaleLarge(Refusal):
    """It would become larger than players can show."""

    code = "upscale_large"


class UpscaleRequest(Finishing):
    """Make a clip's picture larger and sharper."""

    # 26 TFLOP for a megapixel that goes in, at 20 TFLOP/s, and a quarter more for tiles that lie over each other.
    prior: ClassVar[Rates] = Rates(per_step=1_700.0, per_frame=600.0, constant=1_500.0)

    system: Literal["upscale"] = "upscale"
    factor: UpscaleFactor = Field(default="x2", description="how many times as wide and high")
    steady: Annotated[bool, Advanced()] = Field(
        default=True, description="hold fine detail still from frame to frame, where a network would make it shimmer"
    )

    @property
    def times(self) -> int:
        """The factor as a number."""
        return int(self.factor[1:])

    def gives(self, sources: Sources) -> Shape:
        """As many times as large.

        Raises:
            UpscaleLarge: a side would be longer than 4096 pixels.
        """
        taken = self.taken(sources)
        width, height = taken.width * self.times, taken.height * self.times
        if max(width, height) > LONGEST_SIDE:
            raise UpscaleLarge(width=width, height=height, limit=LONGEST_SIDE)
        return replace(taken, width=width, height=height)

    def work(self, sources: Sources) -> Work:
        """In megapixels that go in. The network doubles; the second pass of a ×4 goes over four times as many."""
        self.gives(sources)
        taken = self.taken(sources)
        return Work(taken.num_frames, taken.megapixels, 1 if self.times == 2 else 5)
