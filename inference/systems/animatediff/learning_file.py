"""A learned motion as a file: a MotionLoRA in safetensors, with a line about how it was learned.

At rank 32, on both attentions and the feed-forward of all motion modules, it has in float16 34 MB for version 1 and 3
(20 modules, 16.9 million numbers) and 36 MB for version 2 (21 modules, 18.1 million). Nothing of the clip is in it, nor
who asked, nor the prompt.

The noise that DDIM inversion finds in the clip (`motiondirector.invert`) is left out. It is small, but fits only one
size and one number of frames, and it is the clip's layout more than its motion. A job that has the clip can invert it
and begin with `motiondirector.start_latents`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from inference.systems.animatediff.learning_errors import (
    LearnedMotionDamaged,
    LearnedMotionElsewhere,
    LearningDiverged,
)
from inference.systems.animatediff.loader import TensorFile
from inference.systems.animatediff.loras import Lora, lora_in
from jobs.errors import Failure

KEY = "zoetrope_motion"
"""The one entry of the metadata: of several, safetensors writes now this first and now that, and the bytes would
differ."""
MOST_RANK = 64
"""On layers that are 320 wide or more: half of it already does."""
MOST_BYTES = 80_000_000
"""A little more than rank 64 takes up on version 2."""
LARGEST_HALF = torch.finfo(torch.float16).max


class About(BaseModel):
    """How it was learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    module: str = Field(min_length=1, max_length=100)
    """The motion module, by whatever name tells it from all others: elsewhere, its numbers mean nothing."""
    rank: int = Field(ge=1, le=MOST_RANK)
    steps: int = Field(ge=1)
    frames: int = Field(ge=1)
    """That were looked at together."""
    seed: int
    first_loss: float
    """Temporal, mean of the first tenth of the steps."""
    last_loss: float
    """Of the last tenth."""


@dataclass(frozen=True)
class MotionFile:
    """One learned motion."""

    about: About
    tensors: Mapping[str, Tensor]
    """Under MotionLoRA's names, on the CPU."""

    @classmethod
    def of(cls, about: About, tensors: Mapping[str, Tensor]) -> MotionFile:
        """In float16, or in float32 if that cannot hold it.

        Raises:
            LearningDiverged: what was learned are no numbers.
        """
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise LearningDiverged()
        largest = max(float(tensor.abs().max()) for tensor in tensors.values())
        dtype = torch.float16 if largest <= LARGEST_HALF else torch.float32
        return cls(about, {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()})

    def to_bytes(self) -> bytes:
        """The whole file."""
        return safetensors.torch.save(dict(self.tensors), metadata={KEY: self.about.model_dump_json()})

    @classmethod
    def parse(cls, data: bytes, model: str) -> MotionFile:
        """From the whole file.

        Args:
            data: what `to_bytes` gave.
            model: what people call this motion.

        Raises:
            LearnedMotionDamaged: it is none of ours, or is not as it was written.
        """
        if len(data) > MOST_BYTES:
            raise LearnedMotionDamaged(model=model)
        try:
            file = cls(_about(data), safetensors.torch.load(data))
            file._lora(model)
        except (SafetensorError, ValueError, LookupError, TypeError, ValidationError, Failure) as error:
            raise LearnedMotionDamaged(model=model) from error
        return file

    def lora(self, module: str, model: str) -> Lora:
        """To be merged, with a strength, for as long as a clip is made.

        Args:
            module: the motion module that it is to be put on.
            model: what people call this motion.

        Raises:
            LearnedMotionElsewhere: it was learned on another.
        """
        if module != self.about.module:
            raise LearnedMotionElsewhere(model=model, learned_on=self.about.module, module=module)
        return self._lora(model)

    def _lora(self, model: str) -> Lora:
        lora = lora_in(TensorFile(model, f"{model}.safetensors", self.tensors))
        for path, pair in lora.pairs.items():
            if ".motion_modules." not in f".{path}" or pair.down.shape[0] != self.about.rank:
                raise ValueError(f"{path} is not what {self.about} says")
            if not bool(pair.down.isfinite().all() and pair.up.isfinite().all()):
                raise ValueError(f"{path} holds no numbers")
        return lora


def _about(data: bytes) -> About:
    """A safetensors file begins with the length of its header, which is JSON."""
    length = int.from_bytes(data[:8], "little")
    header: Any = json.loads(data[8 : 8 + length])
    return About.model_validate_json(cast("str", header["__metadata__"][KEY]))
