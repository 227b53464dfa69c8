"""A palette for a whole clip, alpha included, and its frames in it, dithered by a pattern that stands still."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from media.bt709 import LUMA
from media.frames import Footage, Frame
from media.passes import frames_at

SAMPLES = 16_384
ROUNDS = 6
"""Of Lloyd's algorithm; not tuned."""
SOFT, HARD = (5, 5, 5, 3), (6, 6, 6, 0)
"""Bits of red, green, blue and alpha by which the nearest colour is looked up: finer than the dither is coarse."""
STRENGTH = 4.0
"""Of the dither, in levels of 255, at 256 colours."""

CHROMA_WEIGHT = 0.42
EYE = np.column_stack([LUMA, *(CHROMA_WEIGHT * (np.eye(3, dtype=np.float32)[[0, 2]] - LUMA))]).astype(np.float32)
"""RGB to lightness, red and blue against it, weighed as an eye does: it sees less of hue.

The weight was chosen among 1, 0.7, 0.5, 0.42 and 0.35 on two synthetic clips, that of benchmarks/encode.py and a grainy
one, by SSIM of luma, which itself rewards less weight; 0.35 scored higher still and was left for the sake of colour."""


def bayer(side: int) -> NDArray[np.float32]:
    """Bayer's matrix of ordered dithering (1973), `[side, side]`, from -0.5 to 0.5; `side` is a power of two."""
    matrix = np.zeros((1, 1), np.float32)
    while len(matrix) < side:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size - 0.5).astype(np.float32)


_PATTERN = bayer(8)


def graded(most: int, fewest: int, quality: float) -> int:
    """How many colours `quality` (0 to 1) stands for: one of nine grades, so that few palettes need be made."""
    return round(fewest * (most / fewest) ** (round(quality * 8) / 8))


@dataclass(frozen=True)
class Palette:
    """Up to 256 colours, the last of them transparent, and which of them is nearest to any."""

    colours: NDArray[np.uint8]
    """`[N, 4]`, straight alpha."""
    levels: tuple[int, int, int, int]
    """Bits of each channel that make a cell of colour space."""
    strength: float
    exact: NDArray[np.uint32] | None = None
    """Every colour of a clip that has no more, packed and ascending: these are shown as they are, without dither."""

    @property
    def argb(self) -> NDArray[np.uint8]:
        """`[256, 4]` as FFmpeg's `pal8` has it."""
        padded = np.zeros((256, 4), np.uint8)
        padded[: len(self.colours)] = self.colours[:, [3, 0, 1, 2]]
        return padded

    @cached_property
    def nearest(self) -> NDArray[np.uint8]:
        """For each cell the index of its colour."""
        return _table(self.colours if self.levels == SOFT else self.colours[:-1], self.levels)

    def indices(self, frame: Frame) -> NDArray[np.uint8]:
        """The frame as indices `[H, W]`. Alpha is dithered too, except where it is full or none."""
        if self.levels == SOFT:
            return self._dithered(frame)
        found = self._found(frame)
        return found if frame.shape[2] == 3 else np.where(frame[..., 3] < 128, np.uint8(len(self.colours) - 1), found)

    def _found(self, frame: Frame) -> NDArray[np.uint8]:
        """The very colours that opaque pixels have, where the palette has all of them; else near ones, dithered."""
        if self.exact is None:
            return self._dithered(frame)
        wanted = _packed(frame)
        place = np.minimum(np.searchsorted(self.exact, wanted), len(self.exact) - 1)
        hits = self.exact[place] == wanted
        exactly = place.astype(np.uint8)
        return exactly if hits.all() else np.where(hits, exactly, self._dithered(frame))

    def _dithered(self, frame: Frame) -> NDArray[np.uint8]:
        height, width, _ = frame.shape
        rows, columns = -(-height // 8), -(-width // 8)
        shift = np.tile(_PATTERN * self.strength, (rows, columns))[:height, :width, None]
        colour = np.clip(frame[..., :3] + shift, 0, 255).astype(np.uint8)
        if self.levels == HARD:
            return self.nearest[_cells(colour, self.levels)]
        soft = (frame[..., 3:] > 8) & (frame[..., 3:] < 247)
        alpha = np.where(soft, np.clip(frame[..., 3:] + 2 * shift, 0, 255), frame[..., 3:]).astype(np.uint8)
        return self.nearest[_cells(np.concatenate([colour, alpha], axis=2), self.levels)]


class Palettes:
    """A clip's palettes, one for each number of colours: a sample of it is drawn in the same ones as the whole."""

    def __init__(self, footage: Footage, most_frames: int, *, soft: bool) -> None:
        """Drawn from at most `most_frames` frames; `soft`: with degrees of alpha."""
        self.footage = footage
        self.places = list(range(0, footage.count, math.ceil(footage.count / most_frames)))
        self.soft = soft
        self._known: dict[int, Palette] = {}

    def of(self, colours: int) -> Palette:
        """The one of so many colours."""
        if colours not in self._known:
            self._known[colours] = palette_of(frames_at(self.footage, self.places), colours, soft=self.soft)
        return self._known[colours]


def palette_of(frames: Iterable[Frame], colours: int, *, soft: bool) -> Palette:
    """The palette that serves all of `frames` best, of at most `colours` (2 to 256), always the same for the same.

    `soft`: with colours that are half transparent, for RGBA frames; else a pixel shows wholly or not at all.
    """
    wanted = max(2, min(256, colours)) - 1
    pixels = _sampled(frames, soft=soft)
    seen = np.unique(pixels, axis=0)
    few = len(seen) <= wanted
    found = np.vstack([seen if few else _clustered(pixels, wanted), np.zeros((1, 4), np.uint8)])
    levels = SOFT if soft else HARD
    exact = _packed(found[:-1]) if few and not soft else None  # unique colours are in their order already
    return Palette(found, levels, STRENGTH * (256 / max(8, colours)) ** 0.4, exact)


def _packed(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Red, green and blue of `[..., channels]` as one number each."""
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return red << np.uint32(16) | green << np.uint32(8) | blue


def _clustered(pixels: NDArray[np.uint8], wanted: int) -> NDArray[np.uint8]:
    """As many colours as `wanted` by Lloyd's algorithm; one that serves nobody moves to the pixel served worst."""
    with Image.fromarray(pixels[None]) as strip:
        first = strip.quantize(wanted, Image.Quantize.FASTOCTREE).getpalette("RGBA")
    points = _weighed(pixels)
    means = np.zeros((wanted, 4), np.float32)
    start = _weighed(np.array(first, np.uint8).reshape(-1, 4)[:wanted])
    means[: len(start)] = start
    for _ in range(ROUNDS):
        owner = _nearest(points, means)
        counts = np.bincount(owner, minlength=wanted)
        sums = np.stack([np.bincount(owner, points[:, c], wanted) for c in range(4)], axis=1)
        means = (sums / np.maximum(1, counts)[:, None]).astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        worst = np.argsort(-((points - means[owner]) ** 2).sum(axis=1), kind="stable")[: 8 * len(empty) : 8]
        means[empty[: len(worst)]] = points[worst]
    return np.unique(_straight(means[np.bincount(_nearest(points, means), minlength=wanted) > 0]), axis=0)


def _sampled(frames: Iterable[Frame], *, soft: bool) -> NDArray[np.uint8]:
    """Pixels `[N, 4]` from all frames alike, picked, not averaged: the few exact colours of a drawing survive."""
    picked: list[NDArray[np.uint8]] = []
    for frame in frames:
        flat = frame.reshape(-1, frame.shape[2])
        if not soft and frame.shape[2] == 4:
            flat = flat[flat[:, 3] >= 128, :3]
        picked.append(flat[:: max(1, len(flat) // 4096) | 1, : 4 if soft else 3])
    pixels = np.concatenate(picked)
    pixels = pixels[:: max(1, -(-len(pixels) // SAMPLES))]
    if not len(pixels):
        return np.zeros((1, 4), np.uint8)
    if pixels.shape[1] == 3:
        pixels = np.column_stack([pixels, np.full(len(pixels), 255, np.uint8)])
    return np.ascontiguousarray(pixels)


def _weighed(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colours by how they look: premultiplied, so that what is hardly there hardly counts, and lightness above hue."""
    wide = colours.astype(np.float32)
    wide[:, :3] *= wide[:, 3:] / 255
    wide[:, :3] = wide[:, :3] @ EYE
    return wide


def _straight(means: NDArray[np.float32]) -> NDArray[np.uint8]:
    alpha = means[:, 3:]
    colour = means[:, :3] @ np.linalg.inv(EYE) * 255 / np.maximum(alpha, 1)
    return np.clip(np.column_stack([colour, alpha]).round(), 0, 255).astype(np.uint8)


def _nearest(points: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.intp]:
    """The index of the nearest mean for each point, in slices that keep memory small."""
    squares = (means**2).sum(axis=1)
    slices = (points[at : at + 16_384] for at in range(0, len(points), 16_384))
    return np.concatenate([(squares - 2 * part @ means.T).argmin(axis=1) for part in slices])


def _cells(values: NDArray[np.uint8], levels: tuple[int, ...]) -> NDArray[np.uint32]:
    """Which cell of the table each of `values`, `[..., channels]`, falls into."""
    cells: NDArray[np.uint32] = np.zeros(values.shape[:-1], np.uint32)
    for channel in range(values.shape[-1]):
        bits = levels[channel]
        cells |= (values[..., channel] >> (8 - bits)).astype(np.uint32) << np.uint32(sum(levels[channel + 1 :]))
    return cells


def _table(colours: NDArray[np.uint8], levels: tuple[int, ...]) -> NDArray[np.uint8]:
    """For each cell the colour nearest to it; the first and the last of a channel stand for 0 and 255 themselves."""
    axes = [
        np.linspace(0, 255, 2**bits).round().astype(np.uint8) if bits else np.array([255], np.uint8) for bits in levels
    ]
    middles = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)
    return _nearest(_weighed(middles), _weighed(colours)).astype(np.uint8)
