"""AdamW over one set of LoRAs, in float32, beside a network that may be in half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from inference.systems.animatediff.learning_errors import LearningDiverged

FIRST_SCALE = 2.0**16
"""A mean over a clip's latents has a gradient of about 1e-5 in each, where float16 has hardly any digits left (its
smallest normal number is 6e-5). Times this it is about 1, and so are those further in. Micikevicius et al. 2018, *Mixed
Precision Training*, start here as well."""


class Optimizer:
    """Learns from one loss, its weights alone.

    The network computes in its own type, which is what lies in memory: no second copy of it in bfloat16. In float16 the
    loss is scaled so that gradients do not vanish; where one overflows, the scale is halved and the pass done again,
    so that every step counts. bfloat16 has float32's range and needs none of it.

    Args:
        layers: the LoRAs, in float32, on the device.
        rate: how fast.
        weight_decay: AdamW's.
        dtype: what the network computes in.
    """

    def __init__(self, layers: Iterable[nn.Module], rate: float, weight_decay: float, dtype: torch.dtype) -> None:
        self.weights = [weight for layer in layers for weight in layer.parameters()]
        self.scale = FIRST_SCALE if dtype == torch.float16 else 1.0
        self._adam = torch.optim.AdamW(self.weights, lr=rate, weight_decay=weight_decay)

    def learn(self, compute: Callable[[], Tensor]) -> float:
        """Once, from the loss that is computed; and that loss.

        Args:
            compute: the loss, in float32; the same each time it is asked for.

        Raises:
            LearningDiverged: loss or gradients are no numbers, however small the scale.
        """
        while True:
            loss = compute()
            gradients = torch.autograd.grad(loss * self.scale, self.weights)
            if _finite((loss, *gradients)):
                break
            if self.scale <= 1 or not loss.isfinite():
                raise LearningDiverged()
            self.scale /= 2
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient / self.scale
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return loss.item()


def _finite(tensors: Iterable[Tensor]) -> bool:
    """All of them, asked of the device once."""
    return bool(torch.stack([tensor.detach().float().sum() for tensor in tensors]).isfinite().all())
