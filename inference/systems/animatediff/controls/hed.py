"""Soft edges: holistically-nested edge detection (Xie, Tu 2015), as ControlNet's authors trained it anew.

Five blocks of convolutions, each at half the size of the one before, and each says where it sees edges. The picture is
the mean of the five. `ControlNetHED.pth` of lllyasviel/Annotators, 14.7 million numbers in float16.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.systems.animatediff import errors
from inference.systems.animatediff.keymap import KeyMap
from inference.systems.animatediff.loader import compare, fill, parameters_of, read, shapes_of

FILE = "ControlNetHED.pth"
LAYERS = (2, 2, 3, 3, 3)
"""Convolutions in each block: VGG-16's."""

HED = KeyMap(
    {
        "norm": "mean",
        **{
            f"block{block + 1}.{published}": f"blocks.{block}.{ours}"
            for block in range(len(LAYERS))
            for published, ours in {"convs.#": "convolutions.#", "projection": "edges"}.items()
        },
    }
)


class Block(nn.Module):
    """Convolutions at one size, and what they see of edges."""

    def __init__(self, width_in: int, width: int, layers: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width if layer else width_in, width, 3, padding=1) for layer in range(layers)
        )
        self.edges = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, h, w]` → features of this block, and logits of edges `[B, 1, h, w]`."""
        for convolution in self.convolutions:
            features = functional.relu(convolution(features))
        return features, self.edges(features)


class HolisticEdges(nn.Module):
    """The whole network.

    Args:
        widths: channels of each block; published: 64, 128, 256, 512, 512.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.blocks = nn.ModuleList(
            Block(width_in, width, layers)
            for width_in, width, layers in zip((3, *widths[:-1]), widths, LAYERS, strict=True)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """How much of an edge each pixel is, 0 … 1, `[B, 1, H, W]`.

        Args:
            pictures: RGB, 0 … 255, `[B, 3, H, W]`, 16 pixels or more on each side.
        """
        size = pictures.shape[-2:]
        features, sides = pictures - self.mean, list[Tensor]()
        for number, block in enumerate(self.blocks):
            features, edges = block(functional.max_pool2d(features, 2) if number else features)
            sides.append(functional.interpolate(edges, size, mode="bilinear", align_corners=False))
        return torch.sigmoid(torch.stack(sides).mean(0))


def open_hed(path: Path, model: str) -> HolisticEdges:
    """Read the network, in float32.

    Raises:
        Failure: the file cannot be read, or is another.
    """
    file = read(path, model)
    tensors = file.renamed(HED, "HED network")
    shapes = shapes_of(tensors)
    names = [f"blocks.{block}.edges.weight" for block in range(len(LAYERS))]
    missing = [name for name in names if len(shapes.get(name, ())) != 4]
    if missing:
        raise errors.AnimateDiffMissingTensors(model=model, file=file.name, count=len(missing), example=missing[0])
    with torch.device("meta"):
        network = HolisticEdges(tuple(shapes[name][1] for name in names))
    compare(file, shapes, parameters_of(network))
    fill(network, tensors, torch.float32)
    return network.requires_grad_(False)
