"""From the names in a single file, as CompVis, Stability and everyone after them published, to diffusers' own.

Each map begins below the network's prefix. `laid_out` then turns what is shaped otherwise there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from inference.systems.animatediff.base.architecture import UNetSizes, VaeSizes
from inference.systems.animatediff.keymap import KeyMap, under

Names = Mapping[str, str | None]

USELESS = KeyMap(
    dict.fromkeys(
        (
            # Training's second copy of the UNet or VAE, and the VAE's discriminator.
            "model_ema",
            "first_stage_model.model_ema",
            "first_stage_model.loss",
            # Numbers of the noise schedule: computed, here from the sampler's own betas.
            "betas",
            "alphas_cumprod",
            "alphas_cumprod_prev",
            "sqrt_alphas_cumprod",
            "sqrt_one_minus_alphas_cumprod",
            "log_one_minus_alphas_cumprod",
            "sqrt_recip_alphas_cumprod",
            "sqrt_recipm1_alphas_cumprod",
            "posterior_variance",
            "posterior_log_variance_clipped",
            "posterior_mean_coef1",
            "posterior_mean_coef2",
            "logvar",
            "lvlb_weights",
            "scale_factor",
            "denoiser",
            # Marks without numbers, by which NoobAI's and later files say how they were trained.
            "v_pred",
            "ztsnr",
            # Distilled models are told the guidance here; nobody asks them.
            "model.diffusion_model.time_embedding.cond_proj",
            # CLIP's other half, for comparing with pictures; a trainer's own.
            "cond_stage_model.logit_scale",
            "cond_stage_model.text_projection",
            "cond_stage_model.attn_mask",
            "conditioner.embedders.0.logit_scale",
            "conditioner.embedders.0.text_projection",
            "conditioner.embedders.1.logit_scale",
            "embedding_manager",
        )
    )
)
"""What is found in whole-model files and is in none of the four networks."""

RES_BLOCK: Names = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
TRANSFORMER: Names = {name: name for name in ("norm", "proj_in", "proj_out", "transformer_blocks")}


def unet_map(sizes: UNetSizes) -> KeyMap:
    """UNetModel → UNet2DConditionModel."""
    return KeyMap(
        {
            "time_embed.0": "time_embedding.linear_1",
            "time_embed.2": "time_embedding.linear_2",
            "label_emb.0.0": "add_embedding.linear_1",
            "label_emb.0.2": "add_embedding.linear_2",
            "input_blocks.0.0": "conv_in",
            "out.0": "conv_norm_out",
            "out.2": "conv_out",
            **_down_blocks(sizes),
            **under("middle_block.0", "mid_block.resnets.0", RES_BLOCK),
            **under("middle_block.1", "mid_block.attentions.0", TRANSFORMER),
            **under("middle_block.2", "mid_block.resnets.1", RES_BLOCK),
            **_up_blocks(sizes),
        }
    )


def _down_blocks(sizes: UNetSizes) -> dict[str, str | None]:
    """Input blocks count on through all levels: the res blocks of a level, then its downsampler."""
    names: dict[str, str | None] = {}
    index = 1
    for level, depth in enumerate(sizes.depths):
        for layer in range(sizes.res_blocks):
            names |= under(f"input_blocks.{index}.0", f"down_blocks.{level}.resnets.{layer}", RES_BLOCK)
            if depth:
                names |= under(f"input_blocks.{index}.1", f"down_blocks.{level}.attentions.{layer}", TRANSFORMER)
            index += 1
        if level + 1 < len(sizes.depths):
            names[f"input_blocks.{index}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            index += 1
    return names


def _up_blocks(sizes: UNetSizes) -> dict[str, str | None]:
    """From the coarsest level up; an upsampler stands in its level's last block, behind the attention if any."""
    names: dict[str, str | None] = {}
    layers = sizes.res_blocks + 1
    for block, depth in enumerate(reversed(sizes.depths)):
        for layer in range(layers):
            index = block * layers + layer
            names |= under(f"output_blocks.{index}.0", f"up_blocks.{block}.resnets.{layer}", RES_BLOCK)
            if depth:
                names |= under(f"output_blocks.{index}.1", f"up_blocks.{block}.attentions.{layer}", TRANSFORMER)
        if block + 1 < len(sizes.depths):
            index, place = block * layers + layers - 1, 2 if depth else 1
            names[f"output_blocks.{index}.{place}.conv"] = f"up_blocks.{block}.upsamplers.0.conv"
    return names


VAE_RES_BLOCK: Names = {
    **{name: name for name in ("norm1", "conv1", "norm2", "conv2")},
    "nin_shortcut": "conv_shortcut",
}
VAE_ATTENTION: Names = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    # A converter of 2023 took diffusers' new names over; many merges still have them.
    **{name: name for name in ("to_q", "to_k", "to_v", "to_out.0")},
}


def vae_map(sizes: VaeSizes) -> KeyMap:
    """Encoder and decoder → AutoencoderKL. Published levels count from the finest; diffusers' decoder from below."""
    names: dict[str, str | None] = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half in ("encoder", "decoder"):
        names |= {f"{half}.{name}": f"{half}.{name}" for name in ("conv_in", "conv_out")}
        names[f"{half}.norm_out"] = f"{half}.conv_norm_out"
        names |= under(f"{half}.mid.block_1", f"{half}.mid_block.resnets.0", VAE_RES_BLOCK)
        names |= under(f"{half}.mid.block_2", f"{half}.mid_block.resnets.1", VAE_RES_BLOCK)
        names |= under(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", VAE_ATTENTION)
    for level in range(len(sizes.channels)):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{len(sizes.channels) - 1 - level}"
        names |= under(f"encoder.down.{level}.block.#", f"{down}.resnets.#", VAE_RES_BLOCK)
        names |= under(f"decoder.up.{level}.block.#", f"{up}.resnets.#", VAE_RES_BLOCK)
        names[f"encoder.down.{level}.downsample.conv"] = f"{down}.downsamplers.0.conv"
        names[f"decoder.up.{level}.upsample.conv"] = f"{up}.upsamplers.0.conv"
    return KeyMap(names)


_CLIP_PARTS = ("embeddings.token_embedding", "embeddings.position_embedding", "encoder.layers.#", "final_layer_norm")

CLIP = KeyMap(
    {
        **{f"{prefix}{part}": part for prefix in ("text_model.", "") for part in _CLIP_PARTS},
        # Computed, not learned; older files have them. Some merges lost `text_model`.
        **{f"{prefix}embeddings.position_ids": None for prefix in ("text_model.", "")},
        **dict.fromkeys(("text_projection", "logit_scale", "vision_model", "visual_projection")),
    }
)
"""OpenAI's CLIP as transformers wrote it → CLIPTextModel, which has no `text_model` any more."""

_LAYER = "text_model.encoder.layers.#"
OPEN_CLIP = KeyMap(
    {
        "token_embedding": "text_model.embeddings.token_embedding",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        **under(
            "transformer.resblocks.#",
            _LAYER,
            {
                "ln_1": "layer_norm1",
                "ln_2": "layer_norm2",
                "attn.in_proj_weight": "self_attn.in_proj.weight",
                "attn.in_proj_bias": "self_attn.in_proj.bias",
                "attn.out_proj": "self_attn.out_proj",
                "mlp.c_fc": "mlp.fc1",
                "mlp.c_proj": "mlp.fc2",
            },
        ),
        "ln_final": "text_model.final_layer_norm",
        "text_projection": "text_projection.transposed",
        "logit_scale": None,
        "attn_mask": None,
        "transformer.text_model.embeddings.position_ids": None,
    }
)
"""OpenCLIP's text tower → CLIPTextModelWithProjection, but for what `laid_out` does."""

HUB_VAE_ATTENTION: Names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
HUB_VAE = KeyMap(
    {
        **{name: name for name in ("encoder", "decoder", "quant_conv", "post_quant_conv")},
        **under("encoder.mid_block.attentions.#", "encoder.mid_block.attentions.#", HUB_VAE_ATTENTION),
        **under("decoder.mid_block.attentions.#", "decoder.mid_block.attentions.#", HUB_VAE_ATTENTION),
    }
)
"""A diffusers folder's VAE; SD 1.5's own has the names from before diffusers 0.12 in its attentions."""

HUB_TEXT_2 = KeyMap(
    {
        "text_model": "text_model",
        "text_projection": "text_projection",
        "text_model.embeddings.position_ids": None,
    }
)


def laid_out(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor under our name, laid out as there: projections apart, a matrix turned, 1 × 1 convolutions as Linear."""
    place, _, kind = name.rpartition(".")
    if place.endswith(".in_proj"):
        for projection, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=False):
            yield f"{place.removesuffix('in_proj')}{projection}.{kind}", part
    elif kind == "transposed":
        yield f"{place}.weight", tensor.T.contiguous() if tensor.ndim == 2 else tensor
    elif ".mid_block.attentions.0.to_" in name and tensor.ndim > 2 and name.startswith("vae."):
        yield name, tensor.flatten(1)
    else:
        yield name, tensor
