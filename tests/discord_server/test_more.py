"""More of the same: places, shards, components, follow-ups, and bots that die."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import discord
import pytest

from tests.discord_server import LocalDiscord
from tests.discord_server.checked import Start, bots, checked
from tests.discord_server.example_bot import Board, Bot

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[LocalDiscord]:
    async with checked(caplog) as server:
        yield server


@pytest.fixture
async def start(server: LocalDiscord) -> AsyncIterator[Start]:
    async with bots(server) as start:
        yield start


@pytest.fixture
async def bot(start: Start) -> Bot:
    return await start()


async def test_a_subcommand_is_for_those_who_may(server: LocalDiscord, bot: Bot) -> None:
    ann, mod = server.user("ann"), server.moderator("mod")
    options = {"whose": ann, "where": server.channel}
    with pytest.raises(AssertionError, match="does not see"):
        await server.slash("queue cancel", ann, given=options)
    with pytest.raises(AssertionError, match="needs one of its subcommands"):
        await server.slash("queue", mod)
    assert (await (await server.slash("queue cancel", mod, given=options)).answered()).text == "ann general"


async def test_a_choice_changes_its_own_message(server: LocalDiscord, bot: Bot) -> None:
    ann = server.user("ann")
    message = (await (await server.slash("pick", ann)).answered()).responses[0]
    with pytest.raises(AssertionError, match="disabled"):
        await server.press(message, ann, "gone")
    asked = await (await server.select(message, ann, "system", "Rife")).answered()
    assert (message.content, message.components, asked.responses) == ("Rife", [], [])


async def test_commands_and_posts_work_in_dms_and_threads(server: LocalDiscord, bot: Bot) -> None:
    ann = server.user("ann", nitro=True)
    asked = await (await server.slash("system", ann, name="x", channel=server.dm(ann))).answered()
    assert [message.content for message in server.dms(ann)] == [asked.text] == ["x"]

    thread = server.add_thread("clips")
    await (await server.slash("system", ann, name="y", channel=thread)).answered()
    await bot.get_partial_messageable(thread.id).send("z")
    assert [message.content for message in server.messages(thread)] == ["y", "z"]

    ann.accepts_dms = False
    with pytest.raises(discord.Forbidden) as raised:
        await (await bot.fetch_user(ann.id)).send("hello")
    assert raised.value.code == 50007


async def test_components_may_only_show_what_is_attached(server: LocalDiscord, bot: Bot) -> None:
    channel = bot.get_partial_messageable(server.channel.id)
    with pytest.raises(discord.HTTPException, match="not found") as raised:
        await channel.send(view=Board("attachment://other.mp4"), file=discord.File(io.BytesIO(b"clip"), "clip.mp4"))
    assert raised.value.code == 50035
    sent = await channel.send(view=Board("attachment://clip.mp4"), file=discord.File(io.BytesIO(b"clip"), "clip.mp4"))
    gallery = sent.components[0].children[1]  # type: ignore[union-attr]
    assert gallery.items[0].media.url.startswith(server.cdn)  # type: ignore[union-attr]


async def test_words_over_their_limits_are_refused(server: LocalDiscord, bot: Bot) -> None:
    channel = bot.get_partial_messageable(server.channel.id)
    with pytest.raises(discord.HTTPException, match="2000 or fewer"):
        await channel.send("x" * 2001)
    with pytest.raises(discord.HTTPException):
        await channel.send("x", nonce="n" * 26)
    if server.openapi:
        assert "nonce" in server.violations.pop()
    with pytest.raises(discord.HTTPException) as raised:
        await channel.send("")
    assert raised.value.code == 50006


async def test_reconnect_and_invalid_session_are_obeyed(server: LocalDiscord, bot: Bot) -> None:
    server.gateway.ask_reconnect()
    await server.wait_for(lambda: server.gateway.resumed == 1)
    server.gateway.invalidate()
    await server.wait_for(lambda: server.gateway.identified == 2)


async def test_two_shards_each_hear_their_own_guilds(server: LocalDiscord, start: Start) -> None:
    server.world.shards = 2
    guilds = [server.guild, *(server.add_guild(f"g{number}") for number in range(5))]
    bot = await start()
    channels = [server.add_channel("talk", guild) for guild in guilds]
    for channel in channels:
        await server.say(server.user("ann", guild=channel.guild), "hello", channel=channel)
    await server.wait_for(lambda: len(bot.seen) >= len(guilds))
    assert sorted(message.channel.id for message in bot.seen) == [channel.id for channel in channels]
    assert {guild.shard_id for guild in bot.guilds} == {0, 1}


async def test_a_bot_killed_between_act_and_answer_leaves_one_message(server: LocalDiscord) -> None:
    """The bot is a process of its own; it dies when Discord has the answer, and its successor works on."""

    async def launch() -> asyncio.subprocess.Process:
        command = ["-m", "tests.discord_server.example_bot", server.api, server.gateway_url, server.token]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
        await server.connected()
        return process

    ann = server.user("ann")
    first = await launch()
    server.before_reply("POST", "/interactions/*/*/callback", first.kill)
    asked = await (await server.slash("system", ann, name="svd")).answered()
    assert await first.wait() == -9
    await server.wait_for(lambda: not server.gateway.connected)
    second = await launch()
    await (await server.slash("system", ann, name="rife")).answered()
    second.terminate()
    await second.wait()
    assert [message.content for message in server.messages()] == [asked.text, "rife"]


async def test_the_rest_of_what_a_bot_does_fits_the_document_too(server: LocalDiscord, bot: Bot) -> None:
    """A tour; what is held against the document is in `checked`."""
    ann = server.user("ann")
    channel = await bot.fetch_channel(server.channel.id)
    assert isinstance(channel, discord.TextChannel)
    guild = await bot.fetch_guild(server.guild.id)
    assert (await guild.fetch_member(ann.id)).name == (await bot.fetch_user(ann.id)).name == "ann"
    assert [member.id for member in await channel.guild.query_members("an")] == [ann.id]
    assert len(await guild.fetch_roles()) == 1
    async with channel.typing():
        sent = [await channel.send(f"{number}", embed=discord.Embed(title="t")) for number in range(3)]
    await sent[0].add_reaction("👍")
    await sent[0].remove_reaction("👍", channel.guild.me)
    await sent[1].delete()
    assert [message.id async for message in channel.history(limit=2)] == [sent[2].id, sent[0].id]
    assert [message.id async for message in channel.history(after=sent[0])] == [sent[2].id]
    thread = await sent[0].create_thread(name="more")
    assert isinstance(await bot.fetch_channel(thread.id), discord.Thread)
    assert {command.name for command in await bot.tree.fetch_commands()} >= {"look", "Animate…"}
    bot.tree.copy_global_to(guild=channel.guild)
    assert len(await bot.tree.sync(guild=channel.guild)) == len(server.commands) / 2


async def test_follow_ups_are_sent_changed_and_taken_back(server: LocalDiscord, bot: Bot) -> None:
    asked = await server.slash("slow", server.user("ann"))
    interaction = await server.wait_for(lambda: bot.seen and bot.seen[0])
    await interaction.response.defer(ephemeral=True)
    first = await interaction.followup.send("in place of the placeholder", wait=True)
    second = await interaction.followup.send("for all", file=discord.File(io.BytesIO(b"x"), "x.txt"), wait=True)
    await second.edit(content="for everybody")
    assert (await interaction.original_response()).id == first.id
    assert [message.ephemeral for message in asked.responses] == [True, False]
    assert [message.content for message in server.messages()] == ["for everybody"]
    await second.delete()
    await interaction.delete_original_response()
    assert asked.shown == server.messages() == []


async def test_a_request_that_stops_half_way_did_not_happen(server: LocalDiscord) -> None:
    host, port = server.api.split("/")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    path = f"/api/v10/channels/{server.channel.id}/messages"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    writer.write(head.encode() + b'{"content": "half')
    await writer.drain()
    writer.close()
    await server.settled(quiet=0.1)
    assert server.requests("POST") == server.messages() == []
