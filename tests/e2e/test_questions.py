"""The question before much is queued, and `/privacy`: what is kept, and how it is forgotten."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.confirm import KEPT_SECONDS, Prepared
from jobs.costs import COSTS, Learnt
from jobs.policy import channel_scope, guild_scope
from jobs.queue import NoSuchJob
from jobs.record import Person, State
from jobs.requests.base import Rates
from jobs.rulebook import Editor, Rulebook, share_name
from tests.discord_server.interactions import Asked
from tests.e2e.advertised import emptied, end, started
from tests.e2e.conftest import Room
from tests.e2e.people import ask, asking, named, press, state
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with asking(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def empty(shared: Stack) -> None:
    """Each test begins with nothing in line."""
    await emptied(shared)


async def picture_of(room: Room, asked: Asked) -> str:
    """The digest of the picture that a question is about."""
    document = await room.stack.redis.get(f"zoetrope:asked:{asked.id}")
    [submission] = Prepared.model_validate_json(document).submissions
    return submission.recipe.sources["image"].digest


# --- the question before much is queued ---


async def test_what_takes_long_is_queued_only_after_a_yes_which_may_come_after_a_restart(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture())
    [question] = asked.responses

    assert question.ephemeral
    assert re.fullmatch(r"This takes about \d+ \w+ of GPU and can start at once\. Queue it\?", question.text)
    assert named(question) == ["Queue it", "Change…", "Never mind"]
    assert await room.stack.queue.open_jobs() == []
    assert room.server.bot_messages(room.channel) == []
    room.stack.bot.kill()
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    await press(room, question, "Queue it")

    assert await room.stack.queue.open_jobs() == [asked.id]
    assert question.text.startswith("Queued with **svd** → https://discord.com/channels/")
    assert question.buttons == []
    assert len(room.server.bot_messages(room.channel)) == 1


async def test_yes_pressed_twice_queues_once(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture())
    [question] = asked.responses
    both = [await room.server.press(question, room.person, "Queue it") for _ in range(2)]
    for each in both:
        await each.answered()
    await room.server.settled()

    assert await room.stack.queue.open_jobs() == [asked.id]
    assert len(room.server.bot_messages(room.channel)) == 1


async def test_never_mind_queues_nothing(room: Room) -> None:
    [question] = (await room.slash("svd", image=room.picture())).responses
    await press(room, question, "Never mind")

    assert (question.text, question.buttons) == ("Nothing was queued.", [])
    assert await room.stack.queue.open_jobs() == []
    assert await room.stack.redis.keys("zoetrope:asked:*") == []


async def test_never_mind_lets_go_of_the_picture_at_once(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture((71, 53)))
    digest = await picture_of(room, asked)
    assert await room.stack.redis.zscore(f"zoetrope:refs:{digest}", asked.id) is not None
    await press(room, asked.responses[0], "Never mind")

    assert await room.stack.redis.exists(f"zoetrope:refs:{digest}") == 0
    assert await room.stack.redis.exists(f"zoetrope:brought:{room.person.id}") == 0
    assert await room.stack.redis.zscore("zoetrope:media", digest) == 0, "the next sweep takes it"


async def test_never_mind_after_queue_it_says_what_was_queued(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture())
    [question] = asked.responses
    room.server.faults.add("PATCH", "/webhooks/**", status=404)  # the question keeps its buttons
    await press(room, question, "Queue it")
    assert named(question) == ["Queue it", "Change…", "Never mind"]
    await press(room, question, "Never mind")

    assert await room.stack.queue.open_jobs() == [asked.id]
    assert question.text.startswith("Queued with **svd** → https://discord.com/channels/")
    assert question.buttons == []


async def test_never_mind_after_a_queue_it_that_could_not_be_said_tells_that_it_is_queued(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture())
    [question] = asked.responses
    key = f"zoetrope:asked:{asked.id}"
    [submission] = Prepared.model_validate_json(await room.stack.redis.get(key)).submissions
    await room.stack.queue.enqueue(submission)  # and here the bot dies
    await press(room, question, "Never mind")

    assert question.text.startswith("It was queued before. **Cancel** under its message takes it out again")
    assert await room.stack.queue.open_jobs() == [asked.id]
    assert await room.stack.store.exists(submission.recipe.sources["image"].digest)


async def test_queue_it_heeds_what_was_set_since_the_question(room: Room) -> None:
    moira = Editor(Person(id="1", name="moira"), str(room.server.guild.id))
    rulebook, here = Rulebook(room.stack.redis), channel_scope(str(room.channel.id))
    asked = await room.slash("svd", image=room.picture())
    [question] = asked.responses
    await rulebook.change(moira, here, {"systems": ["parallax"]})
    pressed = await press(room, question, "Queue it")
    assert pressed.text.strip() == "**svd** may not be used here. You may use: parallax."
    assert await room.stack.queue.open_jobs() == []
    await rulebook.change(moira, here, {"systems": None, "seconds": 0.5})
    assert "here a clip may last 0.5" in (await press(room, question, "Queue it")).text
    gallery = room.server.add_channel("gallery")
    await rulebook.change(moira, here, {"seconds": None, "nsfw": "spoiler", "results": str(gallery.id)})
    await press(room, question, "Queue it")
    job = await room.stack.queue.job(asked.id)

    assert job.submission.spoiler
    assert job.submission.results is not None
    assert job.submission.results.id == str(gallery.id)


async def test_queue_it_goes_by_the_roles_of_now(room: Room) -> None:
    moira = Editor(Person(id="1", name="moira"), str(room.server.guild.id))
    role = room.server.add_role("boosters")
    asked = await room.slash("svd", image=room.picture())
    rulebook, here = Rulebook(room.stack.redis), guild_scope(str(room.server.guild.id))
    await rulebook.change(moira, here, {share_name(str(role.id), "weight"): 2.0})
    room.server.user(room.person.name, role)
    await press(room, asked.responses[0], "Queue it")
    await rulebook.clear(moira, here)

    assert (await room.stack.queue.job(asked.id)).submission.terms.weight == 2


async def test_an_old_question_says_so_and_loses_its_buttons(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture())
    key = f"zoetrope:asked:{asked.id}"
    assert 0 < await room.stack.redis.ttl(key) <= KEPT_SECONDS
    await room.stack.redis.delete(key)  # as it expires
    [question] = asked.responses
    await press(room, question, "Queue it")

    assert "older than 15 minutes" in question.text
    assert question.buttons == []
    assert await room.stack.queue.open_jobs() == []


async def test_only_who_was_asked_may_answer(room: Room) -> None:
    """Nobody else sees the question; this one has it forwarded by a forged client."""
    asked = await room.slash("svd", image=room.picture())
    [question] = asked.responses
    bob = room.server.user("bob")
    question.ephemeral_to = bob
    pressed = await press(room, question, "Queue it", bob)

    assert "Only the person who asked" in pressed.text
    assert await room.stack.queue.open_jobs() == []


async def test_several_pictures_are_one_question(room: Room) -> None:
    pictures = [room.picture(name=f"{number}.png") for number in range(3)]
    message = await room.server.say(room.person, attachments=pictures, channel=room.channel)
    form = await (await room.server.message_menu("Animate…", room.person, message)).answered()
    submitted = await (await room.server.submit_modal(form, room.person, {"system": "svd"})).answered(20)
    [question] = submitted.responses

    assert question.text.startswith("These 3 clips take about ")
    assert named(question) == ["Queue them", "Never mind"]
    await press(room, question, "Queue them")
    assert len(await room.stack.queue.open_jobs()) == 3
    assert question.text.count("Queued with **svd**") == 3


async def test_a_form_that_was_open_during_a_restart_says_so(room: Room) -> None:
    message = await room.server.say(room.person, attachments=[room.picture()], channel=room.channel)
    form = await (await room.server.message_menu("Animate…", room.person, message)).answered()
    room.stack.bot.kill()
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    [answer] = (await (await room.server.submit_modal(form, room.person, {"system": "svd"})).answered(20)).responses

    assert answer.text == "Zoetrope was restarted while the form was open, so it is lost. Please open it once more."
    assert answer.ephemeral


async def test_what_is_cheap_is_not_asked_about(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture(), num_inference_steps=10)

    assert asked.text.startswith("Queued with **svd**")
    assert await room.stack.queue.open_jobs() == [asked.id]


async def test_what_would_be_stopped_for_its_length_is_not_begun(room: Room) -> None:
    """By renders that took ten minutes for each megapixel and frame; the limit is an hour."""
    learnt = Learnt.nothing("svd").model_copy(
        update={"rates": Rates(per_step=0, per_frame=600_000, constant=0), "samples": 20, "error": 0.1}
    )
    await room.stack.redis.hset(COSTS, "svd", learnt.model_dump_json())
    try:
        asked = await room.slash("svd", image=room.picture(), num_frames=25)
        small = await room.slash("svd", image=room.picture(), num_frames=2)
    finally:
        await room.stack.redis.hdel(COSTS, "svd")

    assert re.fullmatch(r"That would take about \S+ hours, and a render may last 60 minutes here\. Ask .*", asked.text)
    assert "That would take" not in small.text


async def test_a_mention_is_not_asked_but_told(room: Room) -> None:
    await room.server.say(
        room.person,
        f"{room.server.bot.mention} svd",
        attachments=[room.picture()],
        mention_bot=True,
        channel=room.channel,
    )
    status = await room.final("**svd**")

    assert re.search(r"-# This takes about \d+ \w+ of GPU\.", status.text)
    assert len(await room.stack.queue.open_jobs()) == 1


@pytest.mark.slow
async def test_a_full_line_of_mine_is_said_when_i_say_yes(room: Room) -> None:
    [question] = (await room.slash("svd", image=room.picture())).responses
    for _ in range(10):
        await ask(room)
    pressed = await press(room, question, "Queue it")

    assert "Your limit of open jobs (waiting or running) is 10" in pressed.text
    assert named(question) == ["Queue it", "Change…", "Never mind"], "it may be pressed again when there is room"


# --- /privacy ---


async def test_privacy_says_what_is_kept(room: Room) -> None:
    [answer] = (await room.slash("privacy")).responses

    assert answer.ephemeral
    assert named(answer) == ["Forget me…"]
    for part in ("I read only what you point me at", "days after they were last used", "7 days after it ended"):
        assert part in answer.text


async def test_forget_me_asks_again_and_then_deletes_everything_of_mine(room: Room) -> None:
    bob = room.server.user("bob")
    theirs = await ask(room, bob)
    done, waiting = await ask(room, seconds=2.0), await ask(room)
    await end(room.stack, await started(room.stack, done), 40_000)
    await room.stack.until(lambda: room.said("seed"))
    while await state(room, done) is not State.CLOSED:  # it is told, and written down a moment later
        await asyncio.sleep(0.05)
    [answer] = (await room.slash("privacy")).responses
    await press(room, answer, "Forget me…")
    assert answer.text.startswith("**Forget everything?** Your 1 open job will be cancelled.")
    assert named(answer) == ["Yes, forget me", "Keep it"]
    room.stack.bot.kill()
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    await press(room, answer, "Yes, forget me")

    assert re.search(r"Forgotten: \d jobs?", answer.text)
    assert "is kept until midnight UTC (<t:" in answer.text
    assert answer.buttons == []
    with pytest.raises(NoSuchJob):
        await room.stack.queue.job(done.id)
    assert await state(room, waiting) in (State.CANCELLED, State.CLOSED)
    assert await state(room, theirs) is State.WAITING
    assert (await room.stack.queue.usage(str(room.person.id))).today_ms == 40_000


async def test_forget_me_takes_a_question_that_waits_and_the_picture_it_is_about(room: Room) -> None:
    asked = await room.slash("svd", image=room.picture((73, 59)))
    digest = await picture_of(room, asked)
    [answer] = (await room.slash("privacy")).responses
    await press(room, answer, "Forget me…")
    await press(room, answer, "Yes, forget me")

    assert answer.text.startswith("Forgotten: 0 jobs and 1 file.")
    assert not await room.stack.store.exists(digest)
    assert await room.stack.redis.keys("zoetrope:asked:*") == []
    [question] = asked.responses
    await press(room, question, "Queue it")
    assert question.text.startswith("That question was answered already")
    assert await room.stack.queue.open_jobs() == []


async def test_forget_me_takes_a_picture_whose_clip_was_refused(room: Room) -> None:
    moira = Editor(Person(id="1", name="moira"), str(room.server.guild.id))
    await Rulebook(room.stack.redis).change(moira, channel_scope(str(room.channel.id)), {"seconds": 0.5})
    refused = await room.slash("parallax", image=room.picture((79, 61)), seconds=3.0)
    assert refused.text.startswith("That clip would last 3 seconds")
    [brought] = await room.stack.redis.zrange(f"zoetrope:brought:{room.person.id}", 0, -1)
    digest = brought.decode().split(" ")[1]
    assert await room.stack.store.exists(digest)
    [answer] = (await room.slash("privacy")).responses
    await press(room, answer, "Forget me…")
    await press(room, answer, "Yes, forget me")

    assert answer.text.startswith("Forgotten: 0 jobs and 1 file.")
    assert not await room.stack.store.exists(digest)


async def test_keep_it_deletes_nothing(room: Room) -> None:
    job = await ask(room)
    [answer] = (await room.slash("privacy")).responses
    await press(room, answer, "Forget me…")
    await press(room, answer, "Keep it")

    assert (answer.text, answer.buttons) == ("Nothing was deleted.", [])
    assert await state(room, job) is State.WAITING


async def test_nobody_has_somebody_else_forgotten(room: Room) -> None:
    bob = room.server.user("bob")
    await ask(room)
    [answer] = (await room.slash("privacy")).responses
    await press(room, answer, "Forget me…")
    answer.ephemeral_to = bob
    pressed = await press(room, answer, "Yes, forget me", bob)

    assert "Only the person who asked" in pressed.text
    assert len(await room.stack.queue.open_jobs()) == 1
