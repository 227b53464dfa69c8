"""Stable Video Diffusion (Blattmann et al. 2023): one picture becomes 14 or 25 frames."""

import math
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from jobs.errors import Refusal
from jobs.requests.base import Advanced, Brief, Generation, ImageRef, Rates, Shape, Sources, Work, seed_of

MEGAPIXELS = 1024 * 576 / 1e6
"""Of a frame, whatever its shape: 768 × 768 has as many pixels."""
SIZES = {"landscape": (1024, 576), "portrait": (576, 1024), "square": (768, 768)}
"""Width and height by shape, as the published checkpoints make them."""
TRAINED_FRAMES = {"svd": 14}
"""What a checkpoint makes where nobody says how many; the others make 25."""

SvdModel = Literal["svd", "svd-xt", "svd-xt-1-1"]


class SvdSeconds(Refusal):
    """More or fewer seconds than 25 frames can fill at 1–30 frames a second."""

    code = "svd_seconds"


class SvdGuidance(Refusal):
    """The guidance scale must not fall from the first frame to the last."""

    code = "svd_guidance"


class SvdRequest(Generation):
    """Bring one still picture to life with Stable Video Diffusion."""

    front_door_rank: ClassVar[int] = 10
    # 160 TFLOP for a step of 25 frames and 174 to decode them, at the 50 and 20 TFLOP/s (the VAE is in float32) of a
    # card between an RTX 3090 and a 4090.
    prior: ClassVar[Rates] = Rates(per_step=220.0, per_frame=600.0, constant=1_500.0)

    system: Literal["svd"] = "svd"
    image: ImageRef = Field(default="image", description="the picture to move")
    motion: int = Field(default=127, ge=1, le=255, description="motion bucket: 5 nearly still, 127 usual, 255 wild")
    fps: int = Field(default=6, ge=1, le=30, description="frames a second, told to the network and played back")
    model: SvdModel | None = Field(default=None, description="which checkpoint; empty: the best one installed")
    shape: Literal["auto", "landscape", "portrait", "square"] = Field(
        default="auto", description="the clip's shape; auto follows the picture"
    )
    framing: Literal["crop", "letterbox"] = Field(
        default="crop", description="fill the shape by cropping, or fit inside over a blurred copy"
    )
    num_frames: Annotated[int | None, Advanced()] = Field(
        default=None, ge=2, le=50, description="frames to make; empty: what the checkpoint was trained for"
    )
    num_inference_steps: Annotated[int, Advanced()] = Field(default=25, ge=1, le=100, description="denoising steps")
    noise_aug_strength: Annotated[float, Advanced()] = Field(
        default=0.02, ge=0.0, le=1.0, description="noise put on the picture: more of it, more motion, less likeness"
    )
    min_guidance_scale: Annotated[float | None, Advanced()] = Field(
        default=None, ge=1.0, le=10.0, description="guidance scale of the first frame; empty: the checkpoint's own"
    )
    max_guidance_scale: Annotated[float | None, Advanced()] = Field(
        default=None, ge=1.0, le=10.0, description="guidance scale of the last frame; empty: the checkpoint's own"
    )

    @model_validator(mode="after")
    def _guidance_rises(self) -> Self:
        low, high = self.min_guidance_scale, self.max_guidance_scale
        if low is not None and high is not None and high < low:
            raise SvdGuidance(low=low, high=high)
        return self

    @classmethod
    def from_brief(cls, brief: Brief) -> Self:
        """`motion` is SVD's own motion bucket; `seconds` sets the rate at which 25 frames are played."""
        fps = 6 if brief.seconds is None else round(25 / brief.seconds)
        if not 1 <= fps <= 30:
            raise SvdSeconds(seconds=brief.seconds or 0)
        return cls(image=brief.image, motion=brief.motion, fps=fps, **seed_of(brief))

    def gives(self, sources: Sources) -> Shape:
        """Of the three shapes the one that was asked for, or that the picture is closest to."""
        picture = sources[self.image]
        ratio = math.log(picture.width / picture.height)
        closest = min(SIZES, key=lambda shape: abs(math.log(SIZES[shape][0] / SIZES[shape][1]) - ratio))
        width, height = SIZES[closest if self.shape == "auto" else self.shape]
        return Shape(width, height, self._frames, Fraction(self.fps))

    def work(self, sources: Sources) -> Work:
        """Every shape has the same area. Without guidance the network runs once for each step instead of twice."""
        guided = self.max_guidance_scale is None or self.max_guidance_scale > 1
        steps = self.num_inference_steps if guided else (self.num_inference_steps + 1) // 2
        return Work(self._frames, MEGAPIXELS, steps)

    @property
    def _frames(self) -> int:
        return self.num_frames or TRAINED_FRAMES.get(self.model or "", 25)
