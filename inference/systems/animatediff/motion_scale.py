"""How much moves: the strength of attention between frames, and of the motion modules as a whole.

After `scale_multival` and `effect_multival` of Kosinkadink's AnimateDiff-Evolved. A scale multiplies the keys of both
attentions over frames, hence their logits: above 1 frames attend more sharply and more moves, below 1 they blend
(0.8 to 1.4 is of use). An effect fades a module out: at 0 each frame is a still of its own. Hooks are put in for one
pass or a whole run and leave nothing behind.

(Setting diffusers' `Attention.scale` has no effect; its attention processor for torch 2 passes it over.)
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn
from torch.nn import functional

Value = float | Sequence[float] | Tensor
"""One number; one for each frame; or a mask `[H, W]` in any size, the same for all frames."""

VIEWED: ContextVar[Sequence[int] | None] = ContextVar("VIEWED", default=None)
"""Which of its frames a motion module is being shown, where that is a part of them (`views.py`)."""


@dataclass(frozen=True)
class MotionScale:
    """What to multiply the motion modules' attention and output by."""

    scale: Value = 1.0
    effect: float | Sequence[float] = 1.0

    @property
    def needed(self) -> bool:
        """Whether anything differs from the plain network."""
        return not (isinstance(self.scale, float | int) and self.scale == 1 and self.effect == 1)

    def at(self, frames: Sequence[int]) -> MotionScale:
        """What holds for some of the clip's frames: a context window's."""
        scale = self.scale if isinstance(self.scale, Tensor) else _at(self.scale, frames)
        return MotionScale(scale, _at(self.effect, frames))


def _at(value: float | Sequence[float], frames: Sequence[int]) -> float | Sequence[float]:
    return [value[frame] for frame in frames] if isinstance(value, Sequence) else value


@contextmanager
def scaled(network: nn.Module, motion: MotionScale) -> Generator[None]:
    """Within this, the network's motion modules follow `motion`."""
    hooks: list[Any] = []
    try:
        if motion.needed:
            for module in network.modules():
                if isinstance(module, AnimateDiffTransformer3D):
                    hooks += _Hooks(motion).put_into(module)
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Hooks:
    """On one motion module: it is only in its own pass that frames, height and width are known."""

    def __init__(self, motion: MotionScale) -> None:
        self.motion = motion
        self.factor: Tensor | float = 1.0

    def put_into(self, module: AnimateDiffTransformer3D) -> list[Any]:
        """All of them, to be removed later."""
        keys: list[Any] = [
            attention.to_k
            for block in module.transformer_blocks
            for name in ("attn1", "attn2")
            if isinstance(attention := getattr(block, name, None), nn.Module)
        ]
        return [
            module.register_forward_pre_hook(self.before, with_kwargs=True),
            *(key.register_forward_hook(self.after_keys) for key in keys),
            module.register_forward_hook(self.after, with_kwargs=True),
        ]

    def before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Fit the scale to this level's pixels."""
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]  # [B·T, C, H, W]
        scale = self.motion.scale
        if isinstance(scale, Tensor):
            mask = functional.interpolate(scale[None, None].float(), hidden.shape[-2:], mode="bilinear")
            # The middle block hands over its arguments by place, the others this one by name.
            num_frames = int(kwargs["num_frames"] if "num_frames" in kwargs else args[4])
            clips = len(hidden) // num_frames
            self.factor = mask.flatten().repeat(clips)[:, None, None].to(hidden)  # [B·H·W, 1, 1]
        elif isinstance(scale, Sequence):
            self.factor = hidden.new_tensor(scale)[:, None]  # [T, 1]
        else:
            self.factor = scale

    def after_keys(self, _module: nn.Module, _args: object, keys: Tensor) -> Tensor:
        """`[B·H·W, T, C]`; within a view, its frames only."""
        view = VIEWED.get()
        if view is None or not isinstance(self.motion.scale, Sequence):
            return keys * self.factor
        assert isinstance(self.factor, Tensor)
        return keys * self.factor[list(view)]

    def after(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        """Between what went in and what came out."""
        effect = self.motion.effect
        if effect == 1:
            return output
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if isinstance(effect, Sequence):
            clips = len(hidden) // len(effect)
            part = hidden.new_tensor(effect).repeat(clips)[:, None, None, None]
            return hidden * (1 - part) + output * part
        return hidden * (1 - effect) + output * effect
