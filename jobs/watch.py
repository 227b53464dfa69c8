"""What each process shows its owner over HTTP: `/metrics` for Prometheus, `/healthz` for whatever starts things again.

Both look at the process they are part of, and answer soon whatever Redis does. What they say: docs/monitoring.md.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

from aiohttp import web
from arq.connections import ArqRedis
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from pydantic import Field
from redis.exceptions import RedisError

from jobs.queue import REDIS_AWAY
from jobs.settings import Table

log = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""Whoever asks waits no longer than this for Redis."""
END_SECONDS = 1.0
HIGHEST_PORT = 65_535
AWAY = "Redis does not answer"

Check = Callable[[], Awaitable[str | None]]
"""What is wrong, in words that anybody may read; None where all is well."""
Look = Callable[[], Coroutine[Any, Any, None]]
"""Brings gauges up to date with what they show, or takes them away where it cannot be seen."""


class MetricsSettings(Table, header="metrics"):
    """Where bot and worker show how they are."""

    host: str = Field(default="127.0.0.1", description="who may ask: 127.0.0.1 this machine alone, 0.0.0.0 everybody")
    bot_port: int = Field(default=9464, ge=0, le=HIGHEST_PORT, description="port of the bot's pages; 0: none")
    worker_port: int = Field(
        default=9465,
        ge=0,
        le=HIGHEST_PORT,
        description="port of the first GPU's worker, the next has the next; 0: none",
    )


def new_registry() -> CollectorRegistry:
    """A registry of one's own, with the process's memory, processor time and start in it."""
    disable_created_metrics()  # a second series for each counter, which says what the process's start says
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def redis_answers(redis: ArqRedis) -> Check:
    """The check that every process has."""

    async def check() -> None:
        await cast(Any, redis).ping()

    return check


class Watch:
    """The two pages of one process: what it counts, what is looked up for each scrape, and the checks of its health."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check], looks: Sequence[Look]) -> None:
        self.registry = registry
        self.checks = checks
        self.looks = looks
        self._healthy = Gauge(
            "zoetrope_healthy",
            "1 where a `check` of /healthz passes, 0 where it does not.",
            ["check"],
            registry=registry,
        )

    async def complaints(self) -> dict[str, str]:
        """What is wrong, by check. Empty: all is well."""
        said = await asyncio.gather(*(_asked(check) for check in self.checks.values()))
        return {name: complaint for name, complaint in zip(self.checks, said, strict=True) if complaint}

    def app(self) -> web.Application:
        """The two pages, to be served or tested."""
        app = web.Application()
        app.add_routes([web.get("/healthz", self._healthz), web.get("/metrics", self._metrics)])
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        complaints = await self.complaints()
        page = {"healthy": not complaints, "checks": {name: complaints.get(name, "ok") for name in self.checks}}
        return web.json_response(page, status=503 if complaints else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        async with asyncio.TaskGroup() as looking:
            for look in self.looks:
                looking.create_task(look())
            complaints = await self.complaints()
        for name in self.checks:
            self._healthy.labels(name).set(name not in complaints)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self.registry), headers={"Content-Type": content_type})


async def _asked(check: Check) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await check()
    except (*REDIS_AWAY, RedisError):  # a timeout too; what the error says may name addresses
        return AWAY


@contextlib.asynccontextmanager
async def served(watch: Watch, host: str, port: int, *, key: str) -> AsyncGenerator[None]:
    """The pages, for as long as the block runs. Where the port cannot be had, the log says so, and work goes on.

    `key` is the setting that names the port; port 0: no pages.
    """
    if not port:
        yield
        return
    runner = web.AppRunner(watch.app(), access_log=None, shutdown_timeout=END_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, host, port, key)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int, key: str) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        log.warning(
            "no metrics and no /healthz: %s:%d cannot be listened on (%s). Everything else works; "
            "choose another [metrics] %s in config.toml, or 0 for none",
            host, port, error.strerror or error, key,
        )  # fmt: skip
    else:
        log.info("metrics and /healthz on http://%s:%d", host, port)
