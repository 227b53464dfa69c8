"""Deflicker: brightness and colour that jump from frame to frame become steady."""

from typing import ClassVar, Literal

from pydantic import Field

from jobs.requests.base import Finishing, Rates

# Three strengths, each a set of numbers measured whole: a percentage would only leave a part of the flicker in.
Strength = Literal["light", "medium", "strong"]
DeflickerMode = Literal["auto", "exposure", "full"]


class DeflickerRequest(Finishing):
    """Steady a clip whose brightness or colour flickers; details, fades and cuts stay."""

    # Measured on one core of a small machine at 1024 × 576, with local flicker.
    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=150.0, constant=300.0)

    system: Literal["deflicker"] = "deflicker"
    strength: Strength = Field(default="medium", description="how slow a change must be to count as wanted")
    mode: DeflickerMode = Field(
        default="auto", description="the whole picture (exposure), parts of it too (full), or what is needed (auto)"
    )
