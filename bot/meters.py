"""What the bot counts for its owner. Labels are few and known beforehand: never a person, a server or a job."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client import Counter, Gauge, Histogram
from redis.exceptions import RedisError

from jobs.line import read_depth
from jobs.queue import REDIS_AWAY
from jobs.record import Failed, Job
from jobs.requests import BY_SYSTEM
from jobs.texts import catalogue
from jobs.watch import ANSWER_SECONDS
from jobs.workers import Advert, Workers

if TYPE_CHECKING:
    from arq.connections import ArqRedis
    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

OUTCOMES = ("rendered", "failed", "cancelled")
TIMEOUT, UNREACHABLE = "timeout", "unreachable"
EXPECTED = ("200", "429", "500", TIMEOUT, UNREACHABLE)
"""Statuses that are shown before they first happen: a rate needs a zero to begin with."""
SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)


class Meters:
    """Counters, each raised where the thing happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "zoetrope_discord_requests",
            "Requests to Discord by `status` of the answer: 200, 429 (too many), 500 and so on, "
            f"or {TIMEOUT}, {UNREACHABLE}. Each try counts.",
            ["status"],
            registry=registry,
        )
        self.deliveries = Counter(
            "zoetrope_deliveries",
            f"Jobs that are over, by `outcome` ({', '.join(OUTCOMES)}) and whether anybody could be `told` (yes, no).",
            ["outcome", "told"],
            registry=registry,
        )
        self.delivery_retries = Counter(
            "zoetrope_delivery_retries", "Tries at a final message that were put off to a later one.", registry=registry
        )
        self.delivery_seconds = Histogram(
            "zoetrope_delivery_seconds", "From a job's end to its final message.", buckets=SECONDS, registry=registry
        )
        self.failures = Counter(
            "zoetrope_failures",
            "Jobs that ended without a clip, by `system` and `reason` (a code of jobs/texts).",
            ["system", "reason"],
            registry=registry,
        )
        self.chore_failures = Counter(
            "zoetrope_chore_failures",
            "Bugs that ended one of the bot's loops (`chore`), which then began again.",
            ["chore"],
            registry=registry,
        )
        for status in EXPECTED:
            self.requests.labels(status)
        for outcome in OUTCOMES:
            for told in ("yes", "no"):
                self.deliveries.labels(outcome, told)

    def delivered(self, job: Job, *, told: bool) -> None:
        """A job is over."""
        outcome = job.outcome
        if outcome is None:
            return
        self.deliveries.labels(outcome.kind, "yes" if told else "no").inc()
        if job.ended_ms is not None:
            self.delivery_seconds.observe(max(0.0, time.time() - job.ended_ms / 1000))
        if isinstance(outcome, Failed):
            code = outcome.reason.code
            reason = code if code in catalogue() else "other"  # a newer worker's
            self.failures.labels(job.submission.recipe.lead.name(), reason).inc()

    def trace(self) -> aiohttp.TraceConfig:
        """What counts each request that discord.py makes, those that it tries again by itself too."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        trace.on_request_exception.append(self._unanswered)
        return trace

    async def _answered(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        self.requests.labels(str(end.response.status)).inc()

    async def _unanswered(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, end: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if isinstance(end.exception, asyncio.CancelledError):  # we gave it up ourselves
            return
        self.requests.labels(TIMEOUT if isinstance(end.exception, TimeoutError) else UNREACHABLE).inc()


class LineMeters:
    """What stands in Redis: looked up when somebody asks, and shown by the bot alone, or it would be counted twice."""

    def __init__(self, registry: CollectorRegistry, redis: ArqRedis, workers: Workers) -> None:
        self.redis = redis
        self.online = workers
        self.jobs = Gauge(
            "zoetrope_jobs",
            "Open jobs by `state`: waiting, held (by a pause), running, ended (nobody was told yet).",
            ["state"],
            registry=registry,
        )
        self.workers = Gauge(
            "zoetrope_workers", "Workers online by `state`: idle, busy, leaving.", ["state"], registry=registry
        )
        self.system_workers = Gauge(
            "zoetrope_system_workers", "Workers online that can run this `system`.", ["system"], registry=registry
        )

    async def look(self) -> None:
        """Bring them up to date; where Redis does not answer they are gone, not old."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                depth, adverts = await read_depth(self.redis), await self.online.online()
        except (*REDIS_AWAY, RedisError) as error:
            log.warning("the line cannot be shown: %s: %s", type(error).__name__, error)
            for gauge in (self.jobs, self.workers, self.system_workers):
                gauge.clear()
            return
        for state in ("waiting", "held", "running", "ended"):
            self.jobs.labels(state).set(getattr(depth, state))
        for state in ("idle", "busy", "leaving"):
            self.workers.labels(state).set(sum(_state(advert) == state for advert in adverts))
        for system in BY_SYSTEM:
            able = [advert for advert in adverts if system in advert.systems and not advert.leaving]
            self.system_workers.labels(system).set(len(able))


def _state(advert: Advert) -> str:
    if advert.leaving:
        return "leaving"
    return "busy" if advert.job else "idle"
