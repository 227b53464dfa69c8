"""What stickers and emojis have in common: a small square, short and silent."""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from jobs.requests.base import Finishing, Rates, Shape, Shaped, Sources


class Stamp(Finishing):
    """A clip as a small square. The encoder then sees to its weight."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=60.0, constant=200.0)
    side: ClassVar[int]
    """Pixels."""
    most_seconds: ClassVar[float] = 5.0
    """What is longer is cut, which the person is told."""

    framing: Literal["fit", "crop"] = Field(default="fit", description="show the whole picture, or fill the square")
    padding: Literal["transparent", "blurred"] = Field(
        default="transparent", description="what is beside a picture that is not square"
    )

    def frames_of(self, taken: Shaped) -> int:
        """How many frames stay, at least 1."""
        return max(1, min(taken.num_frames, int(self.most_seconds * taken.fps)))

    def pads_clear(self, taken: Shaped) -> bool:
        """Whether what comes out has transparent bars."""
        return self.framing == "fit" and self.padding == "transparent" and taken.width != taken.height

    def gives(self, sources: Sources) -> Shape:
        """A silent square, as long as is allowed."""
        taken = self.taken(sources)
        return replace(
            taken,
            width=self.side,
            height=self.side,
            num_frames=self.frames_of(taken),
            has_alpha=taken.has_alpha or self.pads_clear(taken),
            has_sound=False,
        )
