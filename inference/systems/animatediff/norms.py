"""Where a GroupNorm takes its statistics: over one frame, or over all frames of the clip.

| | res blocks, `conv_norm_out` | spatial transformers | motion modules |
| --- | --- | --- | --- |
| original, version 1 | all frames | one frame | one frame |
| original, all others and SparseCtrl | one frame | one frame | one frame |
| diffusers, everything | one frame | one frame | **all frames** |

diffusers as it is comes out wrong by a tenth and more of the result's spread on small random networks; with SparseCtrl,
where only a few frames carry any signal, that signal drowns. So both kinds of norm are replaced here by ones that look
at the right axes. Parameters and their names stay.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn


class PerFrameNorm(nn.GroupNorm):
    """For a motion module, which hands over the whole clip: `[B, C, T, H, W]` → the same."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Each frame by itself."""
        frames = input.transpose(1, 2)  # [B, T, C, H, W]
        return super().forward(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


class AllFramesNorm(nn.GroupNorm):
    """For an image model's block, which hands over single frames: `[B·T, C, H, W]` → the same."""

    num_frames: int = 1
    """Of one clip; `_count_frames` tells it before each pass."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Each clip as one, over group, frames, height and width."""
        clips = input.unflatten(0, (-1, self.num_frames)).transpose(1, 2)  # [B, C, T, H, W]
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


def follow_original(network: nn.Module, *, all_frames: bool = False) -> None:
    """Put the original's norms into a UNetMotionModel, a MotionAdapter or a SparseControlNetModel.

    Args:
        network: on any device, the meta device too.
        all_frames: version 1; a UNetMotionModel only.
    """
    for module in list(network.modules()):
        if isinstance(module, AnimateDiffTransformer3D):
            module.norm = _replaced(module.norm, PerFrameNorm)
        elif all_frames and isinstance(module, ResnetBlock2D):
            module.norm1 = _replaced(module.norm1, AllFramesNorm)
            module.norm2 = _replaced(module.norm2, AllFramesNorm)
    if all_frames:
        unet: Any = network
        unet.conv_norm_out = _replaced(unet.conv_norm_out, AllFramesNorm)
        unet.register_forward_pre_hook(_count_frames, with_kwargs=True)


def _replaced(norm: nn.Module, kind: type[nn.GroupNorm]) -> nn.GroupNorm:
    """A norm of another kind with the same parameters."""
    if not isinstance(norm, nn.GroupNorm):
        raise TypeError(f"{type(norm).__name__} is no GroupNorm")
    ours = kind(norm.num_groups, norm.num_channels, norm.eps, device="meta")
    ours.weight, ours.bias = norm.weight, norm.bias
    return ours.train(norm.training)


def _count_frames(unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before the UNet's pass over `[B, C, T, H, W]`: a window may be shorter than the clip before it."""
    sample: Tensor = args[0] if args else kwargs["sample"]
    for module in unet.modules():
        if isinstance(module, AllFramesNorm):
            module.num_frames = sample.shape[2]
