"""FILM (Reda et al. 2022): features of seven scales, flow refined from coarse to fine, one fusion. For large motion.

Parameters have the names of the published TorchScript files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2


@dataclass(frozen=True)
class FilmSizes:
    """What the network is built from; the published "Style" model's sizes by default."""

    pyramid_levels: int = 7
    fusion_levels: int = 5
    specialised: int = 3
    """Finest levels that have a flow predictor of their own."""
    sub_levels: int = 4
    filters: int = 64
    flow_convs: tuple[int, ...] = (3, 3, 3, 3)
    flow_filters: tuple[int, ...] = (32, 64, 128, 256)

    def features(self, level: int) -> int:
        """Channels of a frame's features at `level`, 0 the finest."""
        return sum(self.filters << index for index in range(min(level + 1, self.sub_levels)))


class Found(NamedTuple):
    """The frame, and the finest flow from the first to the second frame and back, `[B, 2, H, W]` in pixels."""

    frame: Tensor
    forward: Tensor
    backward: Tensor


@lru_cache(maxsize=8)
def _centres(height: int, width: int, device: torch.device) -> Tensor:
    across = ((torch.arange(width, device=device) * 2 + 1) / width - 1).expand(height, width)
    down = ((torch.arange(height, device=device) * 2 + 1) / height - 1)[:, None].expand(height, width)
    return torch.stack([across, down], dim=-1)[None]


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """`picture` seen at each pixel plus `flow`; coordinates in float32, beyond the border the border."""
    height, width = picture.shape[-2:]
    reach = torch.tensor([2 / width, 2 / height], device=flow.device)
    there = _centres(height, width, flow.device) + flow.float().permute(0, 2, 3, 1) * reach
    seen = functional.grid_sample(picture.float(), there, mode="bilinear", padding_mode="border", align_corners=False)
    return seen.to(picture.dtype)


def _conv(inside: int, outside: int, size: int, *, active: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, size, padding="same" if size % 2 else 0)
    return nn.Sequential(conv, nn.LeakyReLU(SLOPE)) if active else nn.Sequential(conv)


class SubTree(nn.Module):
    """Features of one picture at a few scales, each half as large as the one before."""

    def __init__(self, sizes: FilmSizes) -> None:
        super().__init__()
        widths = [3, *(sizes.filters << level for level in range(sizes.sub_levels))]
        self.convs = nn.ModuleList(
            nn.Sequential(_conv(inside, outside, 3), _conv(outside, outside, 3)) for inside, outside in pairwise(widths)
        )

    def forward(self, picture: Tensor, levels: int) -> list[Tensor]:
        """The `levels` finest of them."""
        found: list[Tensor] = []
        for conv in self.convs[:levels]:
            picture = conv(picture if not found else functional.avg_pool2d(found[-1], 2))
            found.append(picture)
        return found


class FeatureExtractor(nn.Module):
    """The same sub-tree at every level of a picture's pyramid; what has one size belongs together."""

    def __init__(self, sizes: FilmSizes) -> None:
        super().__init__()
        self.sub_levels = sizes.sub_levels
        self.extract_sublevels = SubTree(sizes)

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """A feature map for each picture."""
        count = len(pyramid)
        trees = [
            self.extract_sublevels(picture, min(count - level, self.sub_levels))
            for level, picture in enumerate(pyramid)
        ]
        return [
            torch.cat([trees[level - depth][depth] for depth in range(min(level + 1, self.sub_levels))], dim=1)
            for level in range(count)
        ]


class FlowPredictor(nn.Module):
    """What is left of the flow at one level."""

    def __init__(self, inside: int, convs: int, filters: int) -> None:
        super().__init__()
        self._convs = nn.Sequential(
            *(_conv(inside if index == 0 else filters, filters, 3) for index in range(convs)),
            _conv(filters, filters // 2, 1),
            _conv(filters // 2, 2, 1, active=False),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Features of both frames → `[B, 2, h, w]`."""
        return self._convs(torch.cat([first, second], dim=1))


class PyramidFlow(nn.Module):
    """Flow at every level: the coarser one doubled, and what is left of it."""

    def __init__(self, sizes: FilmSizes) -> None:
        super().__init__()
        specialised = sizes.specialised
        self._predictor = FlowPredictor(
            2 * sizes.features(sizes.pyramid_levels - 1), sizes.flow_convs[-1], sizes.flow_filters[-1]
        )
        # Coarse to fine, as in the published files.
        self._predictors = nn.ModuleList(
            FlowPredictor(2 * sizes.features(level), sizes.flow_convs[level], sizes.flow_filters[level])
            for level in reversed(range(specialised))
        )

    def _at(self, level: int) -> nn.Module:
        count = len(self._predictors)
        return self._predictors[count - 1 - level] if level < count else self._predictor

    def forward(self, first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
        """Feature pyramids → flows from the first to the second frame, finest first."""
        coarsest = len(first) - 1
        flows = [self._at(coarsest)(first[coarsest], second[coarsest])]
        for level in reversed(range(coarsest)):
            size = first[level].shape[-2:]
            guess = functional.interpolate(2 * flows[0], size=size, mode="bilinear", align_corners=False)
            flows.insert(0, self._at(level)(first[level], warp(second[level], guess)) + guess)
        return flows


class Fusion(nn.Module):
    """From the aligned pyramid to the picture."""

    def __init__(self, sizes: FilmSizes) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        inside = _aligned(sizes, sizes.fusion_levels - 1)
        for level in reversed(range(sizes.fusion_levels - 1)):
            width = sizes.filters << min(level, sizes.specialised)
            merged = _aligned(sizes, level) + width
            steps.append(
                nn.ModuleList([_conv(inside, width, 2, active=False), _conv(merged, width, 3), _conv(width, width, 3)])
            )
            inside = width
        self.convs = nn.ModuleList(steps)
        self.output_conv = nn.Conv2d(inside, 3, 1)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Finest level first → `[B, 3, H, W]`."""
        x = pyramid[-1]
        for step, aligned in zip(self.convs, reversed(pyramid[:-1]), strict=True):
            assert isinstance(step, nn.ModuleList)
            grown = functional.interpolate(x, size=aligned.shape[-2:], mode="nearest")
            grown = step[0](functional.pad(grown, (0, 1, 0, 1)))
            x = step[2](step[1](torch.cat([aligned, grown], dim=1)))
        return self.output_conv(x)


def _aligned(sizes: FilmSizes, level: int) -> int:
    """Channels of both frames' pictures and features, and of both flows."""
    return 2 * (3 + sizes.features(level)) + 4


class Film(nn.Module):
    """The whole network."""

    def __init__(self, sizes: FilmSizes = FilmSizes()) -> None:
        super().__init__()
        self.sizes = sizes
        self.extract = FeatureExtractor(sizes)
        self.predict_flow = PyramidFlow(sizes)
        self.fuse = Fusion(sizes)

    @property
    def modulus(self) -> int:
        """What width and height must be multiples of."""
        return 1 << (self.sizes.pyramid_levels - 1)

    def forward(self, first: Tensor, second: Tensor, t: float) -> Found:
        """The frame at `t` in 0 … 1 between two frames `[B, 3, H, W]` in 0 … 1; not clamped."""
        pictures = [_pyramid(frame, self.sizes.pyramid_levels) for frame in (first, second)]
        features = [self.extract(pyramid) for pyramid in pictures]
        levels = self.sizes.fusion_levels
        forward = self.predict_flow(features[0], features[1])[:levels]
        backward = self.predict_flow(features[1], features[0])[:levels]
        to_first, to_second = [flow * t for flow in backward], [flow * (1 - t) for flow in forward]
        aligned = [
            torch.cat(
                [
                    warp(torch.cat([pictures[0][level], features[0][level]], dim=1), to_first[level]),
                    warp(torch.cat([pictures[1][level], features[1][level]], dim=1), to_second[level]),
                    to_first[level],
                    to_second[level],
                ],
                dim=1,
            )
            for level in range(levels)
        ]
        return Found(self.fuse(aligned), forward[0], backward[0])


def _pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    pictures = [picture]
    for _ in range(levels - 1):
        pictures.append(functional.avg_pool2d(pictures[-1], 2))
    return pictures


class Call(NamedTuple):
    """One question to the network: the frame at `left + t * (right - left)`, from the known frames at both ends.

    `wanted` is which of the wanted frames that is.
    """

    wanted: int
    left: float
    right: float
    t: float


def schedule(times: Sequence[float]) -> list[Call]:
    """In which order to make frames at `times` (rising, between 0 and 1): always what is nearest the middle of a gap.

    The network was trained in the middle, so each answer serves as an end for the next questions. Counted in float32,
    as the original does, whose rounding decides between two that are equally near.
    """
    moments = torch.tensor([0.0, *times, 1.0])
    known, open_ = [0, len(times) + 1], list(range(1, len(times) + 1))
    calls: list[Call] = []
    while open_:
        starts, ends = moments[known[:-1], None], moments[known[1:], None]
        off_middle = ((moments[None, open_] - starts) / (ends - starts) - 0.5).abs()
        gap, which = divmod(int(off_middle.argmin()), len(open_))
        wanted, left, right = open_.pop(which), known[gap], known[gap + 1]
        t = (moments[wanted] - moments[left]) / (moments[right] - moments[left])
        calls.append(Call(wanted - 1, float(moments[left]), float(moments[right]), float(t)))
        known.insert(gap + 1, wanted)
    return calls
