"""Line drawings: the generator of informative drawings (Chan, Durand, Isola 2022).

Down to a quarter of the size, three residual blocks, and up again, with instance norms in between. `sk_model.pth` draws
fine lines and `sk_model2.pth` coarse ones; both are in lllyasviel/Annotators, 4.3 million numbers each.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from inference.systems.animatediff import errors
from inference.systems.animatediff.keymap import KeyMap, under
from inference.systems.animatediff.loader import compare, fill, parameters_of, read, shapes_of

FINE = "sk_model.pth"
COARSE = "sk_model2.pth"

LINEART = KeyMap(
    {
        "model0.1": "begin",
        "model1.0": "down.0",
        "model1.3": "down.1",
        **under("model2.#", "residuals.#", {"conv_block.1": "first", "conv_block.5": "second"}),
        "model3.0": "up.0",
        "model3.3": "up.1",
        "model4.1": "end",
    }
)
"""`Generator` of carolineec/informative-drawings: layers are counted with their norms, activations and paddings."""


def _mirrored(picture: Tensor, pixels: int) -> Tensor:
    return nn.functional.pad(picture, (pixels,) * 4, mode="reflect")


def _normed(features: Tensor) -> Tensor:
    return nn.functional.instance_norm(features, eps=1e-5)


class Residual(nn.Module):
    """Two convolutions beside the way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3)
        self.second = nn.Conv2d(width, width, 3)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, C, h, w]` → the same."""
        beside = torch.relu(_normed(self.first(_mirrored(features, 1))))
        return features + _normed(self.second(_mirrored(beside, 1)))


class LineDrawing(nn.Module):
    """The whole network.

    Args:
        width: channels at full size; published: 64.
        residuals: blocks in the middle; published: 3.
    """

    def __init__(self, width: int, residuals: int) -> None:
        super().__init__()
        self.begin = nn.Conv2d(3, width, 7)
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1) for w in (width, 2 * width))
        self.residuals = nn.ModuleList(Residual(4 * width) for _ in range(residuals))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(w, w // 2, 3, stride=2, padding=1, output_padding=1) for w in (4 * width, 2 * width)
        )
        self.end = nn.Conv2d(width, 1, 7)

    def forward(self, pictures: Tensor) -> Tensor:
        """Dark lines on white, 0 … 1, `[B, 1, H, W]`; sides that 4 does not divide come out a little longer.

        Args:
            pictures: RGB, 0 … 1, `[B, 3, H, W]`.
        """
        features = torch.relu(_normed(self.begin(_mirrored(pictures, 3))))
        for down in self.down:
            features = torch.relu(_normed(down(features)))
        for residual in self.residuals:
            features = residual(features)
        for up in self.up:
            features = torch.relu(_normed(up(features)))
        return torch.sigmoid(self.end(_mirrored(features, 3)))


def open_lineart(path: Path, model: str) -> LineDrawing:
    """Read the network, in float32.

    Raises:
        Failure: the file cannot be read, or is another.
    """
    file = read(path, model)
    tensors = file.renamed(LINEART, "line drawing network")
    shapes = shapes_of(tensors)
    residuals = sum(name.startswith("residuals.") and name.endswith(".first.weight") for name in shapes)
    if "begin.weight" not in shapes:
        raise errors.AnimateDiffMissingTensors(model=model, file=file.name, count=1, example="begin.weight")
    with torch.device("meta"):
        network = LineDrawing(shapes["begin.weight"][0], residuals)
    compare(file, shapes, parameters_of(network))
    fill(network, tensors, torch.float32)
    return network.requires_grad_(False)
