"""A storyboard: one message of the bot, pictures in reply to it, and one job that passes through all of them."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from jobs.motions import Motions
from jobs.record import Job, State
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.learnmotion import LearnedOn, LearnMotionRequest
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Attachment, Message, User, walk
from tests.e2e.advertised import ANIMATEDIFF, SYSTEMS, believe, believing, queued
from tests.e2e.conftest import Room
from tests.queued import CLIP, submission
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLOURS = ("red", "orange", "gold", "green", "teal", "blue", "indigo", "violet", "grey")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with believing(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def drawing(colour: str, size: tuple[int, int] = (96, 64)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def picture(room: Room, number: int) -> Attachment:
    """Each of another colour, so that their order is seen in the recipe."""
    return room.server.upload(f"{COLOURS[number]}.png", drawing(COLOURS[number]))


async def begun(room: Room, **options: object) -> Message:
    """The storyboard's message."""
    asked = await room.slash("storyboard", **{"prompt": "a fox runs through the seasons", **options})
    assert all(answer.ephemeral for answer in asked.responses)
    [message] = room.said("makes a storyboard")
    assert f"/{room.channel.id}/{message.id}" in asked.text
    return message


async def reply(room: Room, board: Message, *numbers: int, user: User | None = None, text: str = "") -> Message:
    """Pictures in answer to it."""
    files = [picture(room, number) for number in numbers]
    return await room.server.say(
        user or room.person, text, attachments=files, reply_to=board, mention_bot=True, channel=room.channel
    )


async def shows(room: Room, board: Message, *numbers: int) -> None:
    """Wait until the message names exactly these pictures, in this order."""
    wanted = [f"{place}. {COLOURS[number]}.png, at" for place, number in enumerate(numbers, 1)]
    await room.stack.until(lambda: named(board) == wanted)


def named(board: Message) -> list[str]:
    lines = [line for line in board.content.splitlines() if line[:1].isdigit()]
    return [line[: line.index(", at") + 4] for line in lines]


async def press(room: Room, board: Message, button: str, user: User | None = None) -> Asked:
    return await (await room.server.press(board, user or room.person, button)).answered(20)


async def take_back(room: Room, board: Message) -> None:
    """Its only answer is that the message changes."""
    await (await room.server.press(board, room.person, "Take back")).acknowledgement()


def disabled(board: Message) -> set[str]:
    return {each["label"] for each in walk(board.components) if each["type"] == 2 and each.get("disabled")}


async def test_pictures_are_collected_by_replies_and_become_one_job(room: Room) -> None:
    board = await begun(room, seconds=4, fps=8, seed=7, negative="rain", shape="wide", format="gif")
    assert disabled(board) == {"Render", "Times…", "Take back"}
    await reply(room, board, 3)
    await shows(room, board, 3)
    await reply(room, board, 0, 5)
    await shows(room, board, 3, 0, 5)
    assert "1. green.png, at 0 s." in board.content
    assert "2. red.png, at 2 s." in board.content
    assert "3. blue.png, at 3.88 s." in board.content
    assert disabled(board) == set()

    asked = await press(room, board, "Render")
    assert "Queued with **animatediff**" in asked.text
    [job] = await queued(room)
    [step] = job.submission.recipe.steps
    assert isinstance(step, AnimateDiffRequest)
    assert step.pictures == ("picture_1", "picture_2", "picture_3")
    assert (step.num_frames, step.fps, step.seed, step.negative, step.shape) == (32, 8, 7, "rain", "wide")
    assert (step.prompt, step.places, step.module) == ("a fox runs through the seasons", (0, 16, 31), "v3")
    assert job.submission.recipe.output.format == "gif"
    assert [await colour(room, source.digest) for source in job.submission.recipe.sources.values()] == [3, 0, 5]
    assert len(room.said("makes a storyboard")) == 1
    assert all("svd" not in message.content for message in room.server.bot_messages(room.channel))


async def colour(room: Room, digest: str) -> int:
    """Which of the pictures lies in the store under this name."""
    data = await room.stack.store.get(digest)
    pixel = Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))
    return [Image.new("RGB", (1, 1), each).getpixel((0, 0)) for each in COLOURS].index(pixel)


async def test_times_are_given_by_a_form_and_a_mistake_changes_nothing(room: Room) -> None:
    board = await begun(room, seconds=4)
    await reply(room, board, 0, 1, 2)
    await shows(room, board, 0, 1, 2)

    for typed, sentence in (("0s, 1s", "2 times for 3 pictures"), ("0s, soon, last", "soon"), ("0s, 0s, last", "own")):
        form = await press(room, board, "Times…")
        answer = await (await room.server.submit_modal(form, room.person, {"pins": typed})).answered()
        assert sentence in answer.text
        assert answer.shown[-1].ephemeral
        assert "2. orange.png, at 2 s." in board.content

    form = await press(room, board, "Times…")
    await (await room.server.submit_modal(form, room.person, {"pins": "0s, 1s, last"})).acknowledgement()
    await room.stack.until(lambda: "2. orange.png, at 1 s." in board.content)

    await reply(room, board, 3)
    await room.stack.until(lambda: "3 times for 4 pictures" in board.content)
    assert "3 times for 4 pictures" in (await press(room, board, "Render")).text
    await take_back(room, board)
    await shows(room, board, 0, 1, 2)
    await press(room, board, "Render")
    [job] = await queued(room)
    [step] = job.submission.recipe.steps
    assert isinstance(step, AnimateDiffRequest)
    assert (step.pins, step.places) == ("0s, 1s, last", (0, 8, 31))


async def test_pictures_come_by_a_form_as_well_and_the_bot_shows_them(room: Room) -> None:
    board = await begun(room)
    await reply(room, board, 0)
    await shows(room, board, 0)
    form = await press(room, board, "Add pictures…")
    files = [picture(room, 1), picture(room, 2)]
    answer = await (await room.server.submit_modal(form, room.person, {"pictures": files})).answered()
    assert "in the storyboard now" in answer.text
    assert answer.shown[-1].ephemeral
    [post] = [message for message in room.server.bot_messages(room.channel) if message.attachments]
    assert [file.filename for file in post.attachments] == ["orange.png", "gold.png"]
    assert post.pinged == []
    await shows(room, board, 0, 1, 2)

    await press(room, board, "Render")
    [job] = await queued(room)
    assert [await colour(room, source.digest) for source in job.submission.recipe.sources.values()] == [0, 1, 2]

    await take_back(room, board)
    await shows(room, board, 0, 1)
    assert not post.deleted
    await take_back(room, board)
    await shows(room, board, 0)
    await room.stack.until(lambda: post.deleted)


async def test_only_who_began_it_may_use_it_and_a_moderator_may_end_it(room: Room) -> None:
    board = await begun(room)
    bob, mod = room.server.user("bob"), room.server.user("mod")
    room.server.allow(room.channel, "MANAGE_MESSAGES", whom=mod)
    await reply(room, board, 1, user=bob)
    await room.final("who began this storyboard, can do that")
    for button in ("Add pictures…", "Never mind"):
        assert "who began this storyboard" in (await press(room, board, button, bob)).text
    await room.server.say(bob, "nice!", reply_to=board, mention_bot=True, channel=room.channel)
    await reply(room, board, 2)
    await shows(room, board, 2)
    for button in ("Render", "Times…", "Take back"):
        assert "who began this storyboard" in (await press(room, board, button, mod)).text

    assert "is gone" in (await press(room, board, "Never mind", mod)).text
    assert board.deleted
    assert await queued(room) == []


async def test_more_than_eight_stay_out_and_that_is_said(room: Room) -> None:
    board = await begun(room)
    await reply(room, board, 0, 1, 2, 3, 4)
    await reply(room, board, 5, 6, 7, 8)
    await room.final("up to 8 pictures, so 1 of yours stayed out")
    await shows(room, board, *range(8))
    assert "up to 8" in (await press(room, board, "Add pictures…")).text

    await press(room, board, "Render")
    [job] = await queued(room)
    assert len(job.submission.recipe.sources) == 8


async def test_a_picture_whose_message_was_deleted_is_named_and_goes_out(room: Room) -> None:
    board = await begun(room)
    messages = [await reply(room, board, number) for number in range(3)]
    await shows(room, board, 0, 1, 2)
    await room.server.delete(messages[1])

    asked = await press(room, board, "Render")
    assert "orange.png" in asked.text
    assert "deleted" in asked.text
    await shows(room, board, 0, 2)
    await press(room, board, "Render")
    [job] = await queued(room)
    assert len(job.submission.recipe.sources) == 2


async def test_a_reply_may_point_at_somebodys_picture_in_the_channel(room: Room) -> None:
    board = await begun(room)
    theirs = await room.server.say(room.server.user("bob"), attachments=[picture(room, 4)], channel=room.channel)
    link = f"https://discord.com/channels/{room.server.guild.id}/{room.channel.id}/{theirs.id}"
    await reply(room, board, 0)
    await reply(room, board, text=f"and then {link}")
    await shows(room, board, 0, 4)

    elsewhere = room.server.add_channel(f"else-{room.channel.id}")
    hidden = await room.server.say(room.server.user("bob"), attachments=[picture(room, 5)], channel=elsewhere)
    await reply(room, board, text=f"https://discord.com/channels/{room.server.guild.id}/{elsewhere.id}/{hidden.id}")
    await reply(room, board, 6)
    await shows(room, board, 0, 4, 6)


async def test_it_outlives_the_bot_and_many_replies_at_once(room: Room) -> None:
    board = await begun(room)
    await reply(room, board, 0)
    await shows(room, board, 0)
    room.stack.bot.kill()
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    for number in range(1, 6):
        await reply(room, board, number)
    await shows(room, board, 0, 1, 2, 3, 4, 5)

    await press(room, board, "Render")
    [job] = await queued(room)
    assert [await colour(room, source.digest) for source in job.submission.recipe.sources.values()] == list(range(6))


async def test_what_cannot_go_well_is_refused_before_anything_is_posted(room: Room) -> None:
    for options, sentence in (
        ({"seconds": 30, "fps": 30}, "more than 256 frames"),
        ({"follow": "pia"}, "PIA starts from one picture"),
        ({"schedule": "0s spring"}, "schedule"),
        ({"model": "sora"}, "no image model called `sora`"),
    ):
        asked = await room.slash("storyboard", prompt="a fox", **options)
        assert sentence in asked.text
    assert room.server.bot_messages(room.channel) == []


async def taught(room: Room, name: str, module: LearnedOn) -> None:
    """The person has taught this motion."""
    digest = await room.stack.store.put(f"{name} {room.channel.id}".encode())
    asked = submission(f"9{room.person.id % 10**9}", person=str(room.person.id))
    steps = (LearnMotionRequest(clip="image", save_as=name, module=module),)
    asked = asked.model_copy(update={"recipe": asked.recipe.model_copy(update={"steps": steps})})
    outcome = CLIP.model_copy(update={"motion": digest, "motion_bytes": 20})
    await room.stack.redis.hset(f"zoetrope:job:{asked.id}", "state", "closed")
    await Motions(room.stack.redis).keep(Job(submission=asked, state=State.CLOSED, outcome=outcome), again=True)


async def test_a_learned_motion_goes_with_it_if_it_is_of_the_same_module(room: Room) -> None:
    assert "sway" in (await room.slash("storyboard", prompt="a fox", motion="sway")).text
    await taught(room, "roll", "v15-v2")
    assert "version 3" in (await room.slash("storyboard", prompt="a fox", motion="roll")).text
    assert room.server.bot_messages(room.channel) == []

    await taught(room, "sway", "v3")
    board = await begun(room, motion="Sway")
    await reply(room, board, 0)
    await shows(room, board, 0)
    await press(room, board, "Render")
    [job] = await queued(room)
    assert (job.submission.recipe.lead.model_dump()["motion"], len(job.submission.recipe.sources)) == ("sway", 2)


async def test_without_sparsectrl_there_is_no_storyboard(room: Room) -> None:
    without = {**SYSTEMS, "animatediff": tuple(name for name in ANIMATEDIFF if not name.startswith("sparsectrl"))}
    with_all = room.stack.believed
    assert with_all is not None
    await believe(room.stack, with_all.model_copy(update={"systems": without}))
    try:
        asked = await room.slash("storyboard", prompt="a fox")
    finally:
        await believe(room.stack, with_all)

    assert "sparsectrl-rgb" in asked.text
    assert room.server.bot_messages(room.channel) == []


async def test_a_schedule_is_looked_at_first_and_a_change_keeps_the_pictures(room: Room) -> None:
    board = await begun(room, schedule="0s: spring | 2s: autumn", seed=4)
    await reply(room, board, 0, 1)
    await shows(room, board, 0, 1)
    asked = await press(room, board, "Render")
    assert "autumn" in asked.text
    assert await queued(room) == []
    form = await press(room, asked.shown[-1], "Change…")
    changed = await (await room.server.submit_modal(form, room.person, {"negative": "rain"})).answered(20)
    await press(room, changed.shown[-1], "Queue it")
    [job] = await queued(room)
    step = job.submission.recipe.lead
    assert isinstance(step, AnimateDiffRequest)
    assert (step.negative, step.seed, step.pictures) == ("rain", 4, ("picture_1", "picture_2"))


async def test_in_a_dm_it_is_the_same(room: Room) -> None:
    dm = room.server.dm(room.person)
    there = Room(room.stack, room.server, dm, room.person, room.folder)
    board = await begun(there)
    await room.server.say(room.person, attachments=[picture(room, 2)], reply_to=board, channel=dm)
    await shows(there, board, 2)
    await press(there, board, "Render")
    [job] = await queued(there)
    assert len(job.submission.recipe.sources) == 1


async def test_pictures_that_are_too_much_are_refused_and_the_others_go_in(room: Room) -> None:
    board = await begun(room)
    huge = room.server.upload("huge.png", drawing("red"))
    huge.size = 500 * 2**20
    await room.server.say(
        room.person, attachments=[huge, picture(room, 3)], reply_to=board, mention_bot=True, channel=room.channel
    )
    await room.final("That picture weighs")
    await shows(room, board, 3)
    form = await press(room, board, "Add pictures…")
    answer = await (await room.server.submit_modal(form, room.person, {"pictures": [huge]})).answered()
    assert "weighs" in answer.text
    await shows(room, board, 3)


async def test_a_day_later_it_says_so_and_starts_nothing_else(room: Room) -> None:
    board = await begun(room)
    for key in await room.stack.redis.keys("zoetrope:storyboard:*"):
        assert 86_000 < await room.stack.redis.ttl(key) <= 86_400
        await room.stack.redis.delete(key)
    await reply(room, board, 0)
    await room.final("This storyboard is over")
    await press(room, board, "Add pictures…")
    assert "is over" in board.content
    assert board.components == []
    assert await queued(room) == []


async def test_forget_me_takes_storyboards_too(room: Room) -> None:
    board = await begun(room)
    asked = await room.slash("privacy")
    assert "storyboard" in asked.text
    [page] = asked.shown
    await (await room.server.press(page, room.person, "Forget me…")).answered()
    await (await room.server.press(page, room.person, "Yes, forget me")).answered()
    await room.stack.until(lambda: "forg" in page.content.lower())
    await press(room, board, "Never mind")
    assert "is over" in board.content
    assert await room.stack.redis.keys(f"zoetrope:storyboards:{room.person.id}") == []


async def test_without_the_content_intent_a_reply_is_seen_if_it_pings(tmp_path: Path) -> None:
    async with believing(tmp_path, message_content=False) as stack:
        room = Room(stack, stack.server, stack.server.channel, stack.server.user("ann"), tmp_path)
        board = await begun(room)
        await room.server.say(
            room.person, attachments=[picture(room, 0)], reply_to=board, ping_reply=False, channel=room.channel
        )
        await room.final("Leave the @ of the reply on")
        await room.server.say(room.person, attachments=[picture(room, 1)], reply_to=board, channel=room.channel)
        await shows(room, board, 1)
        await press(room, board, "Render")
        [job] = await queued(room)
        assert len(job.submission.recipe.sources) == 1
        assert [await colour(room, source.digest) for source in job.submission.recipe.sources.values()] == [1]
