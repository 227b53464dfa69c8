"""The forecast that everybody in the bot asks for: made now and then, however many ask."""

import asyncio
import time
from collections.abc import Collection, Container
from dataclasses import replace

from jobs.costs import Costs
from jobs.forecast import Expected, Forecast, look_ahead
from jobs.line import Flow, Line, Waiting
from jobs.newcomers import Newcomer, Newcomers
from jobs.policy import holding_scopes
from jobs.queue import JobQueue
from jobs.record import Submission
from jobs.workers import Workers

FRESH_SECONDS = 1.0
"""A forecast is as good as new for so long."""
EFFORT = 5
"""A long line takes longer to play ahead: at most a fifth of the time is spent on it."""


class Forecasts:
    """Plays the line ahead, in a thread: once a second, and when somebody new is in it."""

    def __init__(self, queue: JobQueue, workers: Workers, costs: Costs) -> None:
        self.queue = queue
        self.workers = workers
        self.costs = costs
        self.newcomers = Newcomers()
        self._newest = Forecast()
        self._fresh_until = self._not_before = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def get(self, wanted: Collection[str] = ()) -> Forecast:
        """The newest forecast; one that knows the `wanted` jobs, unless the last one was only just made."""
        if self._is_old(wanted):
            async with self._one_at_a_time:
                if self._is_old(wanted):
                    await self._make()
        return self._newest

    def _is_old(self, wanted: Collection[str]) -> bool:
        now = time.monotonic()
        return now >= self._fresh_until or (now >= self._not_before and not self._newest.places.keys() >= set(wanted))

    async def of(self, submission: Submission) -> Expected:
        """What to expect of a job that would be enqueued now."""
        line, paused = await self._line()
        joining = _joining(
            submission, line, held=_held(submission.guild, submission.channel.id, submission.channel.parent_id, paused)
        )
        return (await self._play(line, joining)).places[submission.id]

    async def _make(self) -> None:
        begun = time.monotonic()
        line, _ = await self._line()
        self.newcomers.see(line)
        self._newest = await self._play(line)
        now = time.monotonic()
        self._not_before = now + (EFFORT - 1) * (now - begun)
        self._fresh_until = max(now + FRESH_SECONDS, self._not_before)

    async def _line(self) -> tuple[Line, Container[str]]:
        """The line and what is paused. The queue holds a job only when its turn comes; here it is held at once."""
        line, paused = await self.queue.line(), await self.queue.paused()
        waiting = (
            replace(job, held=job.held or _held(job.guild, job.channel, job.parent, paused)) for job in line.waiting
        )
        return (replace(line, waiting=tuple(waiting)) if paused else line), paused

    async def _play(self, line: Line, joining: Newcomer | None = None) -> Forecast:
        adverts, pace = await self.workers.online(), await self.costs.pace()
        return await asyncio.to_thread(
            look_ahead, line, adverts, pace, line.at_ms, self.newcomers.copy(), joining=joining
        )


def _held(guild: str, channel: str, parent: str | None, paused: Container[str]) -> bool:
    return any(scope in paused for scope in holding_scopes(guild, channel, parent))


def _joining(submission: Submission, line: Line, *, held: bool) -> Newcomer:
    """Who would come in now, behind everybody who is there."""
    terms = submission.terms
    job = Waiting(
        submission.id,
        submission.guild,
        submission.requester.id,
        submission.channel.id,
        submission.kind,
        submission.estimate_ms,
        seq=max((job.seq for job in line.waiting), default=0) + 1,
        held=held,
        parent=submission.channel.parent_id,
    )
    return Newcomer(
        job, Flow(weight=terms.weight, most_running=terms.running), Flow(weight=terms.guild_weight), line.at_ms
    )
