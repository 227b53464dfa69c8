"""Small pictures and IP-Adapters, and a pass through a small UNet."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inference.systems.animatediff.ip_adapter import IpAdapter, open_ip_adapter
from tests.animating import Tensors
from tests.tiny_models import pictures as tiny

FILES = {
    "plain": "ip-adapter-sd15/ip-adapter_sd15.safetensors",
    "plus": "ip-adapter-plus-sd15/ip-adapter-plus_sd15.safetensors",
}


def filled(network: Any, seed: int) -> Any:
    """With numbers of its own for this seed."""
    network.load_state_dict(tiny.drawn({name: tuple(at.shape) for name, at in network.named_parameters()}, seed))
    return network.eval()


def painted(width: int, height: int, seed: int = 0) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def adapter(models: Path, kind: str) -> IpAdapter:
    return open_ip_adapter(models / FILES[kind], kind)


def passed(unet: Any, branches: int = 2, frames: int = 3, channels: int = 4, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(branches, channels, frames, 8, 8, generator=generator)
    context = torch.randn(branches * frames, 5, tiny.CONTEXT, generator=generator)
    with torch.no_grad():
        return unet(x, 7, encoder_hidden_states=context, return_dict=False, **more)[0]


def without(name: str, at: Tensors) -> Tensors:
    return {key: tensor for key, tensor in at.items() if name not in key}


def with_(name: str, shape: tuple[int, ...], at: Tensors) -> Tensors:
    return {**at, name: torch.zeros(shape)}
