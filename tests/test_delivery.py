"""Where the channel takes nothing, the requester is told by DM: once, whatever Discord says of it, and with buttons.

The bot process, Redis and Discord are real (the latter local); the worker is the test's own hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from jobs.record import Job, State
from jobs.workers import Advert, Workers
from tests.crowd import Crowd
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Channel, Message, User
from tests.queued import CLIP
from tests.stack import Stack, running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with LocalDiscord() as server, running(server, tmp_path_factory.mktemp("stack"), worker=False) as stack:
        yield stack
        assert server.violations == []


@dataclass
class Ended:
    """A clip that is there, and whose channel is gone."""

    stack: Stack
    job: Job
    person: User
    dm: Channel

    async def told(self) -> list[Message]:
        """What the person reads once the job is closed."""
        while (await self.stack.queue.job(self.job.id)).state is not State.CLOSED:
            await asyncio.sleep(0.05)
        return self.stack.server.dms(self.person)


async def rendered(stack: Stack, name: str) -> Ended:
    """Somebody asks, and their channel goes while the clip is made; what the fault is, the test says first."""
    server = stack.server
    person, channel = server.user(name), server.add_channel(name)
    asking = Crowd(stack.queue, stack.store, server, [channel]).next_submission()
    requester = asking.requester.model_copy(update={"id": str(person.id), "name": name})
    job = await stack.queue.enqueue(asking.model_copy(update={"requester": requester}))
    await stack.until(lambda: server.bot_messages(channel))
    server.delete_channel(channel)
    return Ended(stack, job, person, server.dm(person))


async def end(ended: Ended) -> None:
    """The worker hands its clip in."""
    queue = ended.stack.queue
    lease = await queue.claim(ended.job.id, "by hand")
    assert lease is not None
    digest = await ended.stack.store.put(b"a clip")
    files = tuple(file.model_copy(update={"digest": digest}) for file in CLIP.files)
    await queue.settle(lease, CLIP.model_copy(update={"files": files}))


async def test_a_dm_that_discord_took_without_saying_so_is_not_repeated_when_its_nonce_is_over(stack: Stack) -> None:
    ended = await rendered(stack, "dora")
    stack.server.world.nonce_life = 0.0
    lost = stack.server.faults.add("POST", f"/channels/{ended.dm.id}/messages", status=None, after_effect=True)
    await end(ended)
    messages = await ended.told()
    stack.server.world.nonce_life = 300.0

    assert lost.hits == 1
    assert len(messages) == 1
    assert (await stack.queue.job(ended.job.id)).final_message == str(messages[0].id)


async def test_a_final_message_by_dm_has_its_buttons_and_they_know_whose_it_is(stack: Stack) -> None:
    ended = await rendered(stack, "egon")
    await end(ended)
    [message] = await ended.told()
    await Workers(stack.redis).advertise(Advert(worker="w1", host="h", device="cpu", systems={"parallax": ()}))
    deleted = await stack.server.press(message, ended.person, "Delete")
    await deleted.answered()

    assert message.content.startswith(f"<@{ended.person.id}> I could not post your clip in the channel")
    assert f"zt:again:{ended.job.id}" in [button["custom_id"] for button in message.buttons]
    assert message.deleted
