"""Prompts that turn into one another: text embeddings for each frame, mixed of two prompts'.

As FizzNodes' batch prompt schedule mixes them (`interpolate_prompt_seriesA`). What a schedule says about a frame comes
from elsewhere; here are only the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class Blend(NamedTuple):
    """One frame's conditioning: `weight` of what holds now, the rest of what comes then."""

    now: str
    then: str
    weight: float


@dataclass(frozen=True)
class Encoded:
    """A prompt as the text encoder gives it."""

    embeds: Tensor
    """`[tokens, D]`; 77 tokens, or a multiple of it for a long prompt."""
    pooled: Tensor | None = None
    """`[D']`, of SDXL."""


@dataclass(frozen=True)
class Blended:
    """A clip's conditioning."""

    embeds: Tensor
    """`[T, tokens, D]`."""
    pooled: Tensor | None
    """`[T, D']`."""


def blend(frames: Sequence[Blend], encoded: Mapping[str, Encoded]) -> Blended:
    """Every frame's embeddings.

    All are made as long as the longest of `encoded`, used here or not. So give it all prompts of a job, positive and
    negative: both branches of the guidance then see equally many tokens. Where their numbers differ, clips have been
    seen to break into two scenes. (FizzNodes goes by the prompts that hold at some frame: the same, but for a last
    prompt that is only on its way at the clip's end, and longer than all others.)

    The pooled output is not mixed; it is that of the prompt which comes.
    """
    tokens = max(len(prompt.embeds) for prompt in encoded.values())
    used = {text for frame in frames for text in (frame.now, frame.then)}
    padded = {text: with_zeros(encoded[text].embeds, tokens) for text in used}
    mixed = [frame.weight * padded[frame.now] + (1 - frame.weight) * padded[frame.then] for frame in frames]
    pooled = [one for one in (encoded[frame.then].pooled for frame in frames) if one is not None]
    if pooled and len(pooled) < len(frames):
        raise ValueError("some of the prompts have a pooled output, and some have none")
    return Blended(torch.stack(mixed), torch.stack(pooled) if pooled else None)


@dataclass(frozen=True)
class Mixture:
    """A clip's conditioning before it is mixed: however long clip and prompts are, only what is looked at is made."""

    frames: Sequence[Blend]
    """Of each frame; or of one, which stands for all."""
    encoded: Mapping[str, Encoded]
    """All prompts of the job."""

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, frames: Sequence[int]) -> Tensor:
        """`[n, tokens, D]` of some of the clip's frames."""
        if len(self.frames) == 1:
            return blend(self.frames, self.encoded).embeds.expand(len(frames), -1, -1)
        return blend([self.frames[frame] for frame in frames], self.encoded).embeds

    @property
    def pooled(self) -> Tensor | None:
        """`[1, D']`: the mean of all frames'."""
        each = [self.encoded[frame.then].pooled for frame in self.frames]
        known = [one for one in each if one is not None]
        return torch.stack(known).mean(0, keepdim=True) if len(known) == len(each) else None


def with_zeros(embeds: Tensor, tokens: int) -> Tensor:
    """`[n, D]` → `[tokens, D]`: zeros on both sides, the odd one after."""
    missing = tokens - len(embeds)
    return pad(embeds, (0, 0, missing // 2, missing - missing // 2))
