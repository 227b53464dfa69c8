"""What renders teach about a system's speed: a small robust fit, as plain functions of the renders that were seen.

    milliseconds ≈ device × (per_step · megapixels · frames · steps + per_frame · megapixels · frames + constant)

Weighted least squares over relative errors, with a Gaussian prior on the three rates. Newer renders count more, so the
fit follows a new driver; renders far from the rest count little (Cauchy weights), so a stutter does not move it; rates
are never negative. What `device` says is how much slower or faster than usual one kind of card is. A card that has
become another speed (a driver, a game beside it) counts as another card from then on: it need not outvote its past.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import NamedTuple

from jobs.requests.base import Rates, Work

FORGETTING = 0.97
"""What a render still counts when one more was seen: the last 33 or so matter."""
PRIOR_WEIGHT = 0.01
"""The prior's shape (which share the steps have, say) counts as so many renders."""
DEVICE_WEIGHT = 0.5
"""A card is taken for a usual one with the weight of so many renders."""
LEAST_SPREAD = 0.05
"""Renders that differ by 5 % are alike, however alike the others are."""
ROUNDS = 6
SWEEPS = 60
LARGEST_CHANGE = 100.0
"""No rate grows beyond so many times what the prior's shape makes it."""
RECENT = (5, 8, 12, 18, 27, 40, 60)
"""After so many renders at another speed it is looked whether they are a device's new speed; fewer are a stutter."""
ANOTHER_SPEED = math.log(1.25)
CLEAR = 3.0
"""Two speeds are two if they lie so many times farther apart than renders of either do."""
BEFORE = "\nbefore"
"""After a device's name: as it was before its speed changed."""


class Render(NamedTuple):
    """One finished render: what was to do, and what it took."""

    frames: int
    megapixels: float
    steps: int
    ms: float
    device: str

    @property
    def work(self) -> Work:
        """What was to do."""
        return Work(self.frames, self.megapixels, self.steps)


class Fit(NamedTuple):
    """What the renders say."""

    rates: Rates
    devices: dict[str, float]
    """By name, how many times the usual milliseconds one kind of device needs."""


def fit(renders: Sequence[Render], prior: Rates) -> Fit:
    """The rates that fit these renders, oldest first; the prior where there is none."""
    if not renders:
        return Fit(prior, {})
    found = _fit(renders, prior)
    eras = _eras(renders, found.rates)
    return found if eras == list(renders) else _today(_fit(eras, prior), eras)


def _fit(renders: Sequence[Render], prior: Rates) -> Fit:
    ages = [FORGETTING**age for age in range(len(renders) - 1, -1, -1)]
    # The whole of the prior may be wrong by any factor (another card), and one render tells most of it.
    usual = math.exp(_median([math.log(each.ms / prior.ms(each.work)) for each in renders], ages))
    base = Rates(prior.per_step * usual, prior.per_frame * usual, prior.constant * usual)
    rates, devices = base, dict[str, float]()
    for _ in range(ROUNDS):
        devices = _devices(renders, ages, rates)
        misses = [math.log(each.ms / (devices[each.device] * rates.ms(each.work))) for each in renders]
        spread = max(LEAST_SPREAD, 1.5 * _median([abs(miss) for miss in misses], ages))
        weights = [age / (1 + (miss / (2 * spread)) ** 2) for age, miss in zip(ages, misses, strict=True)]
        rates = _rates(renders, weights, base, lambda each, now=rates, by=devices: (by[each.device], now))
    return Fit(rates, devices)


def _eras(renders: Sequence[Render], rates: Rates) -> list[Render]:
    """The same renders; those of a device from before its speed changed as another device's."""
    eras = list(renders)
    for device in {each.device for each in renders}:
        places = [place for place, each in enumerate(renders) if each.device == device]
        recent = _recent([math.log(renders[place].ms / rates.ms(renders[place].work)) for place in places])
        for place in places[: len(places) - recent] if recent else ():
            eras[place] = renders[place]._replace(device=device + BEFORE)
    return eras


def _recent(misses: Sequence[float]) -> int:
    """How many of the newest renders were made at another speed than those before them; 0 where it is one speed."""
    apart, scatter, recent = 0.0, math.inf, 0
    for count in RECENT:
        if count >= len(misses):
            break
        before, after = misses[:-count], misses[-count:]
        middles = median(before), median(after)
        off = fmean([*(abs(miss - middles[0]) for miss in before), *(abs(miss - middles[1]) for miss in after)])
        if off < scatter:
            apart, scatter, recent = abs(middles[1] - middles[0]), off, count
    return recent if apart > max(ANOTHER_SPEED, CLEAR * scatter) else 0


def _today(fitted: Fit, eras: Sequence[Render]) -> Fit:
    """Without what was before: the rates say what is usual now."""
    now = {device: factor for device, factor in fitted.devices.items() if not device.endswith(BEFORE)}
    counts = {device: sum(each.device == device for each in eras) for device in now}
    usual = math.exp(sum(math.log(now[device]) * counts[device] for device in now) / sum(counts.values()))
    rates = Rates(*(rate * usual for rate in _tuple(fitted.rates)))
    return Fit(rates, {device: factor / usual for device, factor in now.items()})


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    half, total = sum(weights) / 2, 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        total += weight
        if total >= half:
            return value
    raise ValueError("a median of nothing")


def _devices(renders: Sequence[Render], ages: Sequence[float], rates: Rates) -> dict[str, float]:
    """Each device's factor; on the whole they make no difference, so that the rates say what is usual.

    Medians: were they means by the renders' weights, a slow card's renders could all pass for outliers.
    """
    misses: dict[str, tuple[list[float], list[float]]] = {}
    for each, age in zip(renders, ages, strict=True):
        values, weights = misses.setdefault(each.device, ([], []))
        values.append(math.log(each.ms / rates.ms(each.work)))
        weights.append(age)
    counts = {device: sum(weights) for device, (_, weights) in misses.items()}
    logs = {
        device: _median(values, weights) * counts[device] / (counts[device] + DEVICE_WEIGHT)
        for device, (values, weights) in misses.items()
    }
    middle = sum(logs[device] * counts[device] for device in logs) / sum(counts.values())
    return {device: math.exp(value - middle) for device, value in logs.items()}


def _rates(
    renders: Sequence[Render],
    weights: Sequence[float],
    base: Rates,
    expected: Callable[[Render], tuple[float, Rates]],
) -> Rates:
    """One step of iterated least squares: the rates as factors of `base`, each near 1 as far as the prior knows.

    Dividing by what is expected, not by what was seen, keeps the mean unbiased: a render that was quick by chance would
    else count more than one that was slow by chance.
    """
    normal = [[PRIOR_WEIGHT * (row == column) for column in range(3)] for row in range(3)]
    target = [PRIOR_WEIGHT] * 3
    for each, weight in zip(renders, weights, strict=True):
        device, rates = expected(each)
        ms = device * rates.ms(each.work)
        shares = [device * part / ms for part in _parts(base, each.work)]
        seen = min(max(each.ms / ms, 0.2), 5.0)
        for row in range(3):
            target[row] += weight * shares[row] * seen
            for column in range(3):
                normal[row][column] += weight * shares[row] * shares[column]
    return Rates(*(factor * rate for factor, rate in zip(_not_negative(normal, target), _tuple(base), strict=True)))


def _not_negative(normal: list[list[float]], target: list[float]) -> list[float]:
    """The least squares' solution among factors from 0 to `LARGEST_CHANGE`, by coordinate descent.

    The problem is strictly convex (the prior is on its diagonal), so the descent comes to its one minimum.
    """
    factors = [1.0] * 3
    for _ in range(SWEEPS):
        for i in range(3):
            others = sum(normal[i][j] * factors[j] for j in range(3) if j != i)
            factors[i] = min(max((target[i] - others) / normal[i][i], 0.0), LARGEST_CHANGE)
    return factors


def _tuple(rates: Rates) -> tuple[float, float, float]:
    return rates.per_step, rates.per_frame, rates.constant


def _parts(rates: Rates, work: Work) -> tuple[float, float, float]:
    stepped, framed = work.megapixel_frame_steps, work.megapixel_frames
    return rates.per_step * stepped, rates.per_frame * framed, rates.constant
