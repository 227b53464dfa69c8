"""Small SVD checkpoints: the real classes with random numbers, saved as the published files are.

About 7 MB each; they make 88 × 48 pixels. Attention heads are as wide as the published ones (64 and 80), because a
single file does not tell their width. It does not tell the training area either, so that stands in its header.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.configuration_clip import CLIPVisionConfig

from inference.systems.svd.architecture import Architecture, ClipSizes, UNetSizes, VaeSizes
from inference.systems.svd.keymap import UNUSED, Into, KeyMap, key_map, look_up
from inference.systems.svd.loader import SCHEDULER, configs_of
from inference.systems.svd.pictures import CLIP_MEAN, CLIP_STD

TINY = Architecture(
    unet=UNetSizes(
        channels=(64, 64),
        attention=(True, False),
        res_blocks=1,
        transformer_depth=1,
        context=32,
        in_channels=8,
        out_channels=4,
        vector=96,
    ),
    vae=VaeSizes(channels=(32, 32, 32, 32), res_blocks=1, latent_channels=4),
    clip=ClipSizes(width=80, layers=2, mlp=160, patch=32, image_size=224, projection=32),
    sample_size=8,
)

MODEL_INDEX = {
    "_class_name": "StableVideoDiffusionPipeline",
    "_diffusers_version": "0.24.0.dev0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
}
PREPROCESSOR = {
    "feature_extractor_type": "CLIPImageProcessor",
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": 224, "width": 224},
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "resample": 3,
    "rescale_factor": 1 / 255,
}


@dataclass(frozen=True)
class TinySvd:
    """The three networks, in float16 as they are published."""

    unet: UNetSpatioTemporalConditionModel
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection


def write_svd(folder: Path) -> None:
    """`svd` and `svd-xt` as diffusers folders, `svd-xt-1-1` as the original single file."""
    write_hub(folder / "svd", random_svd(seed=1, num_frames=14))
    write_hub(folder / "svd-xt", random_svd(seed=2, num_frames=25))
    write_single(folder / "svd-xt-1-1" / "svd_xt_1_1.safetensors", random_svd(seed=3, num_frames=25))


def random_svd(seed: int, num_frames: int) -> TinySvd:
    """The same numbers for the same seed; lively enough that a clip shows the picture's influence and moves."""
    configs = configs_of(TINY, num_frames)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        svd = TinySvd(
            UNetSpatioTemporalConditionModel(**configs["unet"]),
            AutoencoderKLTemporalDecoder(**configs["vae"]),
            CLIPVisionModelWithProjection(CLIPVisionConfig(**configs["image_encoder"])),
        )
        for network in (svd.unet, svd.vae, svd.image_encoder):
            _enliven(network)
            network.half()
    return svd


def _enliven(network: torch.nn.Module) -> None:
    """Weights of unit gain, so that signals neither die nor explode on the way through."""
    for name, parameter in network.named_parameters():
        if name.endswith("mix_factor"):
            parameter.data.normal_()
        elif parameter.ndim > 1:
            parameter.data.normal_(std=parameter[0].numel() ** -0.5)


def write_hub(folder: Path, svd: TinySvd) -> None:
    """A diffusers folder with the fp16 variant's file names."""
    svd.unet.save_pretrained(folder / "unet", variant="fp16")
    svd.vae.save_pretrained(folder / "vae", variant="fp16")
    svd.image_encoder.save_pretrained(folder / "image_encoder", variant="fp16")
    EulerDiscreteScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    (folder / "feature_extractor").mkdir(exist_ok=True)
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2))
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2))


def write_single(path: Path, svd: TinySvd) -> None:
    """One file with the original release's names, and what that release carries along unused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = published(
        {**_named("unet", svd.unet), **_named("vae", svd.vae), **_named("image_encoder", svd.image_encoder)}
    )
    notes = json.dumps({"sample_size": TINY.sample_size})
    save_file({**tensors, **_leftovers(tensors)}, path, metadata={"zoetrope": notes})


def _named(network: str, module: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{network}.{name}": tensor for name, tensor in module.state_dict().items()}


def published(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back through the key map: tensors under the original names, in the original layout."""
    names = key_map(TINY)
    back: KeyMap = {target: key for key, target in names.items() if isinstance(target, str)}
    tensors = {
        key: _rejoined(target, ours) for key, target in names.items() if isinstance(target, Into) and target.names
    }
    for name, tensor in ours.items():
        key = look_up(name, back)
        if isinstance(key, str):
            tensors[key] = tensor.contiguous()
    return tensors


def _rejoined(target: Into, ours: dict[str, Tensor]) -> Tensor:
    tensor = torch.cat([ours[name] for name in target.names])
    if target.layout == "linear" and tensor.ndim == 2:
        tensor = tensor[:, :, None, None]
    return (tensor.T if target.layout == "transposed" else tensor).contiguous()


def _leftovers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Some of every kind that the key map knows to be unused."""
    encoder = "conditioner.embedders.3.encoder.encoder."
    unused = [key for key, target in key_map(TINY).items() if target is UNUSED]
    return {
        **{f"{key}.weight" if "." in key else key: torch.zeros(2, dtype=torch.float16) for key in unused},
        **{
            f"first_stage_model.encoder.{key.removeprefix(encoder)}": tensor.clone()
            for key, tensor in tensors.items()
            if key.startswith(encoder)
        },
    }
