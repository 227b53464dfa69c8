"""Flicker of the whole picture: how exposure and colour jump from frame to frame, and what steadies them.

Each frame is compared with the next at things seen in both, so that a new thing in the picture is not taken for light.
What comes of it is one straight tone line, `out = gain · in + offset`, for each frame and channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.flow import Floats, warp
from inference.systems.deflicker.motion import Mask, blurred, flow_between, luma, unmatched
from inference.systems.deflicker.shots import is_cut, segments, steps_in
from media.frames import Frame

Numbers = NDArray[np.float64]

THUMB = 128
"""Longest side of the pictures that are compared."""
GAINS = (0.7, 1.4)
"""Least and greatest gain of a correction: what asks for more is no flicker that a tone line can undo."""
MOST_OFFSET = 0.2
LEAST_SPREAD = 0.01
"""Added (in squares) to spreads before they are divided, so that a plain picture is shifted rather than stretched."""
DARK, BRIGHT = 0.02, 0.98
"""Levels beyond which a camera clips, where nothing can be learnt about light."""
ONE_WAY = (0.6, 0.85)
"""Where light goes this much of its way in one direction, it begins to be, and is, a fade: that stays."""
DRIFT = (0.2, 0.6)
"""The same for light that drifts while it flickers: a line through it instead of its mean."""
DRIFT_SIGMA = 2.0
"""Frames over which such light is smoothed at most."""
FADE_FRAMES = 8
"""How far to either side a fade is looked for, at least."""
NO_WAY = 0.01
"""Sum of changes in all channels that is nothing."""
SAMPLES = 4096
"""Pixels, about, that a comparison of two frames is told by."""
ODD_STEP = (0.2, 5.0)
"""Gains from one frame to the next beyond which the comparison has failed."""


@dataclass(frozen=True)
class Tone:
    """A straight tone line for each channel: `gain · level + offset`, levels 0..1, arrays `[..., 3]`."""

    gain: Numbers
    offset: Numbers

    def __call__(self, level: Numbers | Floats) -> Numbers:
        """What becomes of `level` `[..., 3]`."""
        return self.gain * level + self.offset

    def after(self, first: Tone) -> Tone:
        """This line behind another one."""
        return Tone(self.gain * first.gain, self.gain * first.offset + self.offset)

    def inverse(self) -> Tone:
        """The line that leads back."""
        return Tone(1 / self.gain, -self.offset / self.gain)


AS_IT_IS = Tone(np.ones(3), np.zeros(3))


@dataclass(frozen=True)
class Look:
    """What is remembered of a frame: a small picture RGB 0..1 and where it may be judged, `[h, w]`."""

    thumb: Floats
    opaque: Mask


@dataclass(frozen=True)
class Course:
    """What one reading of the clip tells: `T` frames, `T - 1` steps between them."""

    mean: Numbers
    """Of each frame and channel, `[T, 3]`."""
    spread: Numbers
    """Standard deviation of each frame and channel, `[T, 3]`."""
    steps: tuple[Tone, ...]
    """From each frame to the next, what happened to the same things' colours."""
    shots: tuple[range, ...]
    segments: tuple[range, ...]
    """The shots, parted where light changes for good."""
    unrest: float
    """Luma that still jumps in parts of the picture once all tones are undone: root mean square, 0..1."""


def look_at(frame: Frame, longest: int = THUMB) -> Look:
    """A frame, uint8 `[H, W, 3 or 4]`, made small enough to compare; never larger than it is."""
    height, width = frame.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    opaque = small[..., 3] > 127 if small.shape[-1] == 4 else np.ones(small.shape[:2], bool)
    return Look(small[..., :3].astype(np.float32) / np.float32(255), opaque)


@dataclass(frozen=True)
class Pair:
    """A frame and its successor."""

    tone: Tone
    """What the first's colours have become in the second."""
    cut: bool
    leaving: Floats
    """Coarse luma of the second beyond that tone, `[h, w]` as seen in the first."""
    arriving: Floats
    """The same as seen in the second."""


def compare(first: Look, second: Look) -> Pair:
    """What changed between two frames, told at things that both show."""
    there, back = flow_between(first.thumb, second.thumb), flow_between(second.thumb, first.thumb)
    seen = first.opaque & ~unmatched(there, back)
    seen_back = second.opaque & ~unmatched(back, there)
    # Blurred, so that what a warp loses of the grain does not pass for contrast.
    a, b = (blurred(look.thumb, 1.0) for look in (first, second))
    warped_b, warped_a = warp(b, there), warp(a, back)
    befores = np.concatenate([a[seen], warped_a[seen_back]]).astype(np.float64)
    afters = np.concatenate([warped_b[seen], b[seen_back]]).astype(np.float64)
    tone = tone_between(befores, afters)
    misfit, misfit_back = (
        luma((after - tone(before)).astype(np.float32)) for before, after in ((a, warped_b), (warped_a, b))
    )
    cut = is_cut(first.thumb, second.thumb, first.opaque, seen, misfit)
    return Pair(tone, cut, _coarse(misfit, seen), _coarse(misfit_back, seen_back))


def _coarse(values: Floats, seen: Mask, size: float = 4.0) -> Floats:
    """`values` without what is finer than `size` pixels, from the `seen` ones only; 0 where there are none near."""
    weights = blurred(seen.astype(np.float32), size)
    return (blurred(values * seen, size) / np.maximum(weights, 1e-3) * seen).astype(np.float32)


def tone_between(befores: Numbers, afters: Numbers) -> Tone:
    """The tone line that leads from colours `[N, 3]` to those they became, whatever a minority of them does."""
    exposed = ((befores > DARK) & (befores < BRIGHT) & (afters > DARK) & (afters < BRIGHT)).all(1)
    if exposed.sum() >= max(64, 0.1 * len(befores)):
        befores, afters = befores[exposed], afters[exposed]
    if len(befores) < 16:
        return AS_IT_IS
    thin = 1 + len(befores) // SAMPLES
    befores, afters = befores[::thin], afters[::thin]
    weights = np.ones(len(befores))
    tone = AS_IT_IS
    for _ in range(5):
        share = weights / weights.sum()
        middle, new_middle = share @ befores, share @ afters
        spread, new_spread = share @ np.square(befores - middle), share @ np.square(afters - new_middle)
        gain = np.sqrt((new_spread + LEAST_SPREAD**2) / (spread + LEAST_SPREAD**2)).clip(*ODD_STEP)
        tone = Tone(gain, new_middle - gain * middle)
        error = np.abs(afters - tone(befores)).max(1)
        usual = max(1.5 * float(np.median(error)), 0.004)
        weights = 1 / (1 + np.square(error / (2 * usual)))
    return tone


def course_of(looks: Iterable[Look]) -> Course:
    """Read a clip's looks once; no more than two of them are held at a time."""
    means, spreads, pairs = list[Numbers](), list[Numbers](), list[Tone]()
    starts, swings = list[int](), list[float]()
    last: Look | None = None
    arriving: Floats | None = None
    for t, look in enumerate(looks):
        pixels = look.thumb[look.opaque] if look.opaque.any() else look.thumb.reshape(-1, 3)
        means.append(pixels.mean(0).astype(np.float64))
        spreads.append(pixels.std(0).astype(np.float64))
        if last is not None:
            pair = compare(last, look)
            pairs.append(AS_IT_IS if pair.cut else pair.tone)
            if pair.cut:
                starts.append(t)
            elif arriving is not None:
                # Flicker goes back where it came from; light that moves on, and errors that stay, do not.
                swings.append(-float((arriving * pair.leaving).mean()))
            arriving = None if pair.cut else pair.arriving
        last = look
    shots = tuple(segments(starts, len(means)))
    unrest = max(0.0, float(np.mean(swings))) ** 0.5 if swings else 0.0
    switched = [t for shot in shots for t in _switched(shot, np.array(means), pairs)]
    parted = tuple(segments([*starts, *switched], len(means)))
    return Course(np.array(means), np.array(spreads), tuple(pairs), shots, parted, unrest)


def _switched(shot: range, means: Numbers, steps: list[Tone]) -> list[int]:
    """Frames of a shot from which on its light is another for good."""
    levels = [means[shot.start]]
    for t in shot[:-1]:
        levels.append(steps[t](levels[-1]))
    return [shot.start + t for t in steps_in(luma(np.array(levels, np.float32)).astype(np.float64))]


def steadying(course: Course, sigma: float) -> list[Tone]:
    """For each frame the tone line that takes its flicker away, smoothing over `sigma` frames to either side."""
    return [_steadied(course, segment, t, sigma) for segment in course.segments for t in segment]


def restlessness(course: Course, tones: list[Tone]) -> float:
    """How far tone lines move the middle of their frames: root mean square of levels 0..1."""
    moves = [tone(mean) - mean for tone, mean in zip(tones, course.mean, strict=True)]
    return float(np.sqrt(np.mean(np.square(moves)))) if moves else 0.0


def _steadied(course: Course, segment: range, t: int, sigma: float) -> Tone:
    """Two tones of the frame are followed through its neighbours: where they are on average, there they belong."""
    reach = max(round(2.5 * sigma), FADE_FRAMES)
    times = range(max(segment.start, t - reach), min(segment.stop, t + reach + 1))
    spread = np.maximum(course.spread[t], 0.02)
    tones = np.stack([course.mean[t] - spread, course.mean[t] + spread])
    tracks = np.stack([line(tones) for line in lines_from(course, t, times)])  # [n, 2, 3]
    low, high = _expected(tracks, np.array(times) - t, sigma)
    stays = _fading(tracks.mean(1), t - times.start)
    gain = ((high - low) / (2 * spread)).clip(*GAINS)
    shift = ((high + low) / 2 - course.mean[t]).clip(-MOST_OFFSET, MOST_OFFSET)
    gain, shift = 1 + (gain - 1) * (1 - stays), shift * (1 - stays)
    return Tone(gain, course.mean[t] * (1 - gain) + shift)


def lines_from(course: Course, t: int, times: range) -> list[Tone]:
    """For each of `times`, which hold `t` and lie in its shot, what a colour of frame `t` is there."""
    forth, back = [AS_IT_IS], list[Tone]()
    for s in range(t, times.stop - 1):
        forth.append(course.steps[s].after(forth[-1]))
    for s in range(t - 1, times.start - 1, -1):
        back.append(course.steps[s].inverse().after(back[-1] if back else AS_IT_IS))
    return [*reversed(back), *forth]


def _expected(tracks: Numbers, distance: Numbers, sigma: float) -> Numbers:
    """Where tracks `[n, 2, 3]` should be at distance 0.

    Their mean; where they drift, and the window is cut short by an end, a line through them.
    """
    drift = _ramp(_one_way(tracks.mean(1)), *DRIFT)
    sigma = sigma + drift * (min(sigma, DRIFT_SIGMA) - sigma)  # a shorter look blurs less of where a fade begins
    weights = np.exp(-0.5 * np.square(distance / sigma))
    weights /= weights.sum()
    mean = np.tensordot(weights, tracks, 1)
    centre = weights @ distance
    slope = np.tensordot(weights * (distance - centre), tracks, 1) / max(1e-9, weights @ np.square(distance - centre))
    return mean - slope * centre * drift


def _one_way(levels: Numbers) -> float:
    """How much of their way levels `[n, 3]` go in one direction, 0..1; all, where they go hardly anywhere."""
    way = float(np.abs(np.diff(levels, axis=0)).sum()) + NO_WAY
    return (float(np.abs(levels[-1] - levels[0]).sum()) + NO_WAY) / way


def _fading(levels: Numbers, here: int) -> float:
    """1 where levels `[n, 3]` are a fade or, at index `here`, one becomes another; 0 where they are neither."""
    whole, before, after = (_ramp(_one_way(part), *ONE_WAY) for part in (levels, levels[: here + 1], levels[here:]))
    return max(whole, min(before, after)) if FADE_FRAMES <= here < len(levels) - FADE_FRAMES else whole


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
