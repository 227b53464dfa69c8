"""A community whose status messages are all there already, a bot that finds them, and Discord's limits switched on.

Discord takes five posts in five seconds in one channel, so 200 messages need more than three minutes there, whoever
posts them. Here an earlier life of the bot did: they are posted over the same REST API with the bot's own token before
the limits hold, say what was true then, and are written down in the jobs' records. Then the bot starts, and from then
on everything is as on any evening: two workers render, people keep asking, clips are posted, messages come and go.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bot import wording
from bot.claims import CROWD, Claim, claim
from console.redis_server import embedded_redis
from jobs.costs import Costs
from jobs.forecast import look_ahead
from jobs.queue import JobQueue, connect
from jobs.record import Job
from jobs.workers import Workers
from tests.crowd import Crowd
from tests.discord_server import LocalDiscord
from tests.discord_server.rest import Call
from tests.stack import Stack
from tests.truth import Truth

EDITS, POSTS = ("PATCH", "/channels/*/messages/*"), ("POST", "/channels/*/messages")


@dataclass
class Evening:
    """All that is there."""

    stack: Stack
    server: LocalDiscord
    crowd: Crowd
    truth: Truth
    began: float

    def requests(self, kind: tuple[str, str]) -> list[Call]:
        """Edits or posts since the bot started."""
        return [call for call in self.server.requests(*kind) if call.at >= self.began]

    def untold(self) -> set[str]:
        """Jobs that have no status message yet."""
        return set(self.crowd.asked) - {(message.nonce or "")[1:] for message in self.server.world.messages()}


@contextlib.asynccontextmanager
async def evening(folder: Path, *, messages: int, channels: int, seconds: float = 4.0) -> AsyncIterator[Evening]:
    """So many jobs with messages, spread over so many channels; each render takes `seconds`."""
    async with LocalDiscord() as server, embedded_redis(folder / "redis") as url:
        places = [server.channel, *(server.add_channel(f"room {number}") for number in range(1, channels))]
        redis = await connect(url)
        stack = Stack(server, folder, url, {})
        crowd = Crowd(JobQueue(redis), stack.store, server, places, seconds=seconds)
        try:
            await crowd.advertise()
            await open_messages(server, crowd.queue, await crowd.ask(messages))
            server.real_limits()
            began = server.world.clock.now()
            await stack.start(worker=False)
            yield Evening(stack, server, crowd, Truth(crowd.queue, server, crowd.asked), began)
        finally:
            await stack.stop()
            await redis.aclose()


async def open_messages(server: LocalDiscord, queue: JobQueue, jobs: Iterable[Job]) -> None:
    """Post these jobs' messages as the bot would have, and write them down."""
    jobs = list(jobs)
    line, adverts, pace = await queue.line(), await Workers(queue.redis).online(), await Costs(queue.redis).pace()
    places = look_ahead(line, adverts, pace, round(time.time() * 1000)).places
    crowds = Counter(job.submission.channel.id for job in jobs)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {server.token}"}) as session:
        for job in jobs:
            channel = job.submission.channel.id
            said = claim(job, places.get(job.id), time.time(), crowded=crowds[channel] > CROWD)
            await queue.keep_status(job.id, await post(session, server, channel, job, said))


async def post(session: aiohttp.ClientSession, server: LocalDiscord, channel: str, job: Job, said: Claim) -> str:
    """One message by the bot's account; its id."""
    body = {"content": wording.status(job, said), "nonce": f"s{job.id}", "enforce_nonce": True}
    async with session.post(f"{server.api}/channels/{channel}/messages", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.json())["id"]


def busiest(calls: Sequence[Call], seconds: float = 5.0) -> int:
    """The most requests that one channel saw in any so many seconds."""
    by_channel: dict[str, list[float]] = {}
    for call in calls:
        by_channel.setdefault(call.params["channel_id"], []).append(call.at)
    return max(
        (sum(at <= other < at + seconds for other in times) for times in by_channel.values() for at in times), default=0
    )
