"""A small Swin2SR checkpoint: the real class with random numbers, saved as the published files are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from inference.systems.upscale.weights import SWIN2SR

PREPROCESSOR = {
    "do_pad": True,
    "do_rescale": True,
    "image_processor_type": "Swin2SRImageProcessor",
    "pad_size": 8,
    "rescale_factor": 0.00392156862745098,
}
"""In sense the published one; the pinned hash is of its very bytes."""


def write_swin2sr(models: Path) -> None:
    """`models/swin2sr-classical-x2-64/`: config.json, model.safetensors, preprocessor_config.json."""
    folder = models / SWIN2SR.name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Swin2SRForImageSuperResolution(
            Swin2SRConfig(embed_dim=12, depths=[2, 2], num_heads=[2, 2], image_size=64, window_size=8, upscale=2)
        )
        # As fresh from `transformers` it would answer with next to nothing, which shows no seam.
        for weight in network.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
        network.upsample.final_convolution.weight.data *= 0.1
        network.upsample.final_convolution.bias.data.fill_(0.5)  # grey, and neither black nor white all over
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n", "utf-8")
