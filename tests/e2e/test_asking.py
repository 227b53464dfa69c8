"""Every way of asking ends in an MP4 in the channel."""

import pytest

from media.essence import essence
from tests.discord_server.model import Message
from tests.e2e.conftest import Room

pytestmark = pytest.mark.asyncio(loop_scope="module")


def assert_plays_everywhere(room: Room, message: Message) -> None:
    """H.264 High, 4:2:0, even sides, index in front: what every client of Discord plays in the message."""
    facts = room.facts(message)
    assert (facts.codec, facts.pix_fmt) == ("h264", "yuv420p")
    assert facts.profile == "High"
    assert facts.moov_first
    assert facts.width % 2 == 0
    assert facts.height % 2 == 0


async def test_animate_takes_the_best_that_is_installed_and_says_so(room: Room) -> None:
    asked = await room.slash("animate", image=room.picture())
    [clip] = await room.clips()

    assert "svd** is the best that is installed here" in asked.text
    assert all(answer.ephemeral for answer in asked.responses)
    assert_plays_everywhere(room, clip)


async def test_svd_gives_as_many_frames_as_its_checkpoint_was_trained_for(room: Room) -> None:
    await room.slash("svd", image=room.picture(), model="svd-xt", num_inference_steps=2, fps=7, seed=11)
    [clip] = await room.clips()
    facts = room.facts(clip)

    assert (facts.frames, float(facts.fps)) == (25, 7.0)
    assert facts.width > facts.height
    assert "**svd**" in clip.content
    assert "seed 11" in clip.content
    assert "svd-11.mp4" in clip.attachments[0].filename
    assert_plays_everywhere(room, clip)


async def test_parallax_moves_a_camera_for_the_seconds_asked_for(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), move="zoom in", seconds=1.0, fps=12)
    [clip] = await room.clips()
    facts = room.facts(clip)

    assert (facts.frames, float(facts.fps)) == (12, 12.0)
    assert_plays_everywhere(room, clip)


async def test_both_formats_come_in_one_message(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=1.0, format="both")
    [clip] = await room.clips()

    assert [attachment.content_type for attachment in clip.attachments] == ["video/mp4", "image/gif"]
    assert clip.attachments[1].data.startswith(b"GIF89a")


async def test_the_menu_opens_a_form_of_defaults_and_makes_a_clip_of_every_picture(room: Room) -> None:
    message = await room.server.say(
        room.server.user("poster"), attachments=[room.picture(), room.picture(name="two.png")], channel=room.channel
    )
    asked = await room.server.message_menu("Animate…", room.person, message)
    await asked.answered()
    assert asked.modal is not None
    submitted = await room.server.submit_modal(asked, room.person, {"system": "parallax", "seconds": "1"})
    await submitted.answered()

    clips = await room.clips(2)
    assert len({clip.nonce for clip in clips}) == 2
    for clip in clips:
        assert_plays_everywhere(room, clip)


async def test_a_form_filled_with_nonsense_gets_a_sentence(room: Room) -> None:
    message = await room.server.say(room.person, attachments=[room.picture()], channel=room.channel)
    asked = await (await room.server.message_menu("Animate…", room.person, message)).answered()
    submitted = await (await room.server.submit_modal(asked, room.person, {"motion": "a lot"})).answered()

    assert "`motion` does not fit" in submitted.text
    assert "1 to 255" in submitted.text
    assert room.server.bot_messages(room.channel) == []


async def test_the_menu_on_a_message_without_a_picture_says_so(room: Room) -> None:
    message = await room.server.say(room.person, "only words", channel=room.channel)
    asked = await (await room.server.message_menu("Animate…", room.person, message)).answered()

    assert "no picture" in asked.text
    assert asked.modal is None


async def test_replying_to_a_picture_with_a_mention_and_options_animates_it(room: Room) -> None:
    posted = await room.server.say(room.server.user("poster"), attachments=[room.picture()], channel=room.channel)
    await room.server.say(
        room.person,
        f"{room.server.bot.mention} motion 180 seconds 3",
        reply_to=posted,
        mention_bot=True,
        channel=room.channel,
    )
    [clip] = await room.clips()

    assert room.facts(clip).seconds == pytest.approx(3, abs=0.4)
    assert room.person in clip.pinged


async def test_mentioning_the_bot_on_several_pictures_makes_several_clips(room: Room) -> None:
    await room.server.say(
        room.person,
        f"{room.server.bot.mention} parallax move zoom in seconds 1",
        attachments=[room.picture(), room.picture(name="b.png"), room.picture(name="c.png")],
        mention_bot=True,
        channel=room.channel,
    )

    assert len(await room.clips(3)) == 3


async def test_replying_to_the_bot_with_a_new_picture_animates_that(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=1.0)
    [first] = await room.clips()
    await room.server.say(
        room.person, "parallax seconds 1", attachments=[room.picture()], reply_to=first, channel=room.channel
    )

    assert len(await room.clips(2)) == 2


async def test_a_word_that_is_no_option_is_named_and_the_answer_goes_away_again(room: Room) -> None:
    await room.server.say(
        room.person,
        f"{room.server.bot.mention} wiggle 3",
        attachments=[room.picture()],
        mention_bot=True,
        channel=room.channel,
    )
    answer = await room.final("do not know the option `wiggle`")

    assert "motion" in answer.content


async def test_a_mention_without_any_picture_says_so(room: Room) -> None:
    await room.server.say(room.person, f"{room.server.bot.mention} hello", mention_bot=True, channel=room.channel)

    await room.final("no picture in that message")


async def test_two_people_at_once_each_get_their_own(room: Room) -> None:
    bob = room.server.user("bob")
    await room.slash("parallax", image=room.picture(), seconds=1.0, seed=1)
    await room.slash("parallax", bob, image=room.picture(), seconds=1.0, seed=2)
    clips = await room.clips(2)

    assert {(clip.pinged[0].name, clip.attachments[0].filename) for clip in clips} == {
        (room.person.name, "parallax-1.mp4"),
        ("bob", "parallax-2.mp4"),
    }


async def test_the_same_seed_gives_the_same_frames(room: Room) -> None:
    """The files differ in the job that they name."""
    picture = room.picture()
    for _ in range(2):
        await room.slash("svd", image=picture, num_inference_steps=2, seed=5)
    one, two = await room.clips(2)

    first, second = (essence(clip.attachments[0].data) for clip in (one, two))
    assert first == second
    assert first is not None


async def test_a_prompt_for_a_system_that_reads_none_is_left_out_and_said_so(room: Room) -> None:
    asked = await room.slash("animate", image=room.picture(), prompt="wind in the trees", system="parallax", seconds=1)

    assert "does not read words" in asked.text
    await room.clips()


async def test_help_lists_every_command(room: Room) -> None:
    asked = await room.slash("help")

    assert all(f"`/{name}`" in asked.text for name in ("animate", "svd", "parallax"))
    assert asked.responses[0].ephemeral


async def test_a_command_in_a_dm_is_answered_in_the_dm(room: Room) -> None:
    dm = room.server.dm(room.person)
    asked = await room.server.slash("parallax", room.person, channel=dm, image=room.picture(), seconds=1.0)
    await asked.answered()
    await room.stack.until(lambda: room.server.clips(dm))

    assert_plays_everywhere(room, room.server.clips(dm)[0])
