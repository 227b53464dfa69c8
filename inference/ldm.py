"""Where CompVis' and Stability's networks keep their layers, and where diffusers does: what all families share.

Dotted prefixes, published → ours, to be put below whatever stands before them in a file. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Names = Mapping[str, str]

RES_BLOCK: Names = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""ResBlock → ResnetBlock2D."""

TRANSFORMER: Names = {name: name for name in ("norm", "proj_in", "proj_out", "transformer_blocks")}
"""SpatialTransformer → Transformer2DModel."""

VAE_RES_BLOCK: Names = {
    **{name: name for name in ("norm1", "conv1", "norm2", "conv2")},
    "nin_shortcut": "conv_shortcut",
}
VAE_ATTENTION: Names = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}

CLIP_LAYER: Names = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""OpenCLIP's ResidualAttentionBlock → CLIPEncoderLayer, but for the three projections, which are one there."""


def unet(
    attends: Sequence[bool], res_blocks: int, res_block: Names = RES_BLOCK, transformer: Names = TRANSFORMER
) -> Names:
    """UNetModel → UNet2DConditionModel and its kin.

    Args:
        attends: whether each level has transformers, finest first.
        res_blocks: of a level on the way down; on the way up there is one more.
        res_block: what stands below a res block.
        transformer: what stands below a transformer.
    """
    return {
        **down_half(attends, res_blocks, res_block, transformer),
        "label_emb.0.0": "add_embedding.linear_1",
        "label_emb.0.2": "add_embedding.linear_2",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
        **_up_blocks(attends, res_blocks, res_block, transformer),
    }


def down_half(
    attends: Sequence[bool], res_blocks: int, res_block: Names = RES_BLOCK, transformer: Names = TRANSFORMER
) -> Names:
    """As far as its middle, which is also what a ControlNet is a copy of."""
    return {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        **_down_blocks(attends, res_blocks, res_block, transformer),
        **_under("middle_block.0", "mid_block.resnets.0", res_block),
        **_under("middle_block.1", "mid_block.attentions.0", transformer),
        **_under("middle_block.2", "mid_block.resnets.1", res_block),
    }


def _down_blocks(attends: Sequence[bool], res_blocks: int, res_block: Names, transformer: Names) -> dict[str, str]:
    """Input blocks count on through all levels: the res blocks of a level, then its downsampler."""
    names: dict[str, str] = {}
    index = 1
    for level, attending in enumerate(attends):
        for layer in range(res_blocks):
            names |= _under(f"input_blocks.{index}.0", f"down_blocks.{level}.resnets.{layer}", res_block)
            if attending:
                names |= _under(f"input_blocks.{index}.1", f"down_blocks.{level}.attentions.{layer}", transformer)
            index += 1
        if level + 1 < len(attends):
            names[f"input_blocks.{index}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            index += 1
    return names


def _up_blocks(attends: Sequence[bool], res_blocks: int, res_block: Names, transformer: Names) -> dict[str, str]:
    """Output blocks go from the coarsest level up; an upsampler ends its level's last block, behind the attention."""
    names: dict[str, str] = {}
    layers = res_blocks + 1
    for block, attending in enumerate(reversed(attends)):
        for layer in range(layers):
            index = block * layers + layer
            names |= _under(f"output_blocks.{index}.0", f"up_blocks.{block}.resnets.{layer}", res_block)
            if attending:
                names |= _under(f"output_blocks.{index}.1", f"up_blocks.{block}.attentions.{layer}", transformer)
        if block + 1 < len(attends):
            place = 2 if attending else 1
            names[f"output_blocks.{block * layers + layers - 1}.{place}.conv"] = f"up_blocks.{block}.upsamplers.0.conv"
    return names


def _under(published: str, ours: str, names: Names) -> dict[str, str]:
    return {f"{published}.{name}": f"{ours}.{target}" for name, target in names.items()}
