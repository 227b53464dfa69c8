"""From the names in a single file, as CompVis, Stability and everyone after them published, to diffusers' own.

Each map begins below the network's prefix. `laid_out` then turns what is shaped otherwise there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from inference import ldm
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


def unet_map(sizes: UNetSizes) -> KeyMap:
    """UNetModel → UNet2DConditionModel."""
    return KeyMap(ldm.unet([depth > 0 for depth in sizes.depths], sizes.res_blocks))


VAE_ATTENTION: Names = {
    **ldm.VAE_ATTENTION,
    # A converter of 2023 took diffusers' new names over; many merges still have them.
    **{name: name for name in ("to_q", "to_k", "to_v", "to_out.0")},
}


def vae_map(sizes: VaeSizes) -> KeyMap:
    """Encoder and decoder → AutoencoderKL. Published levels count from the finest; diffusers' decoder from below."""
    names: dict[str, str | None] = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half in ("encoder", "decoder"):
        names |= {f"{half}.{name}": f"{half}.{name}" for name in ("conv_in", "conv_out")}
        names[f"{half}.norm_out"] = f"{half}.conv_norm_out"
        names |= under(f"{half}.mid.block_1", f"{half}.mid_block.resnets.0", ldm.VAE_RES_BLOCK)
        names |= under(f"{half}.mid.block_2", f"{half}.mid_block.resnets.1", ldm.VAE_RES_BLOCK)
        names |= under(f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0", VAE_ATTENTION)
    for level in range(len(sizes.channels)):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{len(sizes.channels) - 1 - level}"
        names |= under(f"encoder.down.{level}.block.#", f"{down}.resnets.#", ldm.VAE_RES_BLOCK)
        names |= under(f"decoder.up.{level}.block.#", f"{up}.resnets.#", ldm.VAE_RES_BLOCK)
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
                **ldm.CLIP_LAYER,
                "attn.in_proj_weight": "self_attn.in_proj.weight",
                "attn.in_proj_bias": "self_attn.in_proj.bias",
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
