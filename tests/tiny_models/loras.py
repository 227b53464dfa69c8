"""Small LoRAs of small image models, in every layout in which people publish them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny_models.stable_diffusion import Tensors, TinyModel, unet_name

Layout = Literal["kohya", "kohya with convolutions", "PEFT"]
RANK = 4
ALPHA = 2.0


def low_rank(
    model: TinyModel, network: str, *, convolutions: bool, seed: int = 1
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """For each layer of a network its path, what goes down to the rank and what goes up again."""
    chance = torch.Generator().manual_seed(seed)
    for path, layer in model.networks[network].named_modules():
        if isinstance(layer, nn.Linear):
            shape: tuple[int, ...] = (RANK, layer.in_features)
        elif isinstance(layer, nn.Conv2d) and (convolutions or layer.kernel_size == (1, 1)):
            shape = (RANK, layer.in_channels, *layer.kernel_size)
        else:
            continue
        up = (layer.weight.shape[0], RANK) + (1, 1) * (len(shape) == 4)
        yield (
            path,
            torch.randn(shape, generator=chance) / shape[1],
            torch.randn(up, generator=chance) * 0.2,
        )


def lora_tensors(
    model: TinyModel, layout: Layout = "kohya", networks: tuple[str, ...] = ("unet", "text_encoder"), seed: int = 1
) -> Tensors:
    """All layers of these networks."""
    tensors: Tensors = {}
    for network in networks:
        for path, down, up in low_rank(model, network, convolutions=layout == "kohya with convolutions", seed=seed):
            if layout == "PEFT":
                stem = _dotted(network, path)
                tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
            else:
                stem = _underscored(model, network, path)
                tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
                tensors[f"{stem}.alpha"] = torch.tensor(ALPHA)
    return tensors


def write_lora(path: Path, tensors: Tensors) -> Path:
    """In float16, as they are published."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: at.half().contiguous() for name, at in tensors.items()}, path)
    return path


def _dotted(network: str, path: str) -> str:
    return f"unet.{path}" if network == "unet" else f"{network}.text_model.{path.removeprefix('text_model.')}"


def _underscored(model: TinyModel, network: str, path: str) -> str:
    """kohya's: SD 1.5's UNet by diffusers' names, SDXL's by those of its own single file."""
    if network == "unet":
        name = unet_name(f"{path}.weight", "sdxl").removesuffix(".weight") if model.family == "sdxl" else path
        return f"lora_unet_{name}".replace(".", "_")
    number = {"text_encoder": "1", "text_encoder_2": "2"}[network] if model.family == "sdxl" else ""
    return f"lora_te{number}_text_model_{path.removeprefix('text_model.')}".replace(".", "_")
