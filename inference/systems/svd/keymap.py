"""From the names in the original single-file release to those of diffusers' and transformers' modules.

A key map is one value: dotted prefixes, and what each stands for; the longest that fits wins. It is built for the sizes
at hand (`architecture.py`), so the same code reads the published checkpoints and a small one. Names of ours carry the
network in front: `unet.`, `vae.`, `image_encoder.`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from inference import ldm
from inference.systems.svd.architecture import Architecture, UNetSizes, VaeSizes


@dataclass(frozen=True)
class Into:
    """A tensor that is laid out differently with us: reshaped, or its first axis in equal parts under several names."""

    names: tuple[str, ...]
    layout: Literal["same", "linear", "transposed"] = "same"
    """`linear`: a 1×1 convolution that became a Linear. `transposed`: a matrix that multiplies from the other side."""

    def convert(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Our names with their tensors."""
        if not self.names:
            return
        if self.layout == "linear" and tensor.ndim == 4:
            tensor = tensor.flatten(1)
        elif self.layout == "transposed":
            tensor = tensor.T.contiguous()
        yield from zip(self.names, tensor.chunk(len(self.names)), strict=True)


UNUSED = Into(())
"""Known to be in the file, of no use here."""

Target = str | Into
KeyMap = Mapping[str, Target]
"""Published prefix → our prefix; an `Into` takes whole names only, except `UNUSED`, which drops all below it."""

RES_BLOCK: ldm.Names = {
    **{name: f"spatial_res_block.{ours}" for name, ours in ldm.RES_BLOCK.items()},
    **{f"time_stack.{name}": f"temporal_res_block.{ours}" for name, ours in ldm.RES_BLOCK.items()},
    "time_mixer.mix_factor": "time_mixer.mix_factor",
}
"""VideoResBlock → SpatioTemporalResBlock."""

TRANSFORMER: ldm.Names = {
    **{name: name for name in ("norm", "proj_in", "proj_out", "transformer_blocks", "time_mixer.mix_factor")},
    "time_stack": "temporal_transformer_blocks",
    "time_pos_embed.0": "time_pos_embed.linear_1",
    "time_pos_embed.2": "time_pos_embed.linear_2",
}
"""SpatialVideoTransformer → TransformerSpatioTemporalModel."""

VIDEO_VAE_RES_BLOCK: KeyMap = {
    **{name: f"spatial_res_block.{ours}" for name, ours in ldm.VAE_RES_BLOCK.items()},
    **{f"time_stack.{name}": f"temporal_res_block.{ours}" for name, ours in ldm.RES_BLOCK.items()},
    "mix_factor": "time_mixer.mix_factor",
}
TEXT_LEFTOVERS = ("positional_embedding", "text_projection", "logit_scale", "token_embedding", "ln_final")
"""Of OpenCLIP's text tower, which the release carries along without its layers."""


def key_map(architecture: Architecture) -> KeyMap:
    """The map for one whole checkpoint of these sizes."""
    clip = "conditioner.embedders.0.open_clip.model"
    return {
        **under("model.diffusion_model", "unet", unet_map(architecture.unet)),
        **under("conditioner.embedders.3.encoder", "vae", encoder_map(architecture.vae)),
        **under("first_stage_model.decoder", "vae.decoder", decoder_map(architecture.vae)),
        **under(f"{clip}.visual", "image_encoder", clip_map(architecture.clip.layers)),
        **{f"{clip}.{name}": UNUSED for name in TEXT_LEFTOVERS},
        # The conditioner's own decoder and the first stage's encoder: each half of a VAE is used once.
        "conditioner.embedders.3.encoder.decoder": UNUSED,
        "conditioner.embedders.3.encoder.post_quant_conv": UNUSED,
        "first_stage_model.encoder": UNUSED,
    }


def under(published: str, ours: str, names: KeyMap) -> KeyMap:
    """The same map with a prefix before each side."""
    return {f"{published}.{name}": _prefixed(ours, target) for name, target in names.items()}


def _prefixed(prefix: str, target: Target) -> Target:
    if isinstance(target, str):
        return f"{prefix}.{target}"
    return Into(tuple(f"{prefix}.{name}" for name in target.names), target.layout)


def convert(tensors: Iterable[tuple[str, Tensor]], names: KeyMap) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under our name, in our layout.

    Raises:
        KeyError: the map does not know a name.
    """
    for key, tensor in tensors:
        target = look_up(key, names)
        if target is None:
            raise KeyError(key)
        if isinstance(target, str):
            yield target, tensor
        else:
            yield from target.convert(tensor)


def look_up(key: str, names: KeyMap) -> Target | None:
    """What a published name stands for; None where the map does not know it."""
    prefix, rest = key, ""
    while prefix:
        target = names.get(prefix)
        if isinstance(target, str):
            return target + rest
        if target is not None and (target is UNUSED or not rest):
            return target
        prefix, _, last = prefix.rpartition(".")
        rest = f".{last}{rest}"
    return None


def unet_map(sizes: UNetSizes) -> KeyMap:
    """VideoUNet → UNetSpatioTemporalConditionModel."""
    return ldm.unet(sizes.attention, sizes.res_blocks, RES_BLOCK, TRANSFORMER)


def encoder_map(sizes: VaeSizes) -> KeyMap:
    """The image encoder and its quant_conv → the encoder of AutoencoderKLTemporalDecoder."""
    names: dict[str, Target] = {
        "encoder.conv_in": "encoder.conv_in",
        "encoder.norm_out": "encoder.conv_norm_out",
        "encoder.conv_out": "encoder.conv_out",
        "quant_conv": "quant_conv",
        **_vae_middle("encoder.mid", "encoder.mid_block", ldm.VAE_RES_BLOCK),
    }
    for level in range(len(sizes.channels)):
        for layer in range(sizes.res_blocks):
            ours = f"encoder.down_blocks.{level}.resnets.{layer}"
            names |= under(f"encoder.down.{level}.block.{layer}", ours, ldm.VAE_RES_BLOCK)
        names[f"encoder.down.{level}.downsample.conv"] = f"encoder.down_blocks.{level}.downsamplers.0.conv"
    return names


def decoder_map(sizes: VaeSizes) -> KeyMap:
    """VideoDecoder → TemporalDecoder. The original counts levels from the finest, diffusers from the coarsest."""
    names: dict[str, Target] = {
        "conv_in": "conv_in",
        "norm_out": "conv_norm_out",
        "conv_out.weight": "conv_out.weight",
        "conv_out.bias": "conv_out.bias",
        "conv_out.time_mix_conv": "time_conv_out",
        **_vae_middle("mid", "mid_block", VIDEO_VAE_RES_BLOCK),
    }
    last = len(sizes.channels) - 1
    for level in range(last + 1):
        block = f"up_blocks.{last - level}"
        for layer in range(sizes.res_blocks + 1):
            names |= under(f"up.{level}.block.{layer}", f"{block}.resnets.{layer}", VIDEO_VAE_RES_BLOCK)
        names[f"up.{level}.upsample.conv"] = f"{block}.upsamplers.0.conv"
    return names


def _vae_middle(published: str, ours: str, res_block: KeyMap) -> KeyMap:
    return {
        **under(f"{published}.block_1", f"{ours}.resnets.0", res_block),
        **under(f"{published}.block_2", f"{ours}.resnets.1", res_block),
        **{
            f"{published}.attn_1.{name}.{kind}": Into((f"{ours}.attentions.0.{target}.{kind}",), "linear")
            for name, target in ldm.VAE_ATTENTION.items()
            for kind in ("weight", "bias")
        },
    }


def clip_map(layers: int) -> KeyMap:
    """OpenCLIP's visual tower → CLIPVisionModelWithProjection."""
    names: dict[str, Target] = {
        "class_embedding": "vision_model.embeddings.class_embedding",
        "positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "conv1": "vision_model.embeddings.patch_embedding",
        "ln_pre": "vision_model.pre_layrnorm",
        "ln_post": "vision_model.post_layernorm",
        "proj": Into(("visual_projection.weight",), "transposed"),
    }
    for layer in range(layers):
        published, ours = f"transformer.resblocks.{layer}", f"vision_model.encoder.layers.{layer}"
        names |= under(published, ours, ldm.CLIP_LAYER)
        for kind in ("weight", "bias"):
            names[f"{published}.attn.in_proj_{kind}"] = Into(
                tuple(f"{ours}.self_attn.{part}_proj.{kind}" for part in "qkv")
            )
    return names
