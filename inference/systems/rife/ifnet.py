"""RIFE's network (Huang et al. 2022, and its versions 4.x): flow at any moment between two frames, then one blend.

Parameters have the published names. What differs between versions is data: `versions.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.systems.rife.versions import ENCODER, PAIR, Head, Version

SLOPE = 0.2
FAST_PIXELS = 32.0
"""Beyond this motion the oldest versions look again at twice the scale."""


class Pair(NamedTuple):
    """Two frames and what the head saw in them: `[B, 3, H, W]` and `[B, C, H, W]` or None."""

    first: Tensor
    second: Tensor
    first_features: Tensor | None
    second_features: Tensor | None

    def planes(self) -> list[Tensor]:
        """In the order in which blocks take them."""
        return [plane for plane in self if plane is not None]


class Answer(NamedTuple):
    """What a block says: flow to both frames `[B, 4, H, W]` in pixels, mask `[B, 1, H, W]`, and features or None."""

    flow: Tensor
    mask: Tensor
    features: Tensor | None


@lru_cache(maxsize=4)
def grid_of(height: int, width: int, device: torch.device) -> Tensor:
    """Where each pixel lies, `[1, H, W, 2]` in -1 … 1 from the centre of the first pixel to that of the last."""
    across = torch.linspace(-1.0, 1.0, width, device=device).expand(height, width)
    down = torch.linspace(-1.0, 1.0, height, device=device)[:, None].expand(height, width)
    return torch.stack([across, down], dim=-1)[None]


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """`picture` seen at each pixel plus `flow` (`[B, 2, H, W]`, right and down); beyond the border, the border.

    Coordinates are float32 whatever the picture is: in float16 they would be off by half a pixel from 1024 on.
    """
    height, width = picture.shape[-2:]
    reach = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], device=flow.device)
    there = grid_of(height, width, flow.device) + flow.float().permute(0, 2, 3, 1) * reach
    seen = functional.grid_sample(picture.float(), there, mode="bilinear", padding_mode="border", align_corners=True)
    return seen.to(picture.dtype)


def resized(planes: Tensor, factor: float) -> Tensor:
    """Bilinear, by `factor`."""
    if factor == 1:
        return planes
    return functional.interpolate(planes, scale_factor=factor, mode="bilinear", align_corners=False)


def _conv(inside: int, outside: int, version: Version, stride: int = 1) -> nn.Sequential:
    activation = nn.PReLU(outside) if version.inner == "skip" else nn.LeakyReLU(SLOPE)
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1), activation)


class Residual(nn.Module):
    """A convolution whose answer is scaled for each channel and added to what it was given."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, h, w]`."""
        return functional.leaky_relu(self.conv(x) * self.beta + x, SLOPE)


class Block(nn.Module):
    """One look at the pair, at one scale."""

    def __init__(self, version: Version, inside: int, width: int) -> None:
        super().__init__()
        self.skips = version.inner == "skip"
        self.shuffled = version.shuffled
        self.conv0 = nn.Sequential(
            _conv(inside, width // 2, version, stride=2), _conv(width // 2, width, version, stride=2)
        )
        residual = version.inner == "residual"
        self.convblock = nn.Sequential(
            *(Residual(width, version.groups) if residual else _conv(width, width, version) for _ in range(8))
        )
        if version.shuffled:
            upward = nn.ConvTranspose2d(width, 4 * version.outputs, 4, 2, 1)
            self.lastconv: nn.Module = nn.Sequential(upward, nn.PixelShuffle(2))
        else:
            self.lastconv = nn.ConvTranspose2d(width, version.outputs, 4, 2, 1)

    def forward(self, planes: Tensor, flow: Tensor | None, scale: float) -> Answer:
        """`planes` `[B, C, H, W]` and the flow so far, seen shrunk by `scale`."""
        seen = resized(planes, 1 / scale)
        if flow is not None:
            seen = torch.cat([seen, resized(flow, 1 / scale) / scale], dim=1)
        x = self.conv0(seen)
        x = self.convblock(x) + x if self.skips else self.convblock(x)
        grown = scale if self.shuffled else 2 * scale
        said = resized(self.lastconv(x), grown)
        return Answer(said[:, :4] * grown, said[:, 4:5], said[:, 5:] if said.shape[1] > 6 else None)


class Encoder(nn.Module):
    """The head of the later versions: half the size and back, without a sound after the last layer."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, head.width, 3, 2, 1)
        self.cnn1 = nn.Conv2d(head.width, head.width, 3, 1, 1)
        self.cnn2 = nn.Conv2d(head.width, head.width, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(head.width, head.features, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]` → `[B, features, H, W]`."""
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = functional.leaky_relu(layer(x), SLOPE)
        return self.cnn3(x)


def _head_of(head: Head) -> nn.Module:
    shrink = nn.Conv2d(3, head.width, 3, 2, 1)
    grow = nn.ConvTranspose2d(head.width, head.features, 4, 2, 1)
    if head.names == PAIR:
        return nn.Sequential(shrink, grow)
    if head.names == ENCODER:
        return Encoder(head)
    level = [nn.Conv2d(head.width, head.width, 3, 1, 1) for _ in range(2)]
    return nn.Sequential(
        shrink, nn.LeakyReLU(SLOPE), level[0], nn.LeakyReLU(SLOPE), level[1], nn.LeakyReLU(SLOPE), grow
    )


class IFNet(nn.Module):
    """The network of one version."""

    encode: nn.Module

    def __init__(self, version: Version) -> None:
        super().__init__()
        self.version = version
        features = 0
        if version.head:
            self.encode = _head_of(version.head)
            features = 2 * version.head.features
        for index, width in enumerate(version.widths):
            inside = 7 + features if index == 0 else 12 + features + version.feedback
            self.add_module(f"block{index}", Block(version, inside, width))

    def pair(self, first: Tensor, second: Tensor) -> Pair:
        """Two frames `[B, 3, H, W]` in 0 … 1 with what the head sees in them: once for all moments between."""
        if self.version.head is None:
            return Pair(first, second, None, None)
        return Pair(first, second, self.encode(first), self.encode(second))

    def motion(self, pair: Pair, t: float, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Flow from the moment `t` in 0 … 1 to both frames, and the mask before its sigmoid.

        Args:
            pair: sides must be multiples of `version.modulus(scale)`.
            t: when.
            scale: 0.5 looks for motion at half the size (4K), 2 at twice.
        """
        scales = [step / scale for step in self.version.scales]
        said: Answer | None = None
        index = 0
        while index < len(scales):
            change = self.look(index, pair, said, t, scales[index])
            if index == 1 and self.version.doubles and scales[0] == self.version.scales[0] / scale and _fast(change):
                scales = [2 * step for step in scales]
                said, index = None, 0
                continue
            said = self._sum(said, change)
            index += 1
        assert said is not None
        return said.flow, said.mask

    def _sum(self, said: Answer | None, change: Answer) -> Answer:
        if said is None:
            return change
        mask = said.mask + change.mask if self.version.mask_adds_up else change.mask
        return Answer(said.flow + change.flow, mask, change.features)

    def look(self, index: int, pair: Pair, said: Answer | None, t: float, scale: float) -> Answer:
        """By what one block would change what was `said` so far."""
        return self.ask(index, pair if said is None else warped(pair, said.flow), said, t, scale)

    def ask(self, index: int, seen: Pair, said: Answer | None, t: float, scale: float) -> Answer:
        """What one block says of the pair as it is `seen`, already moved."""
        planes = [*seen.planes(), torch.full_like(seen.first[:, :1], t)]
        if said is not None:
            planes.append(said.mask)
            if said.features is not None:
                planes.append(said.features)
        block = self.get_submodule(f"block{index}")
        return block(torch.cat(planes, dim=1), None if said is None else said.flow, scale)


def blend(first: Tensor, second: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
    """Both frames, of any number of channels, moved to one moment by `flow` and mixed by the sigmoid of `mask`."""
    share = torch.sigmoid(mask)
    return warp(first, flow[:, :2]) * share + warp(second, flow[:, 2:]) * (1 - share)


def warped(pair: Pair, flow: Tensor) -> Pair:
    """Frames and features moved to one moment."""

    def moved(picture: Tensor | None, way: Tensor) -> Tensor | None:
        return None if picture is None else warp(picture, way)

    first, second = flow[:, :2], flow[:, 2:]
    return Pair(
        warp(pair.first, first),
        warp(pair.second, second),
        moved(pair.first_features, first),
        moved(pair.second_features, second),
    )


def _fast(change: Answer) -> bool:
    halves = change.flow.abs().split(2, dim=1)
    return all(bool(half.max() > FAST_PIXELS) for half in halves)
