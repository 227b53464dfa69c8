"""How much a clip flickers, and what taking that away cost it. Frames are float32 `[T, H, W, 3]` in 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inference.flow import Floats, warp
from inference.systems.deflicker.motion import Mask, flow_between, luma, unmatched

Flows = Sequence[tuple[Floats, Floats]]
"""For each frame but the last, the flow to the next one and the flow back."""


def flows_of(frames: Floats) -> Flows:
    """All flows of a clip. Compare several versions of one clip by the flows of one of them."""
    return [(flow_between(a, b), flow_between(b, a)) for a, b in pairwise(frames)]


def at_motion_edge(flow: Floats) -> Mask:
    """Pixels where the flow changes abruptly, which no warp gets right (Ruder et al. 2016)."""
    down, across = np.gradient(flow, axis=(0, 1))
    change = np.square(across).sum(-1) + np.square(down).sum(-1)
    return change > 0.01 * np.square(flow).sum(-1) + 0.002


def comparable(there: Floats, back: Floats) -> Mask:
    """Pixels that are seen in both frames and lie at no motion edge."""
    return ~(unmatched(there, back) | at_motion_edge(there))


def warping_error(frames: Floats, flows: Flows) -> float:
    """Mean squared difference of each frame and its successor warped onto it (Lai et al. 2018); 0 is steady.

    A frozen or blurred clip is steady, too: look at `psnr` and `detail` beside it.
    """
    errors = [
        _pair_error(frame, successor, *flow) for (frame, successor), flow in zip(pairwise(frames), flows, strict=True)
    ]
    return float(np.mean(errors)) if errors else 0.0


def _pair_error(frame: Floats, successor: Floats, there: Floats, back: Floats) -> float:
    seen = comparable(there, back)
    difference = np.square(warp(successor, there) - frame).mean(-1)
    return float((difference * seen).sum() / max(1, int(seen.sum())))


def gaussian_weights(count: int, sigma: float) -> NDArray[np.float64]:
    """Weights `[T, T]` of every frame's neighbours; each row sums to 1, `sigma` in frames."""
    distance = np.arange(count)[:, None] - np.arange(count)
    weights = np.exp(-0.5 * np.square(distance / sigma))
    return weights / weights.sum(1, keepdims=True)


def luma_flicker(frames: Floats, sigma: float = 4.0) -> float:
    """Standard deviation of the frames' mean luma about its own slow course, `sigma` in frames."""
    means = np.array([float(luma(frame).mean()) for frame in frames])
    return float(np.std(means - gaussian_weights(len(means), sigma) @ means))


def psnr(frames: Floats, reference: Floats) -> float:
    """Peak signal-to-noise ratio in dB of a clip against another; infinite where they are the same."""
    error = float(np.square(frames.astype(np.float64) - reference).mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def detail(frames: Floats, reference: Floats) -> float:
    """Energy of the luma's gradients as a part of the reference's: 1 keeps all detail, less is blurred."""
    return _gradient_energy(frames) / max(_gradient_energy(reference), 1e-12)


def _gradient_energy(frames: Floats) -> float:
    return float(np.mean([sum(np.square(slope).mean() for slope in np.gradient(luma(frame))) for frame in frames]))
