"""When each waiting job will start and be done: the line is played ahead with the queue's own order.

The same `FairLine` that the Lua scripts agree with gives jobs to the workers that are online, each at the moment when
it will be free. Who may come later and overtake is played too, as `jobs.newcomers` expects it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Literal, NamedTuple

from jobs.costs import Pace
from jobs.fair import FairLine
from jobs.line import Line, Running, Waiting
from jobs.newcomers import Newcomer, Newcomers
from jobs.workers import Advert

Reason = Literal["", "paused", "no_worker"]

MOST_STARTS = 6_000
"""So many starts are played; who comes after them is told a coarse time."""
UNKNOWN_LOADING_MS = 20_000
"""What a worker takes for one model's load until it was measured: the slack within which models are kept."""
OVERDUE = 0.15
"""A job that should be done by now takes so much longer, as a share of what it took so far."""


@dataclass(frozen=True)
class Expected:
    """When one job will start and its clip will be there. Milliseconds since the epoch; 0 where nobody can say."""

    ahead: int
    """Waiting jobs that start before it; 0: it is next, or runs."""
    starts_ms: int
    ends_ms: int
    reason: Reason = ""
    """Why it has no time: its channel, server or everything is paused; no worker online can render it."""


@dataclass(frozen=True)
class Forecast:
    """What to expect of every open job, as seen at one instant."""

    at_ms: int = 0
    places: Mapping[str, Expected] = field(default_factory=dict[str, Expected])
    """By job id: waiting ones and running ones (nothing ahead, `starts_ms` in the past)."""


@dataclass
class _Worker:
    """One device in the play."""

    advert: Advert
    slack_ms: float
    warm: list[str]
    """What it holds, the newest last."""
    room: int
    """How many kinds it is known to hold at once."""

    def load(self, kind: str) -> None:
        """Another kind's models take the place of those that were used longest ago."""
        self.warm = [*(held for held in self.warm if held != kind), kind][-self.room :]


class _Event(NamedTuple):
    """Something that will happen: a worker is free, a job has ended, somebody new comes."""

    ms: float
    number: int
    worker: _Worker | None = None
    ended: Waiting | None = None
    newcomer: Newcomer | None = None


def look_ahead(
    line: Line,
    adverts: Sequence[Advert],
    pace: Pace,
    now_ms: int,
    newcomers: Newcomers | None = None,
    most: int = MOST_STARTS,
    joining: Newcomer | None = None,
) -> Forecast:
    """Play the line ahead until nobody waits who can be served, or `most` jobs have started.

    `joining`: a job that is not in the line, as if it were enqueued now.
    """
    play = _Play(line, [advert for advert in adverts if not advert.leaving or advert.job], pace, now_ms, joining)
    play.run(islice(newcomers.again(now_ms), most) if newcomers else iter(()), most)
    return Forecast(now_ms, {**play.unserved(), **play.places})


class _Play:
    """One run through the future."""

    def __init__(
        self, line: Line, adverts: Sequence[Advert], pace: Pace, now_ms: int, joining: Newcomer | None
    ) -> None:
        self.line = line
        self.waiting = (*line.waiting, joining.job) if joining else line.waiting
        self.pace = pace
        self.now_ms = now_ms
        self.places: dict[str, Expected] = {}
        self.fair = FairLine.of(line)
        if joining and not joining.job.held:
            joining.enter(self.fair, joining.job)
        self.workers = [self._worker(advert) for advert in adverts]
        self.served = frozenset[str]().union(*(each.advert.kinds for each in self.workers if not each.advert.leaving))
        self._left = sum(not job.held and job.kind in self.served for job in self.waiting)
        self._real = {job.id for job in self.waiting}
        self._events: list[_Event] = []
        self._number = count()
        self._starts = 0
        self._ahead = 0
        self._begin()

    def _worker(self, advert: Advert) -> _Worker:
        slack_ms = max(map(self.pace.loading_ms, advert.kinds), default=0.0) or UNKNOWN_LOADING_MS
        return _Worker(advert, slack_ms, list(advert.warm), max(1, len(advert.warm)))

    def _begin(self) -> None:
        """Everybody who renders now will be done; everybody else is free now."""
        by_worker: dict[str, list[Running]] = {}
        for job in sorted(self.line.running, key=lambda job: job.started_ms):
            by_worker.setdefault(job.worker, []).append(job)
        for worker in self.workers:
            held = by_worker.pop(worker.advert.worker, [])
            free_ms = self._go_on(held, worker)
            self._at(free_ms, worker=worker)
        for held in by_worker.values():  # of workers that are gone: their jobs will start again, nobody knows when
            self._go_on(held, None)

    def _go_on(self, held: Sequence[Running], worker: _Worker | None) -> float:
        """What a worker has in hand: the newest job is on the device, older ones are being encoded. When it is free."""
        free_ms = float(self.now_ms)
        for job in held:
            if job is held[-1]:
                free_ms += remaining_ms(self._takes_ms(job, worker), self.now_ms - job.started_ms)
            ends_ms = free_ms + self.pace.beside_ms(job.kind)
            self._at(ends_ms, ended=_as_waiting(job))
            self.places[job.id] = Expected(0, job.started_ms, round(ends_ms))
        return free_ms

    def _takes_ms(self, job: Running | Waiting, worker: _Worker | None) -> float:
        """How long this job holds the worker's device, loading included. The worker then holds its models."""
        runs_ms = self.pace.runs_ms(job.kind, job.cost_ms, worker.advert.device_name if worker else "")
        if worker is None:
            return runs_ms
        cold = job.kind not in worker.warm
        worker.load(job.kind)
        return runs_ms + self.pace.loading_ms(job.kind) * cold

    def run(self, newcomers: Iterator[tuple[float, int, Newcomer]], most: int) -> None:
        """Until everybody who can be has been served, or `most` jobs have started."""
        idle: list[_Worker] = []
        self._next_newcomer(newcomers)
        while self._events and self._left and self._starts < most:
            event = heapq.heappop(self._events)
            if event.ended:
                self.fair.finish(event.ended)
            if event.newcomer:
                event.newcomer.join(self.fair, event.number)
                self._next_newcomer(newcomers)
            if event.worker and not event.worker.advert.leaving:
                idle.append(event.worker)
            idle = [worker for worker in idle if not self._start(worker, event.ms)]

    def _next_newcomer(self, newcomers: Iterator[tuple[float, int, Newcomer]]) -> None:
        for ms, _, newcomer in newcomers:
            self._at(ms, newcomer=newcomer)
            return

    def _start(self, worker: _Worker, now_ms: float) -> bool:
        """Give a worker that is free what is next for it."""
        job = self.fair.take(worker.advert.kinds, worker.warm, worker.slack_ms)
        if job is None:
            return False
        free_ms = now_ms + self._takes_ms(job, worker)
        ends_ms = free_ms + self.pace.beside_ms(job.kind)
        self._starts += 1
        if job.id in self._real:
            self.places[job.id] = Expected(self._ahead, round(now_ms), round(ends_ms))
            self._ahead += 1
            self._left -= 1
        self._at(free_ms, worker=worker)
        self._at(ends_ms, ended=job)
        return True

    def _at(
        self,
        ms: float,
        *,
        worker: _Worker | None = None,
        ended: Waiting | None = None,
        newcomer: Newcomer | None = None,
    ) -> None:
        heapq.heappush(self._events, _Event(ms, next(self._number), worker, ended, newcomer))

    def unserved(self) -> dict[str, Expected]:
        """Who was not reached: held, without a worker, or beyond the cut-off."""
        told: dict[str, Expected] = {}
        last_ms = max([self.now_ms, *(place.starts_ms for place in self.places.values())])
        waiting = (job for job in self.waiting if job.id not in self.places)
        for ahead, job in enumerate(waiting, self._ahead):
            if job.held:
                told[job.id] = Expected(ahead, 0, 0, "paused")
            elif job.kind not in self.served:
                told[job.id] = Expected(ahead, 0, 0, "no_worker")
            else:
                able = sum(job.kind in worker.advert.kinds for worker in self.workers)
                last_ms = round(last_ms + job.cost_ms / able)
                told[job.id] = Expected(ahead, last_ms, last_ms + job.cost_ms)
        return told


def remaining_ms(expected_ms: float, elapsed_ms: float) -> float:
    """How much longer a job takes that should take so long and has taken so long already. Never nothing."""
    return max(expected_ms - elapsed_ms, OVERDUE * max(expected_ms, elapsed_ms))


def _as_waiting(job: Running) -> Waiting:
    return Waiting(job.id, job.guild, job.person, job.channel, job.kind, job.cost_ms, seq=0)
