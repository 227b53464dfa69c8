"""However a job ends, its channel hears of it once; and where the channel cannot, its person does."""

import asyncio
from itertools import pairwise

import pytest

from tests.discord_server.interactions import Asked
from tests.e2e.conftest import Room

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = {"num_inference_steps": 100, "num_frames": 50}
"""A render of tens of seconds on a CPU: long enough to be stopped in the middle."""
SLOW = {"num_inference_steps": 40, "num_frames": 6}
"""Long enough to change something meanwhile."""
SHORT = {"seconds": 0.5, "fps": 5}


async def start_long(room: Room) -> Asked:
    """A render that is under way."""
    asked = await room.slash("svd", image=room.picture(), **LONG)
    await room.stack.until(lambda: "rendering" in room.status().content)
    return asked


async def test_the_status_message_goes_from_queued_over_steps_to_done(room: Room) -> None:
    await room.slash("svd", image=room.picture(), num_inference_steps=60, num_frames=12)
    status = room.status()
    [clip] = await room.clips()
    await room.stack.until(lambda: "done in" in status.content)
    told = [version.content for version in status.edits]

    assert any("▱" in text and "/60" in text for text in told), told
    assert status.content.endswith(str(clip.id))
    assert status.buttons == []
    times = [version.at for version in status.edits[:-1]]
    assert all(later - earlier > 2 for earlier, later in pairwise(times))


async def test_the_clip_answers_the_status_message_and_pings_the_requester_alone(room: Room) -> None:
    await room.slash("svd", image=room.picture(), **SLOW)
    [clip] = await room.clips()

    assert clip.reference is room.status()
    assert clip.pinged == [room.person]
    assert [button["label"] for button in clip.buttons] == ["Again", "Remix…", "Finish…", "Continue…", "Info", "Delete"]


async def test_cancelling_while_rendering_stops_the_render_and_says_so(room: Room) -> None:
    await start_long(room)
    pressed = await (await room.server.press(room.status(), room.person, "Cancel")).answered()
    message = await room.final("was cancelled", seconds=15)

    assert "Stopping" in pressed.text
    assert message.attachments == []
    await room.slash("parallax", image=room.picture(), **SHORT)
    await room.clips()


async def test_cancelling_while_queued_takes_the_job_out_of_the_line(room: Room) -> None:
    first = await start_long(room)
    await room.slash("parallax", image=room.picture(), **SHORT)
    second = room.server.bot_messages(room.channel)[1]
    assert "next in line" in second.content
    pressed = await (await room.server.press(second, room.person, "Cancel")).answered()

    assert "Cancelled" in pressed.text
    await room.final("**parallax** was cancelled", seconds=10)
    await (await room.server.press(room.status(), room.person, "Cancel")).answered()
    await room.final("**svd** was cancelled")
    await room.settled()
    assert room.server.clips(room.channel) == []
    assert (await room.stack.queue.job(first.id)).final_message


async def test_a_stranger_cannot_cancel_and_a_moderator_can(room: Room) -> None:
    await start_long(room)
    stranger = await (await room.server.press(room.status(), room.server.user("stranger"), "Cancel")).answered()
    assert "Only the person who asked" in stranger.text
    assert stranger.responses[-1].ephemeral

    await (await room.server.press(room.status(), room.server.moderator("mod"), "Cancel")).answered()
    await room.final("was cancelled", seconds=15)


async def test_again_makes_another_with_a_new_seed_for_whoever_presses(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seed=3, **SHORT)
    [clip] = await room.clips()
    bob = room.server.user("bob")
    await (await room.server.press(clip, bob, "Again")).answered()
    _, second = await room.clips(2)

    assert second.pinged == [bob]
    assert "seed 3 " not in second.content


async def test_delete_is_for_the_requester_and_moderators(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), **SHORT)
    [clip] = await room.clips()
    refused = await (await room.server.press(clip, room.server.user("stranger"), "Delete")).answered()
    assert "Only the person who asked" in refused.text
    assert not clip.deleted

    await (await room.server.press(clip, room.person, "Delete")).answered()
    assert clip.deleted


async def test_a_file_that_the_channel_does_not_take_is_made_smaller(room: Room) -> None:
    guild = room.server.add_guild("small")
    channel = room.server.add_channel("general", guild)
    ann = room.server.user("ann", guild=guild)
    limit, room.server.upload_limit = room.server.upload_limit, 60_000
    try:
        asked = await room.server.slash("parallax", ann, channel=channel, image=room.noise((256, 192)), seconds=1.0)
        await asked.answered()
        await room.stack.until(lambda: room.server.clips(channel))
    finally:
        room.server.upload_limit = limit
    [clip] = room.server.clips(channel)

    assert clip.attachments[0].size <= 60_000
    assert "made smaller" in clip.content
    assert await room.stack.redis.get(f"zoetrope:upload:{guild.id}") is None, "one odd channel must not spoil all clips"


async def test_a_channel_that_is_gone_sends_the_clip_by_dm(room: Room) -> None:
    await room.slash("svd", image=room.picture(), **SLOW)
    room.server.delete_channel(room.channel)
    await room.stack.until(lambda: room.server.dms(room.person))
    [message] = room.server.dms(room.person)

    assert "it is gone" in message.content
    assert message.attachments[0].data[4:8] == b"ftyp"


@pytest.mark.slow
async def test_permission_taken_away_meanwhile_sends_the_clip_by_dm(room: Room) -> None:
    await room.slash("svd", image=room.picture(), **SLOW)
    room.server.deny(room.channel, "SEND_MESSAGES")
    await room.stack.until(lambda: room.server.dms(room.person))

    assert room.server.dms(room.person)[0].attachments


async def test_automod_is_reported_to_the_requester_and_not_tried_again(room: Room) -> None:
    await room.slash("svd", image=room.picture(), **SLOW)
    room.server.faults.add(
        "POST",
        f"/channels/{room.channel.id}/messages",
        status=400,
        json={"code": 200000, "message": "blocked"},
        times=99,
    )
    await room.stack.until(lambda: room.server.dms(room.person))
    await room.settled()

    assert "AutoMod" in room.server.dms(room.person)[0].content
    posts = [
        call for call in room.server.requests("POST", f"/channels/{room.channel.id}/messages") if call.status == 400
    ]
    assert len(posts) == 1


@pytest.mark.slow
async def test_nobody_who_can_be_told_ends_in_a_closed_job_and_a_log_line(room: Room) -> None:
    room.person.accepts_dms = False
    asked = await room.slash("svd", image=room.picture(), **SLOW)
    room.server.delete_channel(room.channel)
    await room.settled()

    assert (await room.stack.queue.job(asked.id)).state == "closed"
    assert any(asked.id in line for line in room.stack.bot.lines("nobody can be told"))


@pytest.mark.parametrize("status", [500, 502, 429, None])
async def test_trouble_at_discord_is_waited_out_and_the_clip_comes_once(room: Room, status: int | None) -> None:
    await room.slash("parallax", image=room.picture(), **SHORT)
    room.server.faults.add("POST", f"/channels/{room.channel.id}/messages", status=status, times=2, retry_after=0.3)

    assert len(await room.clips()) == 1


@pytest.mark.parametrize("status", [500, pytest.param(None, marks=pytest.mark.slow)])
async def test_a_post_that_discord_took_without_saying_so_is_not_repeated(room: Room, status: int | None) -> None:
    await room.slash("svd", image=room.picture(), **SLOW)
    room.server.faults.add("POST", f"/channels/{room.channel.id}/messages", status=status, times=1, after_effect=True)
    await room.clips()
    await asyncio.sleep(1)

    assert len(room.server.clips(room.channel)) == 1


@pytest.mark.slow
async def test_a_dropped_gateway_loses_nothing(room: Room) -> None:
    await room.slash("svd", image=room.picture(), **SLOW)
    room.server.drop_sockets(resumable=True)
    await room.server.connected()
    await room.slash("parallax", image=room.picture(), **SHORT)

    assert len(await room.clips(2)) == 2


@pytest.mark.slow
async def test_eleven_jobs_at_once_are_one_too_many(room: Room) -> None:
    await start_long(room)
    for _ in range(9):
        await room.slash("parallax", image=room.picture(), **SHORT)
    refused = await room.slash("parallax", image=room.picture(), **SHORT)

    assert "limit of open jobs" in refused.text
    assert refused.shown[0].ephemeral
    await (await room.server.press(room.status(), room.person, "Cancel")).answered()
    await room.clips(9, seconds=90)


async def test_a_network_that_breaks_gets_an_incident_number_that_the_log_carries_too(room: Room) -> None:
    config = room.stack.folder / "models" / "svd" / "unet" / "config.json"
    kept = config.read_text()
    config.write_text("{")
    try:
        await room.slash("svd", image=room.picture(), model="svd", num_inference_steps=2)
        message = await room.final("⚠️ <@")
    finally:
        config.write_text(kept)

    assert message.pinged == [room.person]
    assert message.attachments == []
