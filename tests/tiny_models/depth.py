"""A small Depth Anything V2 checkpoint: the real classes with random numbers, saved as the published files are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from inference.depth_weights import DEPTH

BACKBONE = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_size": 16,
    "image_size": 518,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
    "out_indices": [1, 2, 3, 4],
    "patch_size": 14,
    "reshape_hidden_states": False,
}

PREPROCESSOR = {
    "_valid_processor_keys": [
        "images",
        "do_resize",
        "size",
        "keep_aspect_ratio",
        "ensure_multiple_of",
        "resample",
        "do_rescale",
        "rescale_factor",
        "do_normalize",
        "image_mean",
        "image_std",
        "do_pad",
        "size_divisor",
        "return_tensors",
        "data_format",
        "input_data_format",
    ],
    "do_normalize": True,
    "do_pad": False,
    "do_rescale": True,
    "do_resize": True,
    "ensure_multiple_of": 14,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "DPTImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "keep_aspect_ratio": True,
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 518, "width": 518},
    "size_divisor": None,
}
"""Word for word the published one."""


def write_depth(models: Path) -> None:
    """`models/depth-anything-v2-small/`: config.json, model.safetensors, preprocessor_config.json."""
    folder = models / DEPTH.name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DepthAnythingForDepthEstimation(
            DepthAnythingConfig(
                backbone_config=BACKBONE,
                reassemble_hidden_size=16,
                neck_hidden_sizes=[8, 8, 16, 16],
                fusion_hidden_size=8,
                head_hidden_size=4,
            )
        )
        for (
            weight
        ) in network.parameters():  # as fresh from `transformers` it would answer every picture with one number
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
        # A random head may end below its ReLU everywhere, and a map of zeros is no depth.
        network.head.conv3.bias = torch.nn.Parameter(torch.tensor([4.0]))
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n", "utf-8")
