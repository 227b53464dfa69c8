"""Windows inside the motion modules only: the UNet holds the whole clip, and its attention over frames sees parts.

AnimateDiff-Evolved's `view_as_context`, and what FreeNoise's authors do. The image layers see every frame once, so it
costs less than whole windows do; memory grows with the clip.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn

from inference.systems.animatediff.contexts import Window, Windowing, fuse
from inference.systems.animatediff.motion_scale import VIEWED


@contextmanager
def viewing(network: nn.Module, windowing: Windowing, num_frames: int) -> Generator[None]:
    """Within this, motion modules see the clip in windows, if the schedule says so."""
    views = windowing.views(num_frames)
    modules = [module for module in network.modules() if isinstance(module, AnimateDiffTransformer3D)]
    if len(views) == 1:
        modules = []
    before = [(module, module.forward) for module in modules]
    try:
        for module, forward in before:
            module.forward = partial(_in_views, forward, windowing, views)
        yield
    finally:
        for module, _ in before:
            del module.forward


def _in_views(
    forward: Any, windowing: Windowing, views: Sequence[Window], hidden_states: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """A motion module's pass, `[B·T, C, H, W]` → the same, view by view."""
    # The middle block hands over its arguments by place, the others by name.
    places = list(args)
    num_frames = int(kwargs["num_frames"] if "num_frames" in kwargs else places[3])
    clips = hidden_states.unflatten(0, (-1, num_frames))

    def seen(view: Window) -> Tensor:
        part = clips[:, list(view)].flatten(0, 1)
        token = VIEWED.set(view)
        try:
            if "num_frames" in kwargs:
                moved: Tensor = forward(part, *places, **{**kwargs, "num_frames": len(view)})
            else:
                moved = forward(part, *places[:3], len(view), *places[4:], **kwargs)
        finally:
            VIEWED.reset(token)
        return moved.unflatten(0, (-1, len(view)))

    with torch.no_grad():
        whole = fuse(windowing, views, num_frames, (seen(view) for view in views), dim=1)
    return whole.flatten(0, 1).to(hidden_states.dtype)
