"""From a plan to frames: who makes what lies between two frames, and how pictures of any size and kind get there.

A maker is given two frames and the moments between them, once for each pair. Frames that are in the clip are handed
over as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.residency import Resident
from inference.systems.base import Frame, Place, Thrift, Tick
from inference.systems.rife.film import Film, schedule
from inference.systems.rife.film import warp as film_warp
from inference.systems.rife.ifnet import IFNet, blend
from inference.systems.rife.loader import label_of, load_film, load_rife
from inference.systems.rife.timeline import Between, Reel
from inference.weights import Weights

LARGE_SIDE, HUGE_SIDE = 2560, 5120
"""Longer than that, RIFE looks for motion at half the size, at a quarter: the authors' advice for 4K and 8K."""
BYTES_PER_PIXEL = 400
"""About what RIFE needs beside its weights, in float32."""
FILM_BYTES_PER_PIXEL = 6000
"""The same for FILM, measured on a CPU: 6300 at 256 × 256, 5700 at 512 × 512."""
FILM_TILE, FILM_OVERLAP = 1024, 128
"""Sides of the squares in which FILM does a large picture. It is fully convolutional, but sees some 100 pixels far."""
FAINT = 1 / 512
"""Less alpha than this, and there is no colour to be told."""
BACKDROP = 0.5
"""Motion of something transparent is looked for before mid-grey, which hides neither dark nor light."""


class Maker(Protocol):
    """Makes frames between frames."""

    @property
    def label(self) -> str:
        """What people call it: `RIFE 4.26`."""
        ...

    def between(self, first: Frame, second: Frame, times: Sequence[float]) -> Iterator[Frame]:
        """Frames at the moments `times`, rising and inside 0 … 1, between two frames of one size; 3 channels or 4."""
        ...


def made(clip: Reel, plan: Iterable[Between], total: int, maker: Maker, tick: Tick) -> Iterator[Frame]:
    """The frames of a plan, one after the other; `total` is how many there are."""
    done = 0
    for (left, right, mixed), moments in groupby(plan, key=lambda one: (one.left, one.right, one.t > 0)):
        times = [moment.t for moment in moments]
        frames = maker.between(clip[left], clip[right], times) if mixed else (clip[left] for _ in times)
        for frame in frames:
            done += 1
            yield frame
            tick("interpolating", done, total)


# -- pictures and planes --


def planes_of(frame: Frame, device: torch.device) -> Tensor:
    """`[1, 3, H, W]` or with alpha `[1, 4, H, W]` in 0 … 1, float32; colours multiplied by alpha, as mixing needs."""
    planes = torch.from_numpy(np.array(frame)).to(device).permute(2, 0, 1)[None].float() / 255
    if planes.shape[1] == 4:
        planes[:, :3] *= planes[:, 3:]
    return planes


def frame_of(planes: Tensor) -> Frame:
    """The frame again, rounded; where there is hardly any alpha, black."""
    if planes.shape[1] == 4:
        alpha = planes[:, 3:].clamp(0, 1)
        colour = torch.where(alpha > FAINT, planes[:, :3] / alpha.clamp(min=FAINT), 0.0)
        planes = torch.cat([colour, alpha], dim=1)
    levels = (planes[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


def opaque(planes: Tensor) -> Tensor:
    """What there is to see, `[1, 3, H, W]`: something transparent stands before mid-grey."""
    return planes if planes.shape[1] == 3 else planes[:, :3] + BACKDROP * (1 - planes[:, 3:])


def grown(planes: Tensor, modulus: int) -> Tensor:
    """With its last row and column repeated until both sides are multiples of `modulus`: black would bleed in."""
    height, width = planes.shape[-2:]
    if height % modulus == 0 and width % modulus == 0:
        return planes
    return functional.pad(planes, (0, -width % modulus, 0, -height % modulus), mode="replicate")


# -- RIFE --


def scale_for(width: int, height: int) -> float:
    """At what part of a frame's size RIFE looks for motion, where nobody chose."""
    longest = max(width, height)
    return 0.25 if longest > HUGE_SIDE else 0.5 if longest > LARGE_SIDE else 1.0


def half_where_it_helps(place: Place) -> torch.dtype:
    """float16 on a GPU that works in it; bfloat16 has too few digits for pictures, and on a CPU float32 is faster."""
    return torch.float16 if place.device.type == "cuda" and place.dtype == torch.float16 else torch.float32


class RifeMaker:
    """RIFE in one version. With thrift it looks for motion in a picture of half the size, and moves the whole one."""

    def __init__(self, place: Place, weights: Weights, thrift: Thrift, scale: float | None = None) -> None:
        self.place, self.thrift, self.scale = place, thrift, scale
        self.dtype = half_where_it_helps(place)
        self.resident: Resident[IFNet] = place.residency.get(
            ("smooth", weights.name, self.dtype), lambda: load_rife(weights, place.models, self.dtype)
        )

    @property
    def label(self) -> str:
        """With the version."""
        return label_of(self.resident.network)

    def between(self, first: Frame, second: Frame, times: Sequence[float]) -> Iterator[Frame]:
        """The head looks at both frames once, the blocks once for each moment."""
        height, width = first.shape[:2]
        working = height * width * BYTES_PER_PIXEL
        with self.place.residency.on_device(self.resident, working, alone=self.thrift.offload) as network:
            scale = self.scale or scale_for(width, height)
            shrink = 1 if self.thrift.decode_chunk_size is None else 2
            planes = [planes_of(frame, self.place.device) for frame in (first, second)]
            seen = [self._seen(one, network.version.modulus(scale), shrink) for one in planes]
            pair = network.pair(seen[0], seen[1])
            for t in times:
                flow, mask = (self._whole(field.float(), shrink) for field in network.motion(pair, t, scale))
                there = (..., slice(height), slice(width))
                yield frame_of(blend(planes[0], planes[1], flow[there] * shrink, mask[there]))

    def _seen(self, planes: Tensor, modulus: int, shrink: int) -> Tensor:
        whole = grown(opaque(planes), modulus * shrink).clamp(0, 1)
        return (functional.avg_pool2d(whole, shrink) if shrink > 1 else whole).to(self.dtype)

    def _whole(self, field: Tensor, shrink: int) -> Tensor:
        if shrink == 1:
            return field
        return functional.interpolate(field, scale_factor=shrink, mode="bilinear", align_corners=False)


# -- FILM --


class FilmMaker:
    """FILM. Each frame that it made serves it as an end for the next; a large picture is done in squares."""

    def __init__(self, place: Place, weights: Weights, thrift: Thrift) -> None:
        self.place, self.thrift = place, thrift
        self.dtype = half_where_it_helps(place)
        self.tile = FILM_TILE if thrift.decode_chunk_size is None else FILM_TILE // 2
        self.resident: Resident[Film] = place.residency.get(
            ("smooth", weights.name, self.dtype), lambda: load_film(weights, place.models, self.dtype)
        )

    @property
    def label(self) -> str:
        """It has one version."""
        return label_of(self.resident.network)

    def between(self, first: Frame, second: Frame, times: Sequence[float]) -> Iterator[Frame]:
        """In the order in which the network is asked; handed over in the order of time."""
        working = min(first.shape[0] * first.shape[1], self.tile**2) * FILM_BYTES_PER_PIXEL
        with self.place.residency.on_device(self.resident, working, alone=self.thrift.offload) as network:
            known = {0.0: planes_of(first, self.place.device), 1.0: planes_of(second, self.place.device)}
            answers: dict[int, Tensor] = {}
            moments = torch.tensor(list(times)).tolist()  # as the schedule names them: in float32
            for call in schedule(times):
                answer = self._tiled(network, known[call.left], known[call.right], call.t)
                known[moments[call.wanted]] = answers[call.wanted] = answer
        for index in range(len(times)):
            yield frame_of(answers[index])

    def _tiled(self, network: Film, first: Tensor, second: Tensor, t: float) -> Tensor:
        height, width = first.shape[-2:]
        total, weight = torch.zeros_like(first), torch.zeros_like(first[:, :1])
        for rows in spans(height, self.tile, FILM_OVERLAP):
            for columns in spans(width, self.tile, FILM_OVERLAP):
                part = (..., rows, columns)
                share = feather(rows, height, first.device)[:, None] * feather(columns, width, first.device)
                total[part] += share * self._asked(network, first[part], second[part], t)
                weight[part] += share
        return total / weight

    def _asked(self, network: Film, first: Tensor, second: Tensor, t: float) -> Tensor:
        height, width = first.shape[-2:]
        whole = [grown(planes, network.modulus) for planes in (first, second)]
        found = network(opaque(whole[0]).to(self.dtype), opaque(whole[1]).to(self.dtype), t)
        colour = found.frame.float()
        if first.shape[1] == 4:  # FILM knows no alpha: it goes where FILM's own flow says
            ahead = film_warp(whole[0][:, 3:], found.backward * t)
            back = film_warp(whole[1][:, 3:], found.forward * (1 - t))
            alpha = ahead * (1 - t) + back * t
            colour = torch.cat([(colour - BACKDROP * (1 - alpha)).clamp(min=0).minimum(alpha), alpha], dim=1)
        return colour[..., :height, :width].clamp(0, 1)


def spans(length: int, tile: int, overlap: int) -> list[slice]:
    """As few equal spans of at most `tile` as cover `length`, each overlapping the next by `overlap` at least."""
    if length <= tile:
        return [slice(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(index * (length - tile) / (count - 1)) for index in range(count)]
    return [slice(start, start + tile) for start in starts]


def feather(span: slice, length: int, device: torch.device) -> Tensor:
    """How much each place of a span counts: less towards an end where another span goes on."""
    places = torch.arange(span.start, span.stop, device=device, dtype=torch.float32) + 0.5
    rising = ((places - span.start) / FILM_OVERLAP).clamp(max=1) if span.start else torch.ones_like(places)
    falling = ((span.stop - places) / FILM_OVERLAP).clamp(max=1) if span.stop < length else torch.ones_like(places)
    return rising * falling
