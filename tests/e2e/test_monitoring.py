"""What the owner sees of a running Zoetrope: its metrics, its health, and its log."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from console.metrics_table import table
from tests.discord_server import LocalDiscord
from tests.e2e.conftest import Room
from tests.e2e.test_ends import LONG, SHORT
from tests.ports import free_port
from tests.promises.test_kills import picture
from tests.scrape import Health, Scrape, fetch, health, scrape
from tests.stack import Process, Stack, running
from tests.tiny_models import write_usual

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_SECONDS = 5.0
BOT, WORKER = "ZOETROPE_METRICS__BOT_PORT", "ZOETROPE_METRICS__WORKER_PORT"
GPU_ALONE = {"zoetrope_device_memory_bytes", "zoetrope_device_memory_free_bytes"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack with pages, and a log for machines."""
    folder = tmp_path_factory.mktemp("stack")
    write_usual(folder / "models")
    settings = {
        BOT: str(free_port()),
        WORKER: str(free_port()),
        "ZOETROPE_LOG_FORMAT": "json",
        "ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": "0",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",  # as in earnest; discord.py has one before our log begins
    }
    async with LocalDiscord() as server, running(server, folder, settings=settings) as stack:
        yield stack


def port(process: Process) -> int:
    """Where its pages are."""
    return int(process.environment[BOT if process.name == "bot" else WORKER])


class Growth:
    """What grew in both processes since the block began, for tests that share a stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.before: dict[str, Scrape] = {}

    async def pages(self) -> dict[str, Scrape]:
        """Both, as they are now."""
        return {each.name: await scrape(port(each)) for each in (self.stack.bot, self.stack.worker)}

    async def begin(self) -> "Growth":
        """From here on."""
        self.before = await self.pages()
        return self

    async def of(self, process: str, name: str, **labels: str) -> float:
        """By how much one sample grew."""
        now = (await self.pages())[process].value(name, **labels)
        return (now or 0) - (self.before[process].value(name, **labels) or 0)

    async def by(self, amount: float, process: str, name: str, **labels: str) -> None:
        """Exactly so much; a message may arrive a moment before it is counted."""
        end = time.monotonic() + PATIENCE_SECONDS
        while await self.of(process, name, **labels) < amount and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert await self.of(process, name, **labels) == amount, (name, labels)


async def until_well(stack: Stack, seconds: float = 20.0) -> None:
    """Wait until bot and worker say that they are."""
    await until(lambda said: said.status == 200, stack.bot, stack.worker, seconds=seconds)


async def until(wanted: Callable[[Health], bool], *processes: Process, seconds: float) -> list[Health]:
    """What `/healthz` of each says once all of it is as wanted."""
    end = time.monotonic() + seconds
    while True:
        said = [await health(port(process)) for process in processes]
        if all(map(wanted, said)):
            return said
        assert time.monotonic() < end, said
        await asyncio.sleep(0.02)


async def test_every_metric_of_the_table_is_there_and_no_other(room: Room) -> None:
    declared = set(re.findall(r"`(zoetrope_\w+)` \|", table()))
    text = "".join([(await fetch(port(each), "/metrics"))[0] for each in (room.stack.bot, room.stack.worker)])
    shown = set(re.findall(r"^# TYPE (zoetrope_\w+)", text, re.MULTILINE))

    assert shown == declared
    families = set((await scrape(port(room.stack.worker))).families)
    assert not {"zoetrope_jobs", "zoetrope_workers"} & families, "facts of Redis are shown once, by the bot"


async def test_a_clip_is_seen_in_the_figures_of_bot_and_worker(room: Room) -> None:
    grown = await Growth(room.stack).begin()
    await room.slash("parallax", image=room.picture(), **SHORT)
    await room.clips()

    await grown.by(1, "worker", "zoetrope_attempts_total", system="parallax", ending="rendered")
    await grown.by(1, "worker", "zoetrope_render_seconds_count", system="parallax")
    assert 0 < await grown.of("worker", "zoetrope_render_seconds_sum", system="parallax") < 30
    await grown.by(1, "worker", "zoetrope_loading_seconds_count", system="parallax")
    await grown.by(1, "worker", "zoetrope_wait_seconds_count", system="parallax")
    assert await grown.of("worker", "zoetrope_wait_seconds_sum", system="parallax") < 30
    await grown.by(0, "worker", "zoetrope_render_seconds_count", system="svd")
    await grown.by(1, "bot", "zoetrope_deliveries_total", outcome="rendered", told="yes")
    await grown.by(1, "bot", "zoetrope_delivery_seconds_count")
    await grown.by(0, "bot", "zoetrope_delivery_retries_total")
    assert await grown.of("bot", "zoetrope_discord_requests_total", status="200") >= 2


async def test_who_renders_and_who_waits_is_seen_while_it_is_so(room: Room) -> None:
    grown = await Growth(room.stack).begin()
    await room.slash("svd", image=room.picture(), **LONG)
    await room.final("rendering")
    await room.slash("parallax", room.server.user("second"), image=room.picture(), **SHORT)
    pages = await grown.pages()

    assert pages["bot"].all("zoetrope_jobs", "state") == {"waiting": 1, "held": 0, "running": 1, "ended": 0}
    assert pages["worker"].value("zoetrope_device_busy") == 1
    workers = pages["bot"].all("zoetrope_system_workers", "system")
    assert {name for name, count in workers.items() if not count} == {"animatediff", "restyle", "learnmotion"}, (
        "it runs every system of which there are checkpoints"
    )
    await (await room.server.press(room.status(), room.person, "Cancel")).answered()
    await room.final("was cancelled")
    await room.clips()

    await grown.by(1, "worker", "zoetrope_attempts_total", system="svd", ending="cancelled")
    await grown.by(1, "bot", "zoetrope_deliveries_total", outcome="cancelled", told="yes")
    pages = await grown.pages()
    assert set(pages["bot"].all("zoetrope_jobs", "state").values()) == {0}
    assert pages["worker"].value("zoetrope_device_busy") == 0


async def test_a_failure_is_counted_by_its_reason(room: Room) -> None:
    grown = await Growth(room.stack).begin()
    queue, scope = room.stack.queue, f"channel:{room.channel.id}"
    await queue.pause(scope, str(room.person.id))
    asked = await room.slash("parallax", image=room.noise((96, 64)), **SHORT)
    source = (await queue.job(asked.id)).submission.recipe.sources["image"]
    await room.stack.store.delete(source.digest)
    await queue.resume(scope)
    await room.final("⚠️")
    await room.settled()

    await grown.by(1, "bot", "zoetrope_failures_total", system="parallax", reason="media_lost")
    await grown.by(1, "bot", "zoetrope_deliveries_total", outcome="failed", told="yes")
    await grown.by(1, "worker", "zoetrope_attempts_total", system="parallax", ending="failed")
    await grown.by(0, "worker", "zoetrope_render_seconds_count", system="parallax")


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        (500, "500"),
        pytest.param(429, "429", marks=pytest.mark.slow),
        pytest.param(None, "unreachable", marks=pytest.mark.slow),
    ],
)
async def test_what_discord_refuses_is_counted(room: Room, status: int | None, counted: str) -> None:
    """A 429 and a 500 too, though discord.py tries again by itself and nobody else hears of them."""
    grown = await Growth(room.stack).begin()
    room.server.faults.add("POST", f"/channels/{room.channel.id}/messages", status=status, times=2, retry_after=0.1)
    await room.slash("parallax", image=room.picture(), **SHORT)
    await room.clips(seconds=60)

    await grown.by(2, "bot", "zoetrope_discord_requests_total", status=counted)
    await grown.by(1, "bot", "zoetrope_deliveries_total", outcome="rendered", told="yes")


async def test_a_redis_that_hangs_is_told_by_both_at_once_and_forgotten_when_it_is_back(room: Room) -> None:
    stack = room.stack
    await until_well(stack)
    socket_path = stack.redis_url.removeprefix("unix://")
    [redis] = [each for each in psutil.Process().children() if socket_path in " ".join(each.cmdline())]
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        said = await asyncio.gather(health(port(stack.bot)), health(port(stack.worker)))
        seconds = time.monotonic() - begun
    finally:
        os.kill(redis.pid, signal.SIGCONT)

    assert [each.status for each in said] == [503, 503]
    assert [each.checks["redis"] for each in said] == ["Redis does not answer"] * 2
    assert seconds < 3
    await until_well(stack)
    await room.slash("parallax", image=room.picture(), **SHORT)
    await room.clips()


async def test_a_lost_connection_to_discord_is_told_until_there_is_another(room: Room) -> None:
    await until_well(room.stack)
    room.server.drop_sockets(resumable=False)
    [said] = await until(lambda said: said.status == 503, room.stack.bot, seconds=5)
    assert said.checks["discord"] == "1 of 1 connections to Discord are closed"
    assert said.checks["redis"] == "ok"
    await until_well(room.stack)


@pytest.mark.slow
async def test_a_renderer_that_was_killed_is_no_fault_for_it_can_be_started(room: Room) -> None:
    await until_well(room.stack)
    child = room.stack.worker.child("inference.child")
    assert child is not None
    child.kill()
    await asyncio.sleep(0.2)

    assert (await health(port(room.stack.worker))).status == 200
    await room.slash("parallax", image=room.picture(), **SHORT)
    await room.clips()
    assert room.stack.worker.child("inference.child") is not None


async def test_neither_page_holds_a_secret_or_anybodys_id(room: Room) -> None:
    asked = await room.slash("parallax", image=room.picture(), **SHORT)
    await room.clips()
    pages = [(each, path) for each in (room.stack.bot, room.stack.worker) for path in ("/metrics", "/healthz")]
    text = "".join([(await fetch(port(process), path))[0] for process, path in pages])

    ids = (asked.id, room.channel.id, room.person.id, room.server.bot.id)
    for secret in (room.server.token, room.stack.redis_url, str(room.stack.folder), room.person.name, *ids):
        assert str(secret) not in text


async def test_each_line_of_the_log_is_an_object_and_a_jobs_lines_carry_its_id(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture(), num_inference_steps=10, num_frames=6)
    await room.clips()
    await room.stack.until(lambda: any(asked.id in line for line in room.stack.bot.lines("delivered as message")))
    lines = {each.name: parsed(each) for each in (room.stack.bot, room.stack.worker)}

    for name, those in lines.items():
        for line in those:
            assert line["process"] == name
            assert {"time", "level", "job", "logger", "message", "incident"} <= set(line)
    ours = {name: [line["message"] for line in those if line["job"] == asked.id] for name, those in lines.items()}
    assert ours["worker"][0] == "attempt 1 on svd"
    assert ours["worker"][-1] == "rendered"
    assert any(message.startswith("delivered as message") for message in ours["bot"])
    about = [line for those in lines.values() for line in those if asked.id in line["message"]]
    assert [line for line in about if line["job"] != asked.id] == []


def parsed(process: Process) -> list[dict[str, Any]]:
    """Its log as objects."""
    return [json.loads(line) for line in process.text().splitlines()]


@pytest.mark.slow
async def test_a_bot_whose_port_is_taken_works_without_its_pages(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        settings = {BOT: str(number), WORKER: str(number)}
        async with LocalDiscord() as server, running(server, tmp_path, settings=settings) as stack:
            await (await server.slash("parallax", server.user("ann"), image=picture(server), **SHORT)).answered()
            await server.wait_for(server.clips, 45)

            for process, key in ((stack.bot, "bot_port"), (stack.worker, "worker_port")):
                [line] = process.lines("cannot be listened on")
                assert f"127.0.0.1:{number}" in line
                assert f"[metrics] {key}" in line
            assert server.violations == []
