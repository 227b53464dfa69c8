"""The published networks (Lei et al., CVPR 2023), with the published names. No render uses them: the room's README.md
says why.

What they do is held against recorded numbers of the authors' code, departures of that code from its paper included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, Tensor]
"""A ConvLSTM's hidden and cell state, each `[B, C, h, w]`."""


class NeuralFilter(nn.Module):
    """U-Net: flickering frame and atlas frame, RGB 0..1 `[B, 6, H, W]`, to a steady one `[B, 3, H, W]`.

    Height and width are multiples of 16.
    """

    def __init__(self, in_channels: int = 6, out_channels: int = 3, init_features: int = 32) -> None:
        super().__init__()
        widths = [init_features * 2**level for level in range(5)]
        befores = [in_channels, *widths[:3]]
        for level, (before, width) in enumerate(zip(befores, widths[:4], strict=True), 1):
            self.add_module(f"encoder{level}", _two_convs(f"enc{level}", before, width))
            self.add_module(f"upconv{level}", _upward(2 * width, width))
            self.add_module(f"decoder{level}", _two_convs(f"dec{level}", 2 * width, width))
        self.bottleneck = _two_convs("bottleneck", widths[3], widths[4])
        self.conv = nn.Conv2d(init_features, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The steady frame; nothing bounds its levels."""
        skips = list[Tensor]()
        for level in (1, 2, 3, 4):
            skips.append(self.get_submodule(f"encoder{level}")(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.bottleneck(x)
        for level in (4, 3, 2, 1):
            x = self.get_submodule(f"upconv{level}")(x)
            x = self.get_submodule(f"decoder{level}")(torch.cat([x, skips[level - 1]], dim=1))
        return self.conv(x)


def _two_convs(name: str, before: int, width: int) -> nn.Sequential:
    layers = nn.Sequential()
    for number, channels in ((1, before), (2, width)):
        layers.add_module(f"{name}conv{number}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
        layers.add_module(f"{name}relu{number}", nn.ReLU())
    return layers


def _upward(before: int, width: int) -> nn.Sequential:
    grow = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return nn.Sequential(grow, nn.Conv2d(before, width, 3, padding=1))


class Conv(nn.Module):
    """A convolution over a mirrored border, behind an enlargement by `grow`.

    The checkpoint has an instance norm's buffers beside it, which the published code never applies: `norm` keeps their
    names, so that the file loads strictly, and does nothing else.
    """

    def __init__(self, before: int, width: int, size: int, stride: int = 1, grow: int = 1, norm: bool = True) -> None:
        super().__init__()
        self.grow, self.border = grow, size // 2
        self.conv2d = nn.Conv2d(before, width, size, stride)
        if norm:
            self.norm_layer = nn.InstanceNorm2d(width, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, before, H, W]` to `[B, width, H · grow / stride, W · grow / stride]`."""
        if self.grow > 1:
            x = functional.interpolate(x, scale_factor=self.grow, mode="nearest")
        return self.conv2d(functional.pad(x, [self.border] * 4, mode="reflect"))


class ResidualBlock(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(width, width, 3), Conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, h, w]`, the same shape out."""
        return x + self.conv2(_leaky(self.conv1(x)))


class ConvLSTM(nn.Module):
    """A long short-term memory whose gates are convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.Gates = nn.Conv2d(2 * width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor, state: State | None) -> State:
        """The state behind `x` `[B, width, h, w]`; its hidden part is the answer."""
        hidden, cell = state or (torch.zeros_like(x), torch.zeros_like(x))
        enter, keep, leave, new = self.Gates(torch.cat([x, hidden], dim=1)).chunk(4, dim=1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cell.tanh(), cell


class LocalRefinement(nn.Module):
    """What is to be added to a filtered frame so that it follows the last one (TransformNet, after Lai et al. 2018)."""

    def __init__(self, width: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.conv1a, self.conv1b = Conv(6, width, 7), Conv(6, width, 7)
        self.conv2a, self.conv2b = Conv(width, 2 * width, 3, 2), Conv(width, 2 * width, 3, 2)
        self.conv3 = Conv(4 * width, 4 * width, 3, 2)
        self.ResBlocks = nn.ModuleList(ResidualBlock(4 * width) for _ in range(blocks))
        self.convlstm = ConvLSTM(4 * width)
        self.deconv1 = Conv(4 * width, 2 * width, 3, grow=2)
        self.deconv2 = Conv(4 * width, width, 3, grow=2)
        self.deconv3 = Conv(2 * width, 3, 7, norm=False)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """`[B, 12, H, W]` (filtered, last answer, filtered, filtered before) to `[B, 3, H, W]` in -1..1, and the state.

        Height and width are multiples of 4.
        """
        a, b = _leaky(self.conv1a(x[:, :6])), _leaky(self.conv1b(x[:, 6:]))
        a2, b2 = _leaky(self.conv2a(a)), _leaky(self.conv2b(b))
        deep = _leaky(self.conv3(torch.cat([a2, b2], dim=1)))
        for block in self.ResBlocks:
            deep = block(deep)
        hidden, cell = self.convlstm(deep, state)
        half = torch.cat([_leaky(self.deconv1(hidden)), a2], dim=1)
        whole = torch.cat([_leaky(self.deconv2(half)), a], dim=1)
        return self.deconv3(whole).tanh(), (hidden, cell)


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)


class Atlas(nn.Module):
    """An MLP of coordinates -1..1, `[N, in]` to `[N, out]` in -1..1, trained for one clip (Kasten et al. 2021).

    The mapping has x, y, t → u, v and no `frequencies`; the atlas u, v → RGB, with its encoded input put in again
    before the layers `again`.
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        hidden: int = 256,
        layers: int = 6,
        frequencies: int = 0,
        again: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.frequencies, self.again = frequencies, frozenset(again)
        encoded = 2 * in_width * frequencies or in_width
        befores = [encoded] + [hidden + encoded * (layer in self.again) for layer in range(1, layers)]
        widths = [hidden] * (layers - 1) + [out_width]
        self.hidden = nn.ModuleList(nn.Linear(*sizes) for sizes in zip(befores, widths, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """The answers."""
        encoded = x = self._encoded(x)
        for number, layer in enumerate(self.hidden):
            if number > 0:
                x = x.relu()
            if number in self.again:
                x = torch.cat([x, encoded], dim=1)
            x = layer(x)
        return x.tanh()

    def _encoded(self, x: Tensor) -> Tensor:
        """For each frequency all sines, then all cosines."""
        if self.frequencies == 0:
            return x
        waves = [math.pi * 2**power * x for power in range(self.frequencies)]
        return torch.cat([part for wave in waves for part in (wave.sin(), wave.cos())], dim=1)


def as_published(
    neural_filter: NeuralFilter, refinement: LocalRefinement, content: Sequence[Tensor], atlas: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The published script over frames RGB 0..1 `[1, 3, H, W]`: for each its filtered and its final picture.

    Like the script it works on padded pictures throughout, resizes what it gives instead of cropping it, and carries no
    state. Nothing is clipped.
    """
    before = last = None
    for frame, guide in zip(content, atlas, strict=True):
        filtered = final = neural_filter(_padded(torch.cat([frame, guide], dim=1)))
        if before is not None and last is not None:
            final = filtered + refinement(torch.cat([filtered, last, filtered, before], dim=1))[0]
        before, last = filtered, final
        yield _resized(filtered, frame), _resized(final, frame)


def _padded(x: Tensor) -> Tensor:
    """To multiples of 32: columns on both sides, rows all below, as published."""
    height, width = x.shape[-2:]
    rows, columns = -height % 32, -width % 32
    return functional.pad(x, [columns // 2, columns - columns // 2, 0, rows], mode="replicate")


def _resized(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
