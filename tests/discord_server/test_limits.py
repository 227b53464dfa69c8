"""The local Discord's rate limits: as strict as the real one's, told the same way, and understood by discord.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.discord_server import LocalDiscord
from tests.discord_server.checked import Start, bots, checked
from tests.discord_server.model import Channel

EDIT = "/channels/{channel_id}/messages/{message_id}"
POST = "/channels/{channel_id}/messages"


class Answer(NamedTuple):
    """One REST answer, as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: Any


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[LocalDiscord]:
    async with checked(caplog) as server:
        yield server


@pytest.fixture
async def start(server: LocalDiscord) -> AsyncIterator[Start]:
    async with bots(server) as start:
        yield start


@pytest.fixture
async def ask(server: LocalDiscord) -> AsyncIterator[Ask]:
    """A client that pays no heed to any limit."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {server.token}"}) as session:

        async def ask(method: str, path: str, **body: object) -> Answer:
            json = body or None
            async with session.request(method, f"{server.api}{path}", json=json) as answer:
                return Answer(answer.status, dict(answer.headers), await answer.json())

        yield ask


async def posted(ask: Ask, channel: Channel) -> str:
    """The path of a message of the bot's."""
    answer = await ask("POST", f"/channels/{channel.id}/messages", content="here")
    return f"/channels/{channel.id}/messages/{answer.body['id']}"


def statuses(answers: list[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


async def test_of_a_burst_of_edits_the_sixth_in_one_channel_is_refused(server: LocalDiscord, ask: Ask) -> None:
    message, elsewhere = await posted(ask, server.channel), await posted(ask, server.add_channel("other"))
    server.real_limits()
    answers = await asyncio.gather(*(ask("PATCH", message, content=f"{number}") for number in range(6)))

    assert statuses(answers) == [200] * 5 + [429]
    [refused] = [answer for answer in answers if answer.status == 429]
    assert refused.body["message"] == "You are being rate limited."
    assert 4 < refused.body["retry_after"] <= 5
    assert refused.body["global"] is False
    assert refused.headers["X-RateLimit-Scope"] == "user"
    assert int(refused.headers["Retry-After"]) == 5
    assert (await ask("PATCH", elsewhere, content="free")).status == 200, "each channel has its own limit"
    assert [call.status for call in server.refused_for_haste()] == [429]


async def test_of_a_burst_of_posts_the_sixth_in_one_channel_is_refused(server: LocalDiscord, ask: Ask) -> None:
    server.real_limits()
    path = f"/channels/{server.channel.id}/messages"
    answers = await asyncio.gather(*(ask("POST", path, content=f"{number}") for number in range(7)))

    assert statuses(answers) == [200] * 5 + [429] * 2
    assert len(server.bot_messages()) == 5, "what is refused does not happen"
    allowed = [answer for answer in answers if answer.status == 200]
    assert sorted(int(answer.headers["X-RateLimit-Remaining"]) for answer in allowed) == [0, 1, 2, 3, 4]
    assert {answer.headers["X-RateLimit-Limit"] for answer in allowed} == {"5"}
    assert all(0 < float(answer.headers["X-RateLimit-Reset-After"]) <= 5 for answer in allowed)


async def test_whoever_waits_as_long_as_told_is_let_through(server: LocalDiscord, ask: Ask) -> None:
    server.rest.buckets.limit("POST", POST, 2, 0.5)
    path = f"/channels/{server.channel.id}/messages"
    for _ in range(2):
        assert (await ask("POST", path, content="quick")).status == 200
    refused = await ask("POST", path, content="too quick")
    assert refused.status == 429
    await asyncio.sleep(refused.body["retry_after"])

    assert (await ask("POST", path, content="patient")).status == 200


async def test_fifty_requests_a_second_are_all_there_is(server: LocalDiscord, ask: Ask) -> None:
    server.real_limits()
    answers = await asyncio.gather(*(ask("GET", f"/channels/{server.channel.id}") for _ in range(60)))

    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 5
    assert len(answers) - len(refused) >= 50
    assert all(answer.body["global"] is True for answer in refused)
    assert {answer.headers["X-RateLimit-Global"] for answer in refused} == {"true"}
    assert {answer.headers["X-RateLimit-Scope"] for answer in refused} == {"global"}


async def test_messages_older_than_an_hour_may_be_edited_three_times_in_twenty_seconds(
    server: LocalDiscord, ask: Ask
) -> None:
    old = await posted(ask, server.channel)
    server.advance(3601)
    young = await posted(ask, server.channel)
    server.real_limits()
    answers = [await ask("PATCH", old, content=f"{number}") for number in range(4)]

    assert [answer.status for answer in answers] == [200] * 3 + [429]
    assert answers[-1].body["code"] == 30046
    assert 15 < answers[-1].body["retry_after"] <= 20
    assert (await ask("PATCH", young, content="free")).status == 200
    assert int(answers[0].headers["X-RateLimit-Remaining"]) == 4, "no header tells of it before"


async def test_discord_py_reads_the_headers_and_waits_by_itself(server: LocalDiscord, start: Start) -> None:
    bot = await start()
    channel = bot.get_partial_messageable(server.channel.id)
    message = await channel.send("here")
    server.rest.buckets.limit("PATCH", EDIT, 5, 1.0)
    begun = time.monotonic()
    await asyncio.gather(*(message.edit(content=f"{number}") for number in range(15)))

    assert server.refused_for_haste() == []
    assert time.monotonic() - begun > 1.9, "fifteen edits need three windows"
    assert len(server.bot_messages()[0].edits) == 15


async def test_discord_py_tries_again_what_was_refused(server: LocalDiscord, start: Start, ask: Ask) -> None:
    """The window was used up by another client, so that its own count said five."""
    bot = await start()
    message = await bot.get_partial_messageable(server.channel.id).send("here")
    server.rest.buckets.limit("PATCH", EDIT, 5, 0.7)
    path = f"/channels/{server.channel.id}/messages/{message.id}"
    await asyncio.gather(*(ask("PATCH", path, content="another client") for _ in range(5)))
    edited = await message.edit(content="at last")

    assert edited.content == "at last"
    assert len(server.refused_for_haste()) == 1


async def test_nothing_is_limited_until_a_test_asks_for_it(server: LocalDiscord, ask: Ask) -> None:
    message = await posted(ask, server.channel)
    answers = await asyncio.gather(*(ask("PATCH", message, content=f"{number}") for number in range(70)))

    assert statuses(answers) == [200] * 70
