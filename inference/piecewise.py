"""A network that is larger than the device: each layer's weights are there only while it computes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Carry = Callable[[Tensor], Tensor]
"""Weights to where they are computed with."""


@contextmanager
def piecewise(network: nn.Module, carry: Carry) -> Generator[None]:
    """Inside the block, every module carries its own weights over before it computes and lets go of them after.

    What waits is never written to, so nothing is carried back. It works for modules that are called; weights that
    another module reaches for are met where they wait (`nn.MultiheadAttention` does that, diffusers' UNets do not).
    """
    hooks = [hook for module in network.modules() if (layer := _Layer(module, carry)).own for hook in layer.hooks()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Layer:
    """A module's own weights, without its children's."""

    def __init__(self, module: nn.Module, carry: Carry) -> None:
        self.module = module
        self.carry = carry
        self.own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        self.waiting: list[Tensor] = []

    def hooks(self) -> tuple[RemovableHandle, ...]:
        return (
            self.module.register_forward_pre_hook(lambda *_: self.arrive()),
            self.module.register_forward_hook(lambda *_: self.leave(), always_call=True),
        )

    def arrive(self) -> None:
        self.waiting = [weights.data for weights in self.own]
        for weights in self.own:
            weights.data = self.carry(weights.data)

    def leave(self) -> None:
        for weights, waiting in zip(
            self.own, self.waiting, strict=False
        ):  # nothing waits where arriving failed at once
            weights.data = waiting
        self.waiting = []
