"""What people ask the queue, and what they are asked: a real bot and a real Redis; the test is the worker."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobs.policy import channel_scope
from jobs.record import Progress, State
from tests.discord_server.model import Channel, User
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


async def typed(room: Room, text: str = "", user: User | None = None, channel: Channel | None = None) -> dict[str, str]:
    """What `/cancel` offers while somebody types: names by value, for two jobs asked in one second have one name."""
    offered = await room.server.autocomplete(
        "cancel", user or room.person, focused="job", value=text, channel=channel or room.channel
    )
    await offered.answered()
    return {choice["value"]: choice["name"] for choice in offered.choices or ()}


# --- /queue ---


async def test_the_line_shows_everybodys_jobs_and_marks_mine_privately_and_without_pings(room: Room) -> None:
    bob = room.server.user("bob_the_\\_builder")
    first, _ = await ask(room, bob), await ask(room)
    lease = await started(room.stack, first)
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
        await end(room.stack, await started(room.stack, await ask(room, user)), gpu_ms)
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
    await started(room.stack, mine[0])
    said = await room.slash("cancel", job="mine")

    assert said.text == "Cancelled 2 jobs of yours; what was running is being stopped."
    assert (await room.stack.queue.job(mine[0].id)).cancel_by == str(room.person.id)
    assert await state(room, theirs) is State.WAITING


async def test_nothing_to_cancel_and_no_such_job_and_too_late_are_sentences(room: Room) -> None:
    job = await ask(room)
    await end(room.stack, await started(room.stack, job))

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
    lease = await started(room.stack, job)
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
    await end(room.stack, await started(room.stack, await ask(room)), 40_000)
    await ask(room)
    [answer] = (await room.slash("me")).responses
    used, own, row, *small = answer.text.splitlines()

    assert answer.ephemeral
    assert used == "**You used** 40 GPU-seconds in the last hour · 40 GPU-seconds today"
    assert own == "**Your jobs** · 1 of 10 open · 0 running" or own == "**Your jobs** · 2 of 10 open · 0 running"
    assert re.match(r"⏳ \[\*\*parallax\*\*\]\(https://discord.com/channels/\d+/\d+/\d+\) · starts <t:\d+:R>$", row)
    assert small == ["-# You used 40 GPU-seconds in the last hour."] or "here in the last hour" in small[0]
