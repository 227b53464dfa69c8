"""Loop: a clip that can be watched round and round, without a jump where its end meets its start."""

from typing import ClassVar, Literal

from pydantic import Field

from jobs.errors import Refusal
from jobs.requests.base import Finishing, Rates, Shape, Shaped, Sources

LoopStyle = Literal["blend", "crossfade", "boomerang"]
LEAST_FRAMES = 3
"""Fewer have no motion to close."""
LEAST_SECONDS = 0.1
"""Where not even that fits, it stands for as much as does."""
USUAL_PART = 3
"""Where nobody says how long: one of so many parts of the clip, and at most a second of it."""


class LoopShort(Refusal):
    """There are too few frames to make a loop of."""

    code = "loop_short"


class LoopOverlap(Refusal):
    """The closing takes its frames from both ends of the clip, and these would meet."""

    code = "loop_overlap"


class LoopRequest(Finishing):
    """Make a clip loop without a jump where it starts again."""

    # Estimated for one core at 640 × 360: two flows and two warps for each closing frame, a third of the clip.
    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=350.0, constant=300.0)

    system: Literal["loop"] = "loop"
    style: LoopStyle = Field(
        default="blend", description="blend: the end flows into the start; crossfade; boomerang: there and back"
    )
    seconds: float | None = Field(
        default=None,
        ge=LEAST_SECONDS,
        le=5,
        description="how long the end turns into the start; empty: a third, at most 1 s",
    )

    def overlap(self, taken: Shaped) -> int:
        """Frames of the end that become frames of the start; 0 for a boomerang.

        Raises:
            LoopShort, LoopOverlap: the clip has too few frames.
        """
        frames, fps = taken.num_frames, taken.fps
        if frames < LEAST_FRAMES:
            raise LoopShort(frames=frames, least=LEAST_FRAMES)
        if self.style == "boomerang":
            return 0
        if self.seconds is None:
            return max(1, min(frames // USUAL_PART, round(fps)))
        wanted, most = max(1, round(self.seconds * fps)), frames // 2
        if wanted <= most:
            return wanted
        if self.seconds <= LEAST_SECONDS:
            return most
        # Rounded down, so that what is advised is never refused again.
        advised = max(LEAST_SECONDS, int(100 * most / fps) / 100)
        raise LoopOverlap(most=advised, seconds=round(float(frames / fps), 2))

    def gives(self, sources: Sources) -> Shape:
        """A boomerang shows every frame but the two ends twice; the others are shorter by the overlap."""
        taken = self.taken(sources)
        overlap = self.overlap(taken)
        frames = 2 * taken.num_frames - 2 if self.style == "boomerang" else taken.num_frames - overlap
        return Shape(taken.width, taken.height, frames, taken.fps, taken.has_alpha, taken.has_sound)
