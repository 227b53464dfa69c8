"""Small motion modules, LoRAs and SparseCtrls for the small image models, in the published layouts and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from torch import Tensor, nn

from inference.systems.animatediff.weights import BY_NAME
from tests.animating import Tensors, half, hotshot, original, with_tables
from tests.tiny_models.stable_diffusion import SD15_UNET, SDXL_UNET

SD15 = tuple(SD15_UNET["block_out_channels"])
SDXL = tuple(SDXL_UNET["block_out_channels"])
RANK = 4
CONFIG = {"unet_additional_kwargs": {"use_motion_module": True}}
"""Stands beside the tensors in some published files, and is no tensor."""


def modules(channels: tuple[int, ...], *, mid: bool, seed: int) -> Tensors:
    """Motion modules under diffusers' names."""
    return drawn(MotionAdapter(channels, motion_layers_per_block=2, use_motion_mid_block=mid), seed)


def drawn(network: nn.Module, seed: int) -> Tensors:
    """Weights of about unit gain, so that what goes in has a say in what comes out."""
    generator = torch.Generator().manual_seed(seed)

    def number(name: str, at: Tensor) -> Tensor:
        if at.ndim > 1:
            return torch.randn(at.shape, generator=generator) * at[0].numel() ** -0.5
        if name.endswith("bias"):
            return torch.randn(at.shape, generator=generator) * 0.05
        return 1 + torch.randn(at.shape, generator=generator) * 0.1

    return {name: number(name, at).half().float() for name, at in network.named_parameters()}


def motion_lora(seed: int) -> Tensors:
    """A camera move, on all attentions of version 2."""
    return _low_rank(
        {
            f"{path.replace('.transformer_blocks.', '.temporal_transformer.transformer_blocks.', 1)}"
            f".attention_blocks.{int(attention[-1]) - 1}.processor.{matrix.removesuffix('.0')}_lora": weight
            for path, attention, matrix, weight in _attentions(modules(SD15, mid=True, seed=0))
        },
        seed,
    )


def domain_adapter(seed: int) -> Tensors:
    """On all attentions of the image model."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15_UNET)
    spatial = {name: at for name, at in unet.named_parameters() if ".attentions." in name}
    return _low_rank(
        {
            f"{path}.{attention}.processor.{matrix.removesuffix('.0')}_lora": weight
            for path, attention, matrix, weight in _attentions(spatial)
        },
        seed,
    )


def lcm_lora(seed: int) -> Tensors:
    """In kohya's names, on the image model's attentions, as AnimateLCM's."""
    named = {
        "lora_unet_" + key.replace(".processor.", ".").removesuffix("_lora").replace(".", "_"): key
        for key in {name.rsplit(".", 2)[0] for name in domain_adapter(seed)}
    }
    tensors = domain_adapter(seed)
    found: Tensors = {}
    for kohya, key in named.items():
        path = f"{kohya}_0" if kohya.endswith("to_out") else kohya
        found[f"{path}.lora_down.weight"] = tensors[f"{key}.down.weight"]
        found[f"{path}.lora_up.weight"] = tensors[f"{key}.up.weight"]
        found[f"{path}.alpha"] = torch.tensor(float(RANK))
    return found


def _attentions(tensors: Mapping[str, Tensor]):
    """Path of the block, name of the attention, its matrix, its weight."""
    for name, weight in tensors.items():
        path, found, rest = name.partition(".attn")
        if found and rest.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")):
            yield path, f"attn{rest[0]}", rest[2:].removesuffix(".weight"), weight


def _low_rank(layers: Mapping[str, Tensor], seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    for path, weight in layers.items():
        rows, columns = weight.shape
        found[f"{path}.down.weight"] = torch.randn((RANK, columns), generator=generator) * columns**-0.5
        found[f"{path}.up.weight"] = torch.randn((rows, RANK), generator=generator) * 0.5
    return found


def sparse_control(kind: str, seed: int) -> Tensors:
    """SparseCtrl of either kind, under the original's names."""
    network = SparseControlNetModel(
        conditioning_channels=4 if kind == "rgb" else 3,
        down_block_types=("CrossAttnDownBlockMotion",) * 3 + ("DownBlockMotion",),
        block_out_channels=SD15,
        layers_per_block=2,
        cross_attention_dim=SD15_UNET["cross_attention_dim"],
        attention_head_dim=8,
        conditioning_embedding_out_channels=(8, 8, 16, 16),
        use_simplified_condition_embedding=kind == "rgb",
    )
    return original(drawn(network, seed), 32)


def _sd15(*, mid: bool, seed: int, positions: int | None) -> Tensors:
    return original(modules(SD15, mid=mid, seed=seed), positions)


FILES: Mapping[str, Callable[[], Any]] = {
    "animatediff-v3": lambda: {"state_dict": _sd15(mid=False, seed=30, positions=32)},
    "animatediff-v15-v2": lambda: _sd15(mid=True, seed=20, positions=32),
    "animatediff-v15": lambda: _sd15(mid=False, seed=15, positions=24),
    "animatediff-v14": lambda: _sd15(mid=False, seed=14, positions=24),
    **{
        f"animatediff-lightning-{steps}": lambda steps=steps: half(
            with_tables(modules(SD15, mid=True, seed=40 + steps))
        )
        for steps in (1, 2, 4, 8)
    },
    "animatediff-sdxl": lambda: {"animatediff_config": CONFIG, **original(modules(SDXL, mid=False, seed=60), 32)},
    "hotshot-xl": lambda: half(hotshot(modules(SDXL, mid=False, seed=61))),
    "animatediff-v3-adapter": lambda: {"state_dict": domain_adapter(70)},
    "sparsectrl-rgb": lambda: {"controlnet": sparse_control("rgb", 80), "epoch": 1, "global_step": 100},
    "sparsectrl-scribble": lambda: {"controlnet": sparse_control("scribble", 81), "epoch": 1, "global_step": 100},
    **{
        name: lambda number=number: {"state_dict": motion_lora(90 + number)}
        for number, name in enumerate(sorted(name for name in BY_NAME if name.startswith("motion-lora-")))
    },
}
"""What is in the first layout's one file."""


def write(name: str, models: Path) -> None:
    """One checkpoint under its published name."""
    [file] = BY_NAME[name].layouts[0].files
    _save(models / name / file, FILES[name]())


def write_animatelcm(models: Path) -> None:
    """Two files: modules without tables, and the LoRA for the image model."""
    folder = models / "animatelcm"
    _save(folder / "AnimateLCM_sd15_t2v.ckpt", {"state_dict": _sd15(mid=True, seed=50, positions=None)})
    _save(folder / "AnimateLCM_sd15_t2v_lora.safetensors", lcm_lora(51))


def _save(path: Path, held: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in held.items()}, path)
    else:
        torch.save(held, path)


def write_animatediff(models: Path) -> None:
    """Everything of this page."""
    for name in FILES:
        write(name, models)
    write_animatelcm(models)
