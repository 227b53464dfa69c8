"""Crop: a part of the picture, told by its shape and place or by its pixels."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from jobs.errors import Refusal
from jobs.requests.base import Advanced, Finishing, Rates, Shape, Shaped, Sources

SHORTEST_SIDE = 16
CropShape = Literal["1:1", "4:5", "3:4", "9:16", "5:4", "4:3", "16:9", "21:9"]
CropPlace = Literal["middle", "left", "right", "top", "bottom"]
_Pixels = Annotated[int | None, Advanced()]


class CropNothing(Refusal):
    """Neither a shape nor a pixel was said."""

    code = "crop_nothing"


class CropBoth(Refusal):
    """A shape and pixels were said, which contradict each other."""

    code = "crop_both"


class CropOutside(Refusal):
    """The part is not within the picture, or next to nothing of it."""

    code = "crop_outside"


@dataclass(frozen=True)
class Box:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


class CropRequest(Finishing):
    """Cut a clip's picture to a shape, or to a part of it."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=10.0, constant=200.0)

    system: Literal["crop"] = "crop"
    shape: CropShape | None = Field(default=None, description="the largest part of this shape")
    place: CropPlace = Field(default="middle", description="which part of the picture stays")
    left: _Pixels = Field(default=None, ge=0, le=16384, description="pixels to cut away on the left")
    top: _Pixels = Field(default=None, ge=0, le=16384, description="pixels to cut away at the top")
    width: _Pixels = Field(default=None, ge=SHORTEST_SIDE, le=16384, description="pixels that stay; empty: the rest")
    height: _Pixels = Field(default=None, ge=SHORTEST_SIDE, le=16384, description="pixels that stay; empty: the rest")

    @classmethod
    def usual(cls) -> Self:
        """A square."""
        return cls(shape="1:1")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        exact = any(value is not None for value in (self.left, self.top, self.width, self.height))
        if not exact and self.shape is None:
            raise CropNothing
        if exact and self.shape is not None:
            raise CropBoth(shape=self.shape)
        return self

    def box(self, taken: Shaped) -> Box:
        """The part that stays.

        Raises:
            CropOutside: it is not within the picture, or thinner than 16 pixels.
        """
        box = self._exact(taken) if self.shape is None else self._shaped(taken, self.shape)
        fits = box.left + box.width <= taken.width and box.top + box.height <= taken.height
        if not fits or min(box.width, box.height) < SHORTEST_SIDE:
            raise CropOutside(width=taken.width, height=taken.height, least=SHORTEST_SIDE)
        return box

    def gives(self, sources: Sources) -> Shape:
        """As large as the part."""
        taken = self.taken(sources)
        box = self.box(taken)
        return replace(taken, width=box.width, height=box.height)

    def _exact(self, taken: Shaped) -> Box:
        left, top = self.left or 0, self.top or 0
        return Box(left, top, self.width or taken.width - left, self.height or taken.height - top)

    def _shaped(self, taken: Shaped, shape: CropShape) -> Box:
        across, down = map(int, shape.split(":"))
        ratio = Fraction(across, down)
        if taken.width == round(taken.height * ratio) or taken.height == round(taken.width / ratio):
            return Box(0, 0, taken.width, taken.height)  # as near to the shape as pixels are: odd sides stay too
        # Even sides, as video has them.
        width = min(taken.width, 2 * round(taken.height * ratio / 2))
        height = min(taken.height, 2 * round(taken.width / ratio / 2))
        spare_x, spare_y = taken.width - width, taken.height - height
        left = {"left": 0, "right": spare_x}.get(self.place, spare_x // 2)
        top = {"top": 0, "bottom": spare_y}.get(self.place, spare_y // 2)
        return Box(left, top, width, height)
