"""What people ask the queue, and what they are asked: a real bot and a real Redis; the test is the worker."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.confirm import KEPT_SECONDS, Prepared
from jobs.policy import channel_scope, guild_scope
from jobs.queue import NoSuchJob
from jobs.record import Job, Lease, Person, Progress, State
from jobs.rulebook import Editor, Rulebook, share_name
from jobs.workers import Advert, Workers
from tests.discord_server import LocalDiscord
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Channel, Message, User
from tests.e2e.conftest import Room
from tests.queued import CLIP
from tests.stack import Stack, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSTEMS = {"parallax": (), "svd": ("svd-xt",)}
ASKED_ABOVE = 60
"""GPU seconds: svd's 25 steps are believed to take about 90, parallax a few."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A bot, and a worker that is online and takes nothing by itself."""
    folder = tmp_path_factory.mktemp("stack")
    settings = {"ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": str(ASKED_ABOVE)}
    async with (
        LocalDiscord(message_content=True) as server,
        running(server, folder, worker=False, settings=settings) as stack,
    ):
        online = asyncio.create_task(stay_online(stack))
        yield stack
        online.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await online


async def stay_online(stack: Stack) -> None:
    """Say again and again what there is."""
    while True:
        await Workers(stack.redis).advertise(Advert(worker="w1", host="h", device="cpu", systems=SYSTEMS))
        await asyncio.sleep(2)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def empty(shared: Stack) -> None:
    """Each test begins with nothing in line."""
    while not await shared.redis.exists("zoetrope:worker:w1"):
        await asyncio.sleep(0.02)
    while job_ids := await shared.queue.open_jobs():
        for job_id in job_ids:
            with contextlib.suppress(NoSuchJob):
                if await shared.queue.cancel(job_id, "test", moderator=True) == "stopping":
                    job = await shared.queue.job(job_id)
                    lease = Lease(job_id=job_id, worker="w1", fence=job.fence)
                    await shared.queue.settle(lease, CLIP.model_copy(update={"files": ()}), gpu_ms=0)
        await asyncio.sleep(0.05)
    for scope in await shared.queue.paused():
        await shared.queue.resume(scope)
    for key in [*await shared.redis.keys("zoetrope:spent:*"), *await shared.redis.keys("zoetrope:asked:*")]:
        await shared.redis.delete(key)


async def ask(room: Room, user: User | None = None, channel: Channel | None = None, **options: object) -> Job:
    """Somebody asks for something cheap; the job."""
    asked = await room.server.slash(
        "parallax", user or room.person, channel=channel or room.channel, image=room.picture(), **options
    )
    await asked.answered(20)
    return await room.stack.queue.job(asked.id)


async def started(room: Room, job: Job) -> Lease:
    """The worker takes the job."""
    lease = await room.stack.queue.claim(job.id, "w1")
    assert lease is not None
    return lease


async def end(room: Room, lease: Lease, gpu_ms: int = 0) -> None:
    """The worker fails it, which costs nobody, or renders it."""
    await room.stack.queue.settle(lease, CLIP.model_copy(update={"files": (), "gpu_ms": gpu_ms}), gpu_ms=gpu_ms)


async def typed(room: Room, text: str = "", user: User | None = None, channel: Channel | None = None) -> dict[str, str]:
    """What `/cancel` offers while somebody types: names by value, for two jobs asked in one second have one name."""
    offered = await room.server.autocomplete(
        "cancel", user or room.person, focused="job", value=text, channel=channel or room.channel
    )
    await offered.answered()
    return {choice["value"]: choice["name"] for choice in offered.choices or ()}


async def state(room: Room, job: Job) -> State:
    return (await room.stack.queue.job(job.id)).state


async def press(room: Room, message: Message, label: str, user: User | None = None) -> Asked:
    """Press and wait for what comes of it."""
    return await (await room.server.press(message, user or room.person, label)).answered(20)


async def picture_of(room: Room, asked: Asked) -> str:
    """The digest of the picture that a question is about."""
    document = await room.stack.redis.get(f"zoetrope:asked:{asked.id}")
    [submission] = Prepared.model_validate_json(document).submissions
    return submission.recipe.sources["image"].digest


def named(message: Message) -> list[str]:
    """The buttons' labels, or their emoji."""
    return [button.get("label") or button["emoji"]["name"] for button in message.buttons]


# --- /queue ---


async def test_the_line_shows_everybodys_jobs_and_marks_mine_privately_and_without_pings(room: Room) -> None:
    bob = room.server.user("bob_the_\\_builder")
    first, _ = await ask(room, bob), await ask(room)
    lease = await started(room, first)
    await room.stack.queue.report(lease, Progress(job_id=first.id, stage="moving", step=6, total=24))
    [answer] = (await room.slash("queue")).responses
    head, run, wait, *small = answer.text.splitlines()

    assert answer.ephemeral
    assert head == "**In line here** · 1 running · 1 waiting"
    assert "parallax · bob\\_the" in run.lower()
    assert "`▰▰▱▱▱▱▱▱` 6/24 · done <t:" in run
    assert re.search(
        r"^`1` \[\*\*parallax · you\*\*\]\(https://discord.com/channels/\d+/\d+/\d+\) · starts <t:\d+:R>$", wait
    )
    assert "-# You used no GPU time in the last hour." in small
    assert answer.pinged == []


async def test_the_line_of_another_server_is_a_count_and_a_time(room: Room) -> None:
    far = room.server.add_guild("elsewhere")
    there = room.server.add_channel("there", far)
    await ask(room, room.server.user("stranger", guild=far), there)
    await ask(room)
    mine = (await room.slash("queue")).text
    theirs = (
        await (await room.server.slash("queue", room.server.user("stranger", guild=far), channel=there)).answered()
    ).text

    assert "stranger" not in mine
    assert re.search(r"-# (Before yours|In the same line): 1 job of other servers, about \d+ seconds? of GPU\.", mine)
    assert room.person.name not in theirs
    assert "1 running" not in mine


async def test_in_a_dm_the_line_is_my_own_jobs(room: Room) -> None:
    await ask(room, room.server.user("bob"))
    await ask(room)
    dm = room.server.dm(room.person)
    text = (await (await room.server.slash("queue", room.person, channel=dm)).answered()).text

    assert text.startswith("**Your jobs** · 0 running · 1 waiting")
    assert "bob" not in text


async def test_a_pause_is_seen_at_once(room: Room) -> None:
    await ask(room)
    await room.stack.queue.pause(channel_scope(str(room.channel.id)), "mod")
    text = (await room.slash("queue")).text

    assert "⏸️ paused" in text
    assert "The queue is paused here" in text


async def test_why_says_what_i_used_beside_the_average(room: Room) -> None:
    bob = room.server.user("bob")
    for user, gpu_ms in ((room.person, 40_000), (bob, 150_000)):
        await end(room, await started(room, await ask(room, user)), gpu_ms)
    await ask(room)

    assert "You used 40 GPU-seconds here in the last hour, the average is 95" in (await room.slash("queue")).text


@pytest.mark.slow
async def test_pages_turn_and_show_what_is_there_now_even_after_a_restart(room: Room) -> None:
    people = [room.server.user(f"crowd{number}") for number in range(3)]
    for number in range(12):
        await ask(room, people[number % 3])
    [first] = (await room.slash("queue")).responses
    assert named(first) == ["◀️", "1 / 2", "▶️"]
    room.stack.bot.kill()
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    await press(room, first, "zt:line:on:1")

    assert [first.text.count("\n`"), named(first)] == [2, ["◀️", "2 / 2", "▶️"]]
    for job_id in (await room.stack.queue.open_jobs())[:8]:
        await room.stack.queue.cancel(job_id, "x", moderator=True)
    await press(room, first, "zt:line:now:1")

    assert [first.text.count("\n`"), named(first)] == [4, ["🔄"]]


async def test_an_empty_line_is_one_sentence(room: Room) -> None:
    assert (await room.slash("queue")).text == "**Nothing of this server waits or runs.**"


# --- /cancel ---


async def test_cancel_offers_my_open_jobs_newest_first_and_takes_one_out(room: Room) -> None:
    jobs = [await ask(room) for _ in range(3)]
    await ask(room, room.server.user("bob"))
    offered = await typed(room)
    names, values = list(offered.values()), list(offered)

    assert values == ["mine", *(job.id for job in reversed(jobs))]
    assert names[0] == "all of mine (3)"
    assert all(re.fullmatch(r"parallax · you · waiting · \d+ seconds? ago.*", name) for name in names[1:])
    said = await room.slash("cancel", job=jobs[1].id)
    assert said.text == "Your **parallax** is cancelled."
    assert said.responses[0].ephemeral
    assert await state(room, jobs[1]) in (State.CANCELLED, State.CLOSED)
    assert [await state(room, job) for job in (jobs[0], jobs[2])] == [State.WAITING] * 2


async def test_all_of_mine_leaves_others_jobs_alone(room: Room) -> None:
    theirs = await ask(room, room.server.user("bob"))
    mine = [await ask(room) for _ in range(2)]
    await started(room, mine[0])
    said = await room.slash("cancel", job="mine")

    assert said.text == "Cancelled 2 jobs of yours; what was running is being stopped."
    assert (await room.stack.queue.job(mine[0].id)).cancel_by == str(room.person.id)
    assert await state(room, theirs) is State.WAITING


async def test_nothing_to_cancel_and_no_such_job_and_too_late_are_sentences(room: Room) -> None:
    job = await ask(room)
    await end(room, await started(room, job))

    assert "has already ended" in (await room.slash("cancel", job=job.id)).text
    assert "there is nothing to cancel" in (await room.slash("cancel", job="mine")).text
    for nonsense in ("123456789", "svd", "all of mine (2)", "zoetrope:*"):
        assert "I know no such job. Pick one" in (await room.slash("cancel", job=nonsense)).text


async def test_a_moderator_is_offered_everybodys_jobs_of_the_server_and_cancels_any(room: Room) -> None:
    bob, moderator = room.server.user("bob"), room.server.moderator("moira")
    job = await ask(room, bob)
    elsewhere = room.server.add_channel("elsewhere")
    other = await ask(room, bob, elsewhere)
    offered = await typed(room, user=moderator)

    assert list(offered) == [other.id, job.id]
    assert all("· bob · waiting" in name.lower() for name in offered.values())
    for one in (job, other):
        said = (await room.slash("cancel", moderator, job=one.id)).text
        assert said.lower() == "bob's **parallax** is cancelled."


async def test_typing_narrows_the_choices(room: Room) -> None:
    moderator = room.server.moderator("moira")
    bobs, carls = await ask(room, room.server.user("bob")), await ask(room, room.server.user("carl"))

    assert list(await typed(room, "BOB par", moderator)) == [bobs.id]
    assert list(await typed(room, "carl", moderator)) == [carls.id]
    assert await typed(room, "svd", moderator) == {}


async def test_nobody_cancels_anothers_job_not_even_by_its_id(room: Room) -> None:
    """Promise 4. The id is no secret: it is in every status message's button."""
    bob = room.server.user("bob")
    job = await ask(room)
    lease = await started(room, job)
    for channel in (room.channel, room.server.dm(bob)):
        asked = await room.server.slash("cancel", bob, channel=channel, job=job.id)
        assert "Only the person who asked" in (await asked.answered()).text

    assert list(await typed(room, user=bob)) == []
    assert await room.stack.queue.renew(lease) is None, "nobody asked it to stop"


async def test_a_moderator_of_one_server_cannot_touch_another_servers_job(room: Room) -> None:
    far = room.server.add_guild("far")
    there = room.server.add_channel("there", far)
    boss = room.server.moderator("boss", guild=far)
    job = await ask(room)
    asked = await room.server.slash("cancel", boss, channel=there, job=job.id)
    by_dm = await room.server.slash("cancel", boss, channel=room.server.dm(boss), job=job.id)

    assert "Only the person who asked" in (await asked.answered()).text
    assert "Only the person who asked" in (await by_dm.answered()).text
    assert await typed(room, user=boss, channel=there) == {}
    assert await state(room, job) is State.WAITING


async def test_who_manages_messages_in_one_channel_alone_moderates_that_one(room: Room) -> None:
    helper = room.server.user("helper")
    room.server.allow(room.channel, "MANAGE_MESSAGES", whom=helper)
    other_channel = room.server.add_channel("other")
    here, there = await ask(room), await ask(room, channel=other_channel)

    assert list(await typed(room, user=helper)) == [here.id]
    assert "Only the person who asked" in (await room.slash("cancel", helper, job=there.id)).text
    assert "is cancelled" in (await room.slash("cancel", helper, job=here.id)).text
    assert await state(room, there) is State.WAITING


async def test_a_job_asked_for_in_a_dm_is_nobody_elses(room: Room) -> None:
    bob = room.server.moderator("moira")
    job = await ask(room, channel=room.server.dm(room.person))
    by_dm = await room.server.slash("cancel", bob, channel=room.server.dm(bob), job=job.id)

    assert "Only the person who asked" in (await by_dm.answered()).text
    assert await typed(room, user=bob) == {}
    assert list(await typed(room, channel=room.server.dm(room.person))) == [job.id]


# --- /me ---


async def test_me_says_what_i_used_and_what_i_have_open(room: Room) -> None:
    await end(room, await started(room, await ask(room)), 40_000)
    await ask(room)
    [answer] = (await room.slash("me")).responses
    used, own, row, *small = answer.text.splitlines()

    assert answer.ephemeral
    assert used == "**You used** 40 GPU-seconds in the last hour · 40 GPU-seconds today"
    assert own == "**Your jobs** · 1 of 10 open · 0 running" or own == "**Your jobs** · 2 of 10 open · 0 running"
    assert re.match(r"⏳ \[\*\*parallax\*\*\]\(https://discord.com/channels/\d+/\d+/\d+\) · starts <t:\d+:R>$", row)
    assert small == ["-# You used 40 GPU-seconds in the last hour."] or "here in the last hour" in small[0]


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
    await end(room, await started(room, done), 40_000)
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
