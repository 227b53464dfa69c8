"""Stitch: one clip after another, of one size and rate."""

from fractions import Fraction
from typing import ClassVar, Literal

from pydantic import Field

from jobs.errors import Refusal
from jobs.requests.base import ClipRef, Finishing, Rates, Shape, Shaped, Sources

FASTEST_FPS = Fraction(60)


class StitchFade(Refusal):
    """A crossfade cannot last longer than either clip."""

    code = "stitch_fade"


class StitchRequest(Finishing):
    """Put one clip after another, with a crossfade if you like."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=60.0, constant=300.0)

    system: Literal["stitch"] = "stitch"
    second: ClipRef = Field(default="second", description="the clip that comes after it")
    crossfade: float = Field(default=0.0, ge=0, le=5, description="seconds in which one turns into the other; 0: a cut")
    seamless: bool = Field(
        default=False, description="the second begins with the frame that the first ends with: show it once"
    )
    framing: Literal["letterbox", "crop"] = Field(
        default="letterbox", description="where the second has another shape: fit it in, or fill by cropping"
    )

    def rate(self, sources: Sources) -> Fraction:
        """The faster of the two, so that no frame is lost."""
        return min(FASTEST_FPS, max(sources[self.clip].fps, sources[self.second].fps))

    def counts(self, sources: Sources) -> tuple[int, int, int]:
        """Frames of the first, of the second, and of those how many lie over each other, at the common rate.

        Raises:
            StitchFade: the crossfade is longer than one of them.
        """
        rate = self.rate(sources)
        first, second = (frames_at(sources[name], rate) for name in (self.clip, self.second))
        overlap = max(round(self.crossfade * rate), int(self.seamless))
        if overlap > min(first, second):
            raise StitchFade(most=int(100 * min(first, second) / rate) / 100)
        return first, second, overlap

    def gives(self, sources: Sources) -> Shape:
        """The first one's size; alpha and sound where either has them."""
        one, other = self.taken(sources), sources[self.second]
        first, second, overlap = self.counts(sources)
        return Shape(
            width=one.width,
            height=one.height,
            num_frames=first + second - overlap,
            fps=self.rate(sources),
            has_alpha=one.has_alpha or other.has_alpha,
            has_sound=one.has_sound or other.has_sound,
        )


def frames_at(clip: Shaped, rate: Fraction) -> int:
    """How many frames a clip has at another rate, at least 1."""
    return max(1, round(clip.num_frames / clip.fps * rate))
