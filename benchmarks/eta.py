"""How well the bot says when a clip will be there, over a simulated day of mixed load.

    python -m benchmarks.eta                 # three days, each with other chances; a table
    python -m benchmarks.eta --days 1 --people 80

Clock, people and devices are simulated; the order (`FairLine`), the learnt costs (`Learnt`) and the forecast
(`look_ahead`) are the real ones. People ask by habit, in bursts and one by one, cancel, and come more in the evening.
The devices' true speeds follow another law than the fit's and scatter; the costs start from the priors. One of the
devices is away for an hour.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean, median
from typing import Any

from jobs.costs import Learnt, Pace, system_of
from jobs.fair import FairLine
from jobs.forecast import look_ahead
from jobs.line import Flow, Guild, Line, Running, Waiting
from jobs.newcomers import Newcomers
from jobs.recipe import Source
from jobs.requests import Request
from jobs.requests.base import Work
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from jobs.workers import Advert, kinds_of

SECOND, MINUTE, HOUR = 1_000.0, 60_000.0, 3_600_000.0
SLACK_MS = 20_000
PEOPLE = 60
MOST_OPEN = 10
GONE_MS = 20_000
"""A worker that is gone is taken for online so long, and its job is given back then."""
BUSY = (2, 1, 1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 9, 8, 8, 9, 10, 12, 15, 18, 20, 19, 14, 7)
"""How much is asked in each hour of the day, beside the others."""


# --- what is true, and unknown to the forecast ---


@dataclass
class Device:
    """One worker and its device."""

    name: str
    device_name: str
    systems: Mapping[str, tuple[str, ...]]
    slower: float
    """Than an RTX 4090."""
    away: tuple[float, float] = (math.inf, math.inf)
    """From when to when it is gone."""
    holds: str = "nothing"
    """The checkpoint that it has loaded; there is room for one."""
    job: Asked | None = None

    def gone(self, now: float) -> bool:
        """Whether it is away."""
        return self.away[0] <= now < self.away[1]

    def advertised(self, now: float) -> bool:
        """Whether others still, or again, take it for online."""
        return not self.away[0] + GONE_MS <= now < self.away[1]

    @property
    def warm(self) -> tuple[str, ...]:
        """What it could start without loading anything."""
        kinds = kinds_of(self.systems)
        return tuple(sorted(kind for kind in kinds if checkpoint_of(kind) in (self.holds, "")))

    @property
    def advert(self) -> Advert:
        """What it says of itself."""
        return Advert(
            worker=self.name,
            host=self.name,
            device="0",
            device_name=self.device_name,
            systems=dict(self.systems),
            warm=self.warm,
            job=self.job.waiting.id if self.job else "",
        )


SVD = {"svd": ("svd-xt", "svd"), "parallax": ()}
DEVICES = (
    Device("a", "NVIDIA GeForce RTX 4090", SVD, 1.0),
    Device("b", "NVIDIA GeForce RTX 3060", SVD, 2.9, away=(15.5 * HOUR, 16.5 * HOUR)),
    Device("c", "CPU", {"parallax": ()}, 1.6),
)


def true_ms(system: str, work: Work, device: Device, chance: random.Random) -> float:
    """What a render really takes: more than linear in pixels, with scatter, and a stutter now and then."""
    if system == "svd":
        ms = 130 * work.megapixel_frame_steps * (work.megapixels / 0.59) ** 0.2 + 380 * work.megapixel_frames + 2_500
    else:
        ms = 75 * work.megapixel_frames**0.95 + 45 * work.megapixel_frame_steps + 700
    stutter = chance.uniform(1.5, 3) if chance.random() < 0.02 else 1
    return ms * device.slower * stutter * math.exp(chance.gauss(0, 0.1))


def checkpoint_of(kind: str) -> str:
    """What must be loaded for it: its checkpoint, or the first that is installed; nothing for parallax."""
    return {"svd": "svd-xt", "svd/svd-xt": "svd-xt", "svd/svd": "svd"}.get(kind, "")


def true_loading_ms(kind: str, device: Device, chance: random.Random) -> float:
    """Where the device does not hold the kind's models yet."""
    if kind in device.warm:
        return 0.0
    return 22 * SECOND * device.slower**0.5 * math.exp(chance.gauss(0, 0.2))


# --- who asks ---


@dataclass
class Asked:
    """One job's way, and what was said about it."""

    waiting: Waiting
    work: Work
    asked: float
    said: float | None = None
    """When it was to be done, as said on asking."""
    plain: float = 0.0
    """The same, by queue length × mean duration."""
    started: float = 0.0
    said_on_start: float | None = None
    ended: float | None = None
    device: Device | None = None
    gpu_ms: float = 0.0
    loading_ms: float = 0.0
    free: float = 0.0
    again: Callable[[], None] = lambda: None
    """What the person does when the clip is there."""


@dataclass(frozen=True)
class Habit:
    """How some people use the bot."""

    share: float
    sessions: float
    """A day."""
    jobs: tuple[int, int]
    """Asked for in one session."""
    at_once: bool
    """All together; else each some minutes after the one before it is there."""
    request: Callable[[random.Random], Request]


def _svd(chance: random.Random) -> Request:
    options: dict[str, Any] = {"model": chance.choice([None, None, "svd-xt", "svd"])}
    if chance.random() < 0.3:
        options["num_inference_steps"] = chance.choice([10, 15, 30, 50])
    if chance.random() < 0.2:
        options["num_frames"] = chance.choice([14, 20, 36])
    return SvdRequest(**options)


def _parallax(chance: random.Random) -> Request:
    size, move = chance.choice([480, 720, 720, 1080]), chance.choice(["orbit", "zoom in", "dolly in"])
    return ParallaxRequest.model_validate({"size": size, "move": move, "seconds": chance.choice([2.0, 3.0, 3.0, 8.0])})


HABITS = (
    Habit(0.50, 1.5, (1, 2), False, _svd),
    Habit(0.15, 1.5, (4, 12), False, _svd),
    Habit(0.10, 1.2, (5, 14), True, _svd),
    Habit(0.25, 2.0, (1, 6), False, _parallax),
)


# --- the day ---


class Day:
    """A day of a community, played in no time."""

    def __init__(self, seed: int, people: int, devices: Sequence[Device], newcomers: bool) -> None:
        self.chance = random.Random(seed)
        self.devices = [Device(each.name, each.device_name, each.systems, each.slower, each.away) for each in devices]
        self.fair = FairLine()
        self.waiting: dict[str, Asked] = {}
        self.encoding: list[Asked] = []
        self.ended: list[Asked] = []
        self.now = 0.0
        self.learnt = {name: Learnt.nothing(name) for name in ("svd", "parallax")}
        self.newcomers = Newcomers() if newcomers else None
        self.looks: list[float] = []
        """Seconds that each forecast took."""
        self._numbers = count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for number in range(people):
            self._plan(number)
        for device in self.devices:
            if math.isfinite(device.away[0]):
                self.at(device.away[0] + GONE_MS, lambda device=device: self._lost(device))
                self.at(device.away[1], self.start)

    def at(self, ms: float, what: Callable[[], None]) -> None:
        """Something will happen."""
        heapq.heappush(self._events, (ms, next(self._numbers), what))

    def play(self) -> None:
        """Until everybody has what they asked for."""
        while self._events:
            self.now, _, what = heapq.heappop(self._events)
            what()

    # people

    def _plan(self, number: int) -> None:
        habit = self.chance.choices(HABITS, [habit.share for habit in HABITS])[0]
        guild = self.chance.choice(["g1", "g1", "g1", "g2", "g3"])
        for _ in range(_poisson(habit.sessions, self.chance)):
            hour = self.chance.choices(range(24), BUSY)[0]
            start = (hour + self.chance.random()) * HOUR
            jobs = self.chance.randint(*habit.jobs)
            self.at(start, lambda n=jobs: self._session(guild, f"p{number}", habit, n))

    def _session(self, guild: str, person: str, habit: Habit, left: int) -> None:
        if habit.at_once:
            for _ in range(left):
                self.ask(guild, person, habit.request(self.chance), lambda: None)
        elif left:
            pause = self.chance.expovariate(1 / (2 * MINUTE))
            later = lambda: self.at(self.now + pause, lambda: self._session(guild, person, habit, left - 1))  # noqa: E731
            self.ask(guild, person, habit.request(self.chance), later)

    def ask(self, guild: str, person: str, request: Request, again: Callable[[], None]) -> None:
        """A job enters the line, and its person is told when it will be done."""
        if sum(each.waiting.person == person for each in self._open()) >= MOST_OPEN:
            return
        picture = Source(
            digest="0" * 64, width=self.chance.choice([1024, 1920]), height=self.chance.choice([768, 1080])
        )
        work = request.work(dict.fromkeys(request.attached(), picture))
        number = next(self._numbers)
        cost_ms = self.learnt[request.name()].estimate(work).gpu_ms
        job = Waiting(str(number), guild, person, "c", request.kind, cost_ms, number)
        asked = Asked(job, work, self.now, again=again)
        self.fair.add(job)
        self.waiting[job.id] = asked
        asked.plain = self.now + self._plain_ms()
        asked.said = self._told(job.id)
        if self.chance.random() < 0.06:
            self.at(self.now + self.chance.expovariate(1 / (4 * MINUTE)), lambda: self._cancel(asked))
        self.start()

    def _cancel(self, asked: Asked) -> None:
        if self.waiting.pop(asked.waiting.id, None):
            self.fair.remove(asked.waiting)

    # devices

    def start(self) -> None:
        """Every device that has nothing to do takes what is next for it."""
        for device in self.devices:
            if device.job is None and not device.gone(self.now):
                job = self.fair.take(kinds_of(device.systems), device.warm, SLACK_MS)
                if job is not None:
                    self._render(device, self.waiting.pop(job.id))

    def _render(self, device: Device, asked: Asked) -> None:
        kind = asked.waiting.kind
        device.job, asked.device, asked.started = asked, device, self.now
        asked.loading_ms = true_loading_ms(kind, device, self.chance)
        asked.gpu_ms = true_ms(system_of(kind), asked.work, device, self.chance)
        device.holds = checkpoint_of(kind) or device.holds
        asked.free = self.now + asked.loading_ms + asked.gpu_ms
        asked.said_on_start = self._told(asked.waiting.id)
        self.at(asked.free, lambda: self._rendered(device, asked))

    def _rendered(self, device: Device, asked: Asked) -> None:
        if device.job is not asked or device.gone(self.now) or asked.free != self.now:
            return  # it was lost with its device, and may run for the second time
        device.job = None
        beside = (2 * SECOND + 400 * asked.work.megapixel_frames**0.5) * math.exp(self.chance.gauss(0, 0.15))
        self.at(self.now + beside, lambda: self._done(asked, beside))
        self.encoding.append(asked)
        self.start()

    def _done(self, asked: Asked, beside_ms: float) -> None:
        self.encoding.remove(asked)
        job, device = asked.waiting, asked.device
        assert device is not None
        asked.ended = self.now
        self.fair.finish(job, asked.gpu_ms)
        learnt = self.learnt[system_of(job.kind)].learn(asked.work, asked.gpu_ms, device.device_name)
        self.learnt[system_of(job.kind)] = learnt.learn_around(job.kind, asked.loading_ms, beside_ms)
        self.ended.append(asked)
        asked.again()
        self.start()

    def _lost(self, device: Device) -> None:
        """Its job goes back into the line, and it will have to load its models again."""
        asked, device.job, device.holds = device.job, None, "nothing"
        if asked is not None:
            asked.said_on_start = None
            self.waiting[asked.waiting.id] = asked
            self.fair.release(asked.waiting)
            self.start()

    # what is said

    def _told(self, job_id: str) -> float | None:
        """When the forecast says that this job's clip will be there."""
        begun = time.perf_counter()
        adverts = [device.advert for device in self.devices if device.advertised(self.now)]
        line = self.line()
        if self.newcomers:
            self.newcomers.see(line)
        forecast = look_ahead(line, adverts, Pace(self.learnt), round(self.now), self.newcomers)
        self.looks.append(time.perf_counter() - begun)
        return forecast.places[job_id].ends_ms or None

    def _plain_ms(self) -> float:
        """Queue length × mean duration, over the devices that are online: what a bot without a model would say."""
        lasted = [each.gpu_ms + each.loading_ms for each in self.ended[-100:]] or [60 * SECOND]
        online = sum(device.advertised(self.now) for device in self.devices)
        return fmean(lasted) * max(1.0, len(self._open()) / online)

    def _open(self) -> list[Asked]:
        return [*self.waiting.values(), *self._running()]

    def _running(self) -> Iterator[Asked]:
        yield from self.encoding
        yield from (device.job for device in self.devices if device.job)

    def line(self) -> Line:
        """The line as Redis would hold it."""
        guilds = {
            name: Guild(
                Flow(guild.flow.tag, guild.flow.weight),
                guild.virtual_time,
                {
                    person: Flow(each.flow.tag, each.flow.weight, each.flow.running, each.flow.most_running)
                    for person, each in guild.people.items()
                },
            )
            for name, guild in self.fair.guilds.items()
        }
        waiting = sorted((each.waiting for each in self.waiting.values()), key=lambda job: job.seq)
        running = [_running_of(each) for each in self._running()]
        return Line(round(self.now), self.fair.virtual_time, guilds, tuple(waiting), tuple(running))


def _running_of(asked: Asked) -> Running:
    job, device = asked.waiting, asked.device
    assert device is not None
    return Running(job.id, job.guild, job.person, job.channel, job.kind, job.cost_ms, device.name, round(asked.started))


def _poisson(mean: float, chance: random.Random) -> int:
    number, product = 0, chance.random()
    while product > math.exp(-mean):
        number, product = number + 1, product * chance.random()
    return number


# --- what is printed ---


def misses(said: Sequence[tuple[float | None, float, float]]) -> list[float]:
    """|predicted - actual| / actual of (said end, time of saying, end), where anything was said."""
    return sorted(abs(end_said - end) / (end - at) for end_said, at, end in said if end_said is not None)


def row(name: str, values: Sequence[float]) -> str:
    """A line of the table: how many, median and 90th percentile."""
    return f"| {name} | {len(values)} | {median(values):.1%} | {values[len(values) * 9 // 10]:.1%} |"


def report(days: Sequence[Day]) -> str:
    """The table over all days together."""
    ended = [each for day in days for each in day.ended if each.ended is not None]
    asking = misses([(each.said, each.asked, each.ended or 0) for each in ended])
    plain = misses([(each.plain, each.asked, each.ended or 0) for each in ended])
    long = [each for each in ended if (each.ended or 0) - each.asked > 5 * MINUTE]
    starting = misses([(each.said_on_start, each.started, each.ended or 0) for each in ended])
    waits = sorted((each.ended or 0) - each.asked for each in ended)
    looks = sorted(look for day in days for look in day.looks)
    optimistic = fmean((each.said or 0) < (each.ended or 0) for each in long)
    return "\n".join(
        [
            f"{len(days)} days, {len(ended)} clips; from asking to the clip: "
            f"median {waits[len(waits) // 2] / 1000:.0f} s, "
            f"90 % within {waits[len(waits) * 9 // 10] / MINUTE:.0f} minutes; "
            f"a forecast took {median(looks) * 1000:.1f} ms, at most {looks[-1] * 1000:.0f} ms",
            "",
            "| said | clips | median error | 90th percentile |",
            "| --- | ---: | ---: | ---: |",
            row("on asking: the forecast", asking),
            row("on asking: queue length × mean duration", plain),
            row(
                "on asking, where it took over 5 minutes: the forecast",
                misses([(e.said, e.asked, e.ended or 0) for e in long]),
            ),
            row("the same: queue length × mean duration", misses([(e.plain, e.asked, e.ended or 0) for e in long])),
            row("on start: the forecast", starting),
            "",
            f"Of clips that took over 5 minutes, {optimistic:.0%} came later than was said on asking.",
        ]
    )


def main() -> None:
    """Play the days and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3, choices=(1, 2, 3))
    parser.add_argument("--without-newcomers", action="store_true", help="as if nobody else would ever come")
    chosen = parser.parse_args()
    days = [
        Day(chosen.seed + number, chosen.people, DEVICES[: chosen.workers], not chosen.without_newcomers)
        for number in range(chosen.days)
    ]
    for day in days:
        day.play()
    print(report(days))


if __name__ == "__main__":
    main()
