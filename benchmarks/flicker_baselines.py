"""What others do against flicker, as numbers to hold ours against: nothing here is in a render's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.flicker_metrics import gaussian_weights
from inference.flow import Floats

Mean = Literal["am", "gm", "hm", "qm", "cm", "pm"]
Numbers = NDArray[np.float64]


def _power(exponent: float) -> Callable[[Numbers], float]:
    return lambda values: float(np.mean(values**exponent) ** (1 / exponent))


def ffmpeg_deflicker(grey: NDArray[np.uint8], mean: Mean = "pm", size: int = 5) -> NDArray[np.uint8]:
    """ffmpeg's `deflicker` over luma planes `[T, H, W]`: each is scaled to the mean of the `size` planes from it on."""
    means: dict[Mean, Callable[[Numbers], float]] = {
        "am": _power(1), "hm": _power(-1), "qm": _power(2), "cm": _power(3), "pm": _power(size),
        "gm": lambda values: float(np.exp(np.mean(np.log(values)))),
    }  # fmt: skip
    levels = grey.astype(np.float64).mean((1, 2))
    ahead = np.concatenate([levels, np.repeat(levels[-1:], size - 1)])
    # A black plane has nothing to scale, and neither it nor its neighbours may divide by 0.
    ahead, levels = np.maximum(ahead, 1e-9), np.maximum(levels, 1e-9)
    factors = [np.float32(means[mean](ahead[t : t + size])) / np.float32(levels[t]) for t in range(len(levels))]
    return np.stack([(plane * f).clip(0, 255) for plane, f in zip(grey, factors, strict=True)]).astype(np.uint8)


def mean_and_spread(frames: Floats, sigma: float = 4.0) -> Floats:
    """Each channel's mean and spread follow their own Gaussian average over time; RGB `[T, H, W, 3]` in 0..1."""
    means, spreads = frames.mean((1, 2)), frames.std((1, 2)) + 1e-4
    weights = gaussian_weights(len(frames), sigma)
    gains = np.exp(weights @ np.log(spreads)) / spreads
    steady = (frames - means[:, None, None]) * gains[:, None, None] + (weights @ means)[:, None, None]
    return steady.clip(0, 1).astype(np.float32)


def midway(frames: Floats, sigma: float = 4.0, bins: int = 256) -> Floats:
    """Each channel's quantiles become the Gaussian average of its neighbours' (Delon 2006); `[T, H, W, 3]` in 0..1."""
    places = (np.arange(bins) + 0.5) / bins
    flat = frames.reshape(len(frames), -1, 3)
    quantiles = np.quantile(flat, places, axis=1).transpose(1, 0, 2)  # [T, bins, 3]
    targets = np.einsum("ts,sbc->tbc", gaussian_weights(len(frames), sigma), quantiles)
    rising = np.arange(bins) * 1e-9  # `interp` needs its places in order, and equal ones apart
    steady = np.empty_like(frames)
    for t, channel in np.ndindex(len(frames), 3):
        steady[t, ..., channel] = np.interp(
            frames[t, ..., channel], quantiles[t, :, channel] + rising, targets[t, :, channel]
        )
    return steady.clip(0, 1)
