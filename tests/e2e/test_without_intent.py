"""The message-content intent is a choice of the owner's: without it the bot says how to ask instead."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.discord_server import LocalDiscord
from tests.promises.test_kills import picture
from tests.stack import Stack, running


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with LocalDiscord(message_content=False) as server, running(server, tmp_path) as stack:
        yield stack
        assert server.violations == []


async def test_what_the_bot_cannot_see_is_explained_and_what_it_can_see_is_animated(stack: Stack) -> None:
    server = stack.server
    ann, poster = server.user("ann"), server.user("poster")
    posted = await server.say(poster, "look", attachments=[picture(server)])

    await server.say(ann, server.bot.mention, reply_to=posted, mention_bot=True)
    await stack.until(lambda: any("Apps → Animate…" in message.content for message in server.bot_messages()))

    await server.say(ann, f"{server.bot.mention} seconds 1", attachments=[picture(server)], mention_bot=True)
    await stack.until(lambda: len(server.clips()) == 1)

    asked = await (await server.message_menu("Animate…", ann, posted)).answered()
    await (await server.submit_modal(asked, ann, {"seconds": "1"})).answered()
    await stack.until(lambda: len(server.clips()) == 2)
