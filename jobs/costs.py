"""What a job will cost, learnt from what jobs have cost: one fit for each system, kept in Redis.

Every finished render teaches (`jobs.fitting`); a system nobody has rendered yet costs what its request class guesses.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple, cast

from arq.connections import ArqRedis
from pydantic import Field, ValidationError
from redis.exceptions import WatchError

from jobs.fitting import Render, fit
from jobs.recipe import Recipe, Source, Value
from jobs.record import Job, Rendered
from jobs.requests import BY_SYSTEM, Request
from jobs.requests.base import Rates, SourceKind, Work

COSTS = "zoetrope:costs"
"""A hash: what was learnt, as JSON, by system."""
KEEP_SECONDS = 365 * 86_400
"""After a year without any render its machines are others."""
MOST_RENDERS = 96
"""By then a render counts 5 % of the newest one."""
LONGEST_MS = 6 * 3600 * 1000
UNPROVEN = 1.0
"""The prior's relative error: it may be wrong by as much as itself, or more."""
LARGEST_ERROR = 2.0
ENOUGH_SAMPLES = 5
"""Before so many renders nothing is refused for what it is thought to take."""
USUAL: Mapping[SourceKind, Source] = {
    "image": Source(digest="0" * 64, width=1920, height=1080),
    "clip": Source(digest="0" * 64, kind="clip", width=1024, height=576, num_frames=75, fps=Fraction(25)),
    "sound": Source(digest="0" * 64, kind="sound", width=0, height=0, num_frames=0, seconds=3.0),
    "motion": Source(digest="0" * 64, kind="motion", width=0, height=0, num_frames=0),
}
"""What people give, where nobody has rendered yet."""
TRUE_LOAD = 0.25
"""A warm model's "loading" is a moment; less than this share of what is known was no load."""


class Estimate(NamedTuple):
    """What a request will cost, and how sure that is."""

    gpu_ms: int
    error: float
    """How far off the last estimates were, as a share of what was then measured; 1 where nothing was measured."""
    samples: int
    """Renders of this system that were ever measured."""

    @property
    def least_ms(self) -> float:
        """What it will take even where the estimate is twice as far off as they were; 0 where hardly any is known."""
        return self.gpu_ms / (1 + 2 * self.error) if self.samples >= ENOUGH_SAMPLES else 0.0


class Learnt(Value):
    """What is known of one system. `learn` gives the next value; nothing here is I/O."""

    system: str
    renders: tuple[Render, ...] = ()
    """The newest ones, oldest first."""
    rates: Rates
    devices: dict[str, float] = Field(default_factory=dict[str, float])
    """By a device's name, how many times the usual milliseconds it needs."""
    error: float = UNPROVEN
    samples: int = 0
    loading_ms: dict[str, float] = Field(default_factory=dict[str, float])
    """By kind, what it took to load what that kind needs."""
    beside_ms: float = 0.0
    """What a job takes beside device and loading: inputs fetched, clip encoded and stored."""

    @classmethod
    def nothing(cls, system: str) -> "Learnt":
        """The prior."""
        return cls(system=system, rates=BY_SYSTEM[system].prior)

    def estimate(self, work: Work, device_name: str = "") -> Estimate:
        """What so much work will cost, on this kind of device if it is known."""
        ms = self.rates.ms(work) * self.devices.get(device_name, 1.0)
        return Estimate(round(min(max(ms, 1.0), LONGEST_MS)), self.error, self.samples)

    def learn(self, work: Work, gpu_ms: float, device_name: str = "") -> "Learnt":
        """What is known after one more render. A measurement that cannot be one teaches nothing."""
        if not 0 < gpu_ms < math.inf:
            return self
        said = self.estimate(work, device_name).gpu_ms
        missed = min(abs(said - gpu_ms) / gpu_ms, LARGEST_ERROR)
        render = Render(work.frames, work.megapixels, work.steps, min(gpu_ms, LONGEST_MS), device_name)
        renders = (*self.renders, render)[-MOST_RENDERS:]
        rates, devices = fit(renders, BY_SYSTEM[self.system].prior)
        samples = self.samples + 1
        error = self.error + (missed - self.error) * max(0.1, 2 / (samples + 2))
        return self.model_copy(
            update={"renders": renders, "rates": rates, "devices": devices, "error": error, "samples": samples}
        )

    def learn_around(self, kind: str, loading_ms: float, beside_ms: float) -> "Learnt":
        """What is known after one more job's loading, and its time beside device and loading."""
        loading = dict(self.loading_ms)
        if 0 < loading_ms < math.inf:
            loading[kind] = _next_load(loading.get(kind, 0.0), loading_ms)
        if not 0 <= beside_ms < math.inf:
            return self.model_copy(update={"loading_ms": loading})
        beside = beside_ms
        if self.samples > 1:
            beside = self.beside_ms + (min(beside, 4 * self.beside_ms + 1_000) - self.beside_ms) * 0.15
        return self.model_copy(update={"loading_ms": loading, "beside_ms": beside})


def _next_load(known: float, seen: float) -> float:
    """A moving average over true loads; many moments in a row slowly mean that loading has become quick."""
    if seen < TRUE_LOAD * known:
        return 0.98 * known
    return seen if not known else known + 0.3 * (seen - known)


class Pace(NamedTuple):
    """What a forecast needs of all systems, at one instant."""

    learnt: Mapping[str, Learnt]

    def runs_ms(self, kind: str, cost_ms: float, device_name: str) -> float:
        """How long a job that usually costs so much holds this kind of device."""
        known = self.learnt.get(system_of(kind))
        return cost_ms * (known.devices.get(device_name, 1.0) if known else 1.0)

    def loading_ms(self, kind: str) -> float:
        """How long its models take to load."""
        known = self.learnt.get(system_of(kind))
        return known.loading_ms.get(kind, max(known.loading_ms.values(), default=0.0)) if known else 0.0

    def beside_ms(self, kind: str) -> float:
        """How long its clip takes from the last frame into the store."""
        known = self.learnt.get(system_of(kind))
        return known.beside_ms if known else 0.0

    def error(self, kind: str) -> float:
        """How far off this system's estimates are."""
        known = self.learnt.get(system_of(kind))
        return known.error if known else UNPROVEN


class Row(NamedTuple):
    """What the owner may know of one system's costs on one kind of device."""

    system: str
    device_name: str
    """Empty where no render was measured yet."""
    estimate_ms: int
    """Of the work that came last, or of a request that leaves all at its defaults."""
    loading_ms: int
    error: float
    samples: int


def system_of(kind: str) -> str:
    """The system of `system` or `system/checkpoint`."""
    return kind.partition("/")[0]


class Costs:
    """The estimates, in Redis. Any number of workers may teach at once."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = cast(Any, redis)

    async def estimate(self, recipe: Recipe, device_name: str = "") -> Estimate:
        """What a recipe will cost, all steps together; as sure as its dearest step.

        Raises:
            Refusal: a step does not fit the clip that it would get.
        """
        steps: list[Estimate] = []
        for step, work in zip(recipe.steps, recipe.works(), strict=True):
            steps.append((await self.learnt(step.name())).estimate(work, device_name))
        dearest = max(steps, key=lambda each: each.gpu_ms)
        return dearest._replace(gpu_ms=min(sum(each.gpu_ms for each in steps), LONGEST_MS))

    async def loading_ms(self, kind: str) -> int:
        """How long its models take to load; 0 where nobody has seen it."""
        return round(Pace({system_of(kind): await self.learnt(system_of(kind))}).loading_ms(kind))

    async def learn(self, job: Job, rendered: Rendered, device_name: str = "") -> None:
        """Take in what each step of a finished job has cost. Call it once, after the job was settled."""
        if rendered.gpu_ms <= 0:  # not measured: nor is it known then what was beside
            return
        recipe = job.submission.recipe
        measured = rendered.step_ms or (rendered.gpu_ms,)
        if len(measured) != len(recipe.steps):
            return
        beside_ms = rendered.seconds * 1000 - rendered.gpu_ms - rendered.loading_ms
        for step, work, gpu_ms in zip(recipe.steps, recipe.works(), measured, strict=True):
            around = (step.kind, rendered.loading_ms, beside_ms) if step is recipe.lead else None
            await self._teach(step.name(), work, gpu_ms, device_name, around)

    async def _teach(
        self, system: str, work: Work, gpu_ms: int, device_name: str, around: tuple[str, float, float] | None
    ) -> None:
        """One step's lesson; `around`: the kind that was loaded for it, its loading, and the time beside it."""
        async with self._redis.pipeline(transaction=True) as pipe:
            while True:
                try:
                    await pipe.watch(COSTS)
                    learnt = _read(system, await pipe.hget(COSTS, system)).learn(work, gpu_ms, device_name)
                    learnt = learnt.learn_around(*around) if around else learnt
                    pipe.multi()
                    pipe.hset(COSTS, system, learnt.model_dump_json())
                    pipe.expire(COSTS, KEEP_SECONDS)
                    await pipe.execute()
                    return
                except WatchError:  # another worker taught in between: take its lesson in first
                    continue

    async def learnt(self, system: str) -> Learnt:
        """What is known of one system."""
        return _read(system, await self._redis.hget(COSTS, system))

    async def pace(self) -> Pace:
        """What is known of all systems."""
        documents = await self._redis.hmget(COSTS, list(BY_SYSTEM))
        return Pace({name: _read(name, document) for name, document in zip(BY_SYSTEM, documents, strict=True)})

    async def table(self) -> list[Row]:
        """For the owner: a row for each system and kind of device."""
        return [row for learnt in (await self.pace()).learnt.values() for row in _rows(learnt)]


def _read(system: str, document: bytes | None) -> Learnt:
    """What was stored, or the prior where there is nothing that this version can read."""
    with contextlib.suppress(ValidationError):
        return Learnt.model_validate_json(document or b"")
    return Learnt.nothing(system)


def _rows(learnt: Learnt) -> Iterable[Row]:
    work = learnt.renders[-1].work if learnt.renders else _usual_work(BY_SYSTEM[learnt.system])
    loading = round(max(learnt.loading_ms.values(), default=0.0))
    for device_name in learnt.devices or {"": 1.0}:
        said = learnt.estimate(work, device_name)
        yield Row(learnt.system, device_name, said.gpu_ms, loading, said.error, said.samples)


def _usual_work(request: type[Request]) -> Work:
    usual = request.usual()
    sources = {name: USUAL[kind] for _, name, kind in usual.named()}
    return usual.work(sources)
