"""The local Discord against the real discord.py: what end-to-end tests rely on holds here."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import aiohttp
import discord
import pytest

from tests.discord_server import LocalDiscord
from tests.discord_server.checked import Start, bots, checked, png
from tests.discord_server.example_bot import Bot

MIB = 1024 * 1024


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


async def test_a_bot_logs_in_and_sees_its_guild(server: LocalDiscord, bot: Bot) -> None:
    assert bot.user is not None
    assert bot.user.id == server.bot.id
    assert [guild.name for guild in bot.guilds] == ["workshop"]
    channel = bot.get_channel(server.channel.id)
    assert isinstance(channel, discord.TextChannel)
    assert channel.permissions_for(channel.guild.me).attach_files
    assert (await bot.application_info()).flags.gateway_message_content_limited is False
    assert {command["name"] for command in server.commands} == {
        *("look", "slow", "form", "board", "system", "pick", "queue"),
        "Animate…",
    }


async def test_a_wrong_token_is_refused(server: LocalDiscord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", server.api)
    async with discord.Client(intents=discord.Intents.none()) as client:
        with pytest.raises(discord.LoginFailure):
            await client.login("wrong")


async def test_a_slash_command_with_a_file_is_answered_for_one_pair_of_eyes(server: LocalDiscord, bot: Bot) -> None:
    ann = server.user("ann")
    asked = await server.slash("look", ann, image=server.upload("teal.png", png()), motion=9)
    await asked.answered()

    assert asked.responses[0].content == f"{len(png())} bytes, 40x30, 9"
    assert asked.responses[0].ephemeral
    assert asked.responses[0].edits == []
    assert asked.acknowledged_after is not None
    assert asked.acknowledged_after < 1
    assert server.messages() == []
    assert not asked.responses[0].visible_to(server.user("bob"))


@pytest.mark.parametrize("given", [{}, {"image": "no file"}, {"motion": 0}, {"motion": 1.5}, {"colour": "red"}])
async def test_what_no_client_could_send_is_a_mistake_of_the_test(
    server: LocalDiscord, bot: Bot, given: dict[str, object]
) -> None:
    file = {"image": server.upload("teal.png", png())} if given else {}
    with pytest.raises(AssertionError):
        await server.slash("look", server.user("ann"), given={**file, **given})


async def test_an_answer_after_three_seconds_is_too_late(server: LocalDiscord, bot: Bot) -> None:
    await server.slash("slow", server.user("ann"))
    interaction = await server.wait_for(lambda: bot.seen and bot.seen[0])
    server.advance(3.1)
    with pytest.raises(discord.NotFound) as raised:
        await interaction.response.send_message("late")
    assert raised.value.code == 10062


async def test_two_first_answers_are_one_too_many(server: LocalDiscord, bot: Bot) -> None:
    asked = await server.slash("slow", server.user("ann"))
    interaction = await server.wait_for(lambda: bot.seen and bot.seen[0])
    await interaction.response.defer()
    assert asked.responses[0].loading
    interaction.response._response_type = None
    with pytest.raises(discord.HTTPException) as raised:
        await interaction.response.send_message("twice")
    assert raised.value.code == 40060


async def test_the_token_dies_after_fifteen_minutes_and_the_channel_does_not(server: LocalDiscord, bot: Bot) -> None:
    asked = await server.slash("slow", server.user("ann"))
    interaction = await server.wait_for(lambda: bot.seen and bot.seen[0])
    await interaction.response.send_message("queued")
    await interaction.edit_original_response(content="still queued")
    server.advance(15 * 60)
    with pytest.raises(discord.HTTPException) as raised:
        await interaction.edit_original_response(content="done")
    assert (raised.value.status, raised.value.code) == (401, 50027)

    channel = bot.get_partial_messageable(server.channel.id)
    await channel.get_partial_message(asked.responses[0].id).edit(content="done")
    assert [version.content for version in asked.responses[0].versions] == ["queued", "still queued", "done"]


async def test_an_ephemeral_message_is_out_of_the_channels_reach(server: LocalDiscord, bot: Bot) -> None:
    asked = await server.slash("look", server.user("ann"), image=server.upload("teal.png", png()))
    await asked.answered()
    with pytest.raises(discord.NotFound):
        await bot.get_partial_messageable(server.channel.id).fetch_message(asked.responses[0].id)


async def test_the_same_nonce_posts_once_for_some_minutes(server: LocalDiscord, bot: Bot) -> None:
    channel = bot.get_partial_messageable(server.channel.id)
    nonce = 1234567890123456789
    first, again = await channel.send("clip", nonce=nonce), await channel.send("clip", nonce=nonce)
    assert first.id == again.id
    assert [message.nonce for message in server.messages()] == [str(nonce)]
    server.advance(3600)
    assert (await channel.send("clip", nonce=nonce)).id != first.id


async def test_files_are_posted_kept_and_served(server: LocalDiscord, bot: Bot) -> None:
    question = await server.say(server.user("ann"), "look", mention_bot=True)
    files = [discord.File(io.BytesIO(png()), "a b.png", description="teal"), discord.File(io.BytesIO(b"x"), "b.txt")]
    sent = await bot.get_partial_messageable(server.channel.id).send(
        f"{server.user('bob').mention} {server.user('ann').mention}",
        files=files,
        reference=discord.MessageReference(message_id=question.id, channel_id=server.channel.id),
        allowed_mentions=discord.AllowedMentions(users=[discord.Object(server.user("ann").id)], replied_user=False),
    )
    message = server.bot_messages()[0]
    assert [file.data for file in message.attachments] == [png(), b"x"]
    assert (sent.attachments[0].filename, sent.attachments[0].width) == ("a_b.png", 40)
    assert await sent.attachments[0].read() == png()
    assert message.reference is question
    assert [user.name for user in message.pinged] == ["ann"]

    await sent.edit(content="one file", attachments=[sent.attachments[1], discord.File(io.BytesIO(b"new"), "c.txt")])
    assert [file.filename for file in message.attachments] == ["b.txt", "c.txt"]
    assert [file.filename for file in message.versions[0].attachments] == ["a_b.png", "b.txt"]


async def test_a_file_over_the_limit_is_refused_by_code(server: LocalDiscord, bot: Bot) -> None:
    server.upload_limit = MIB
    channel = bot.get_partial_messageable(server.channel.id)
    with pytest.raises(discord.HTTPException) as raised:
        await channel.send(file=discord.File(io.BytesIO(bytes(MIB + 1)), "clip.mp4"))
    assert (raised.value.status, raised.value.code) == (413, 40005)

    server.set_premium_tier(2)
    await channel.send(file=discord.File(io.BytesIO(bytes(MIB + 1)), "clip.mp4"))
    assert len(server.clips()) == 1


async def test_a_dropped_socket_resumes_and_misses_nothing(server: LocalDiscord, bot: Bot) -> None:
    server.drop_sockets()
    missed = await server.say(server.user("ann"), "hello", mention_bot=True)
    await server.wait_for(lambda: "resumed" in bot.seen)
    messages = [each.id for each in bot.seen if isinstance(each, discord.Message)]
    assert messages == [missed.id]
    assert (server.gateway.identified, server.gateway.resumed) == (1, 1)


async def test_a_forgotten_session_identifies_again(server: LocalDiscord, bot: Bot) -> None:
    server.drop_sockets(resumable=False)
    await server.wait_for(lambda: server.gateway.identified == 2 and server.gateway.connected, timeout=10)
    await server.say(server.user("ann"), "hello")
    await server.wait_for(lambda: bot.seen)


async def test_a_client_that_does_not_heartbeat_is_dropped(server: LocalDiscord) -> None:
    server.gateway.heartbeat_seconds = 0.1
    url = f"{server.gateway_url}?v=10&encoding=json"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        assert (await socket.receive_json())["op"] == 10
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4009


async def test_the_content_intent_must_be_switched_on(server: LocalDiscord, start: Start) -> None:
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await start(message_content=True)


async def test_with_the_intent_everything_is_read(server: LocalDiscord, start: Start) -> None:
    server.message_content_enabled = True
    bot = await start(message_content=True)
    await server.say(server.user("ann"), "hello", attachments=[server.upload("teal.png", png())])
    message = await server.wait_for(lambda: bot.seen and bot.seen[0])
    assert (message.content, message.attachments[0].filename) == ("hello", "teal.png")


async def test_without_the_intent_only_mentions_dms_and_own_messages_are_read(server: LocalDiscord, bot: Bot) -> None:
    ann, bob = server.user("ann"), server.user("bob")
    picture = await server.say(ann, "my dog", attachments=[server.upload("dog.png", png())])
    await server.say(bob, "animate", mention_bot=True, reply_to=picture)
    await server.say(bob, "hello", channel=server.dm(bob))
    plain, mention, private = await server.wait_for(lambda: len(bot.seen) == 3 and bot.seen)

    assert (plain.content, plain.attachments) == ("", [])
    assert mention.content == f"{server.bot.mention} animate"
    assert mention.reference.resolved.attachments == []
    assert private.content == "hello"
    assert (await plain.fetch()).attachments == []


async def test_a_message_menu_brings_the_whole_message(server: LocalDiscord, bot: Bot) -> None:
    picture = await server.say(server.user("ann"), "my dog", attachments=[server.upload("dog.png", png())])
    asked = await (await server.message_menu("Animate…", server.user("bob"), picture)).answered()
    assert asked.text == "my dog dog.png"


async def test_a_form_is_filled_with_its_presets_and_what_is_given(server: LocalDiscord, bot: Bot) -> None:
    ann = server.user("ann")
    opened = await (await server.slash("form", ann)).answered()
    assert opened.modal is not None
    file = server.upload("teal.png", png())
    asked = await (await server.submit_modal(opened, ann, {"files": [file], "System": "Rife"})).answered()
    assert asked.text == "slowly ['Rife'] ['teal.png']"
    with pytest.raises(AssertionError):
        await server.submit_modal(opened, ann, {"prompt": ""})


async def test_a_button_on_a_layout_is_pressed(server: LocalDiscord, bot: Bot) -> None:
    posted = await (await server.slash("board", server.user("ann"))).answered()
    message = posted.responses[0]
    assert message.text == "Your clip"
    assert message.attachments[0].data == b"clip"
    asked = await (await server.press(message, server.user("bob"), "Again")).answered()
    assert asked.text == "again by bob"
    with pytest.raises(AssertionError):
        await server.press(message, server.user("bob"), "Stop")


async def test_autocomplete_offers_what_the_bot_says(server: LocalDiscord, bot: Bot) -> None:
    asked = await (await server.autocomplete("system", server.user("ann"), "name", "svd")).answered()
    assert [choice["value"] for choice in asked.choices or []] == ["svd", "svd_xt"]


async def test_a_channel_without_rights_or_without_being_answers_by_code(server: LocalDiscord, bot: Bot) -> None:
    async def code(channel: discord.PartialMessageable, **what: object) -> int:
        with pytest.raises(discord.HTTPException) as raised:
            await channel.send(**what)  # type: ignore[arg-type]
        return raised.value.code

    quiet = server.add_channel("rules", deny=("ATTACH_FILES",))
    there = bot.get_partial_messageable(quiet.id)
    assert await code(there, file=discord.File(io.BytesIO(b"x"), "x.txt")) == 50013
    await there.send("words are fine")
    server.deny(quiet, "VIEW_CHANNEL")
    assert await code(there, content="hello") == 50001
    server.delete_channel(quiet)
    assert await code(there, content="hello") == 10003


async def test_discord_may_act_and_fail_to_say_so(server: LocalDiscord, bot: Bot) -> None:
    during: list[int] = []
    server.before_reply("POST", "/channels/*/messages", lambda: during.append(len(server.bot_messages())))
    server.faults.add("POST", "/channels/*/messages", status=None, after_effect=True)
    with pytest.raises(aiohttp.ClientError):
        await bot.get_partial_messageable(server.channel.id).send("clip", nonce=1)
    assert during == [1]
    assert len(server.bot_messages()) == 1


async def test_rate_limits_and_outages_are_ridden_out(server: LocalDiscord, bot: Bot) -> None:
    server.faults.add("POST", "/channels/*/messages", status=429, retry_after=0.05)
    server.faults.limit("PATCH", "/channels/*/messages/*", count=2, per=0.3)
    sent = await bot.get_partial_messageable(server.channel.id).send("one")
    for text in ("two", "three", "four"):
        await sent.edit(content=text)
    assert server.bot_messages()[0].content == "four"
    assert [call.status for call in server.requests("PATCH", "/channels/*/messages/*")] == [200, 200, 429, 200]


async def test_the_cdn_misbehaves_on_demand(server: LocalDiscord) -> None:
    async with aiohttp.ClientSession() as session:

        async def get(**how: object) -> tuple[int, str, bytes, str]:
            file = server.upload("teal.png", png(), **how)  # type: ignore[arg-type]
            async with session.get(file.url) as answer:
                return answer.status, answer.content_type, await answer.content.read(64), str(answer.url.origin())

        assert await get() == (200, "image/png", png()[:64], server.cdn)
        assert (await get(serve="chunked", served_type="text/plain"))[:2] == (200, "text/plain")
        assert (await get(serve="html"))[1] == "text/html"
        assert (await get(serve="missing"))[0] == 404
        assert (await get(serve="redirect"))[3] == server.evil
        assert (await get(serve="endless"))[0] == 200
        stale = server.upload("teal.png", png()).url
        server.advance(25 * 3600)
        async with session.get(stale) as answer:
            assert answer.status == 404


async def test_a_body_that_does_not_fit_the_document_is_a_violation(server: LocalDiscord, bot: Bot) -> None:
    if server.openapi is None:
        pytest.skip("no OpenAPI document here (ZOETROPE_OPENAPI)")
    route = discord.http.Route("POST", "/channels/{channel_id}/messages", channel_id=server.channel.id)
    with pytest.raises(discord.HTTPException) as raised:
        await bot.http.request(route, json={"content": "x", "embeds": {"title": "no list"}, "flags": "4"})
    assert raised.value.code == 50035
    assert len(server.violations) == 2
    with pytest.raises(discord.NotFound):
        await bot.http.request(discord.http.Route("GET", "/nowhere"))
    assert "/nowhere" in server.violations.pop()
    server.violations.clear()
