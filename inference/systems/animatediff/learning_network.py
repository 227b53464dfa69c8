"""A network that others use too, lent for one step of learning: nothing of it is different afterwards."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

RECOMPUTED = (ResnetBlock2D, Transformer2DModel, AnimateDiffTransformer3D)
"""Between them, and in the skips, lies all that is kept. diffusers' own switch leaves the motion modules out."""


@contextmanager
def differentiable() -> Generator[None]:
    """Gradients are taken inside, though renderers run everything in inference mode."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


@contextmanager
def borrowed(network: nn.Module) -> Generator[None]:
    """Inside, the network computes with the same numbers, but learns nothing; its own parameters are not touched.

    What was read in inference mode refuses to take part in a backward pass, and such a tensor can never be made an
    ordinary one. So each is stood in for by an ordinary tensor on the same storage.
    """
    modules = dict(network.named_modules())
    with ExitStack() as own:

        def stand_in(path: str, tensor: Tensor, other: Tensor) -> None:
            parent, _, name = path.rpartition(".")
            own.callback(setattr, modules[parent], name, tensor)
            setattr(modules[parent], name, other)

        for path, weights in list(network.named_parameters(remove_duplicate=False)):
            stand_in(path, weights, nn.Parameter(_ordinary(weights), requires_grad=False))
        for path, table in list(network.named_buffers(remove_duplicate=False)):
            stand_in(path, table, _ordinary(table))
        yield


def _ordinary(tensor: Tensor) -> Tensor:
    """The same memory under another tensor, which knows neither inference mode nor gradients."""
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())


@contextmanager
def recomputing(network: nn.Module) -> Generator[None]:
    """Inside, a block keeps only its input for the backward pass and computes the rest once more (Chen et al. 2016).

    The whole pass costs a third more time. What hooks add in a block must still be there in the backward pass.
    """
    with ExitStack() as own:
        for module in network.modules():
            if isinstance(module, RECOMPUTED):
                own.callback(_restore_forward, module, vars(module).get("forward"))
                cast(Any, module).forward = partial(checkpoint, module.forward, use_reentrant=False)
        yield


def _restore_forward(module: nn.Module, forward: object) -> None:
    """The class's own, unless somebody had put another in its place."""
    if forward is None:
        del cast(Any, module).forward
    else:
        cast(Any, module).forward = forward
