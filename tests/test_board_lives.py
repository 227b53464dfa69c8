"""What becomes of status messages when the bot dies, a moderator deletes, or Discord says no.

One real bot process for all of them; the renders are simulated on the real queue.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest
import pytest_asyncio

from jobs.record import Job
from tests.crowd import Crowd
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Channel, Message
from tests.discord_server.rest import Call
from tests.stack import Stack, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
QUIET_SECONDS = 2.0
"""Nothing is edited within this: then nothing is edited at all."""
_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    async with LocalDiscord() as server, running(server, folder, worker=False) as stack:
        yield stack


class Place:
    """One test's channel and its crowd, whose jobs take a second."""

    def __init__(self, stack: Stack, channel: Channel) -> None:
        self.stack, self.server, self.channel = stack, stack.server, channel
        self.crowd = Crowd(stack.queue, stack.store, stack.server, [channel], seconds=1.0)

    async def asked(self, jobs: int) -> list[Job]:
        """So many jobs that wait, whose messages are there and written down."""
        asked = await self.crowd.ask(jobs)
        await self.stack.until(lambda: len(self.statuses()) == len(self.crowd.asked))
        return [await self.recorded(job.id) for job in asked]

    async def recorded(self, job_id: str) -> Job:
        """A job that knows its message."""
        while not (job := await self.stack.queue.job(job_id)).status_message:
            await asyncio.sleep(0.05)
        return job

    async def over(self, jobs: int) -> None:
        """Wait until so many jobs are told of and closed."""
        while len(self.crowd.ended) < jobs or await self.stack.queue.open_jobs():
            await asyncio.sleep(0.1)

    def statuses(self) -> list[Message]:
        """All status messages here, deleted ones too."""
        return [message for message in self.channel.messages.values() if (message.nonce or "").startswith("s")]

    def finals(self) -> list[Message]:
        """Clips here."""
        return [message for message in self.channel.messages.values() if message not in self.statuses()]

    def edits(self) -> list[Call]:
        """Requests to edit something here."""
        return self.server.requests("PATCH", f"/channels/{self.channel.id}/messages/*")

    async def bot_dies(self) -> None:
        """Killed, as by a power cut."""
        self.stack.bot.kill()
        await self.stack.bot.ended()


@pytest_asyncio.fixture(loop_scope="module")
async def place(shared: Stack) -> AsyncIterator[Place]:
    before = len(shared.server.violations)
    for advert in await shared.redis.keys("zoetrope:worker:*"):
        await shared.redis.delete(advert)  # the workers of the test before
    there = Place(shared, shared.server.add_channel(f"room-{next(_numbers)}"))
    yield there
    shared.server.faults.clear()
    assert await shared.queue.open_jobs() == [], "a test leaves no job to the next"
    assert shared.server.violations[before:] == []
    assert not shared.bot.lines("not refreshed"), "a bug, as opposed to Discord's or Redis' no"


async def run_all(place: Place) -> None:
    """Two workers render everything that waits."""
    async with place.crowd.at_work():
        await asyncio.wait_for(place.over(len(place.crowd.asked)), 40)


async def test_a_bot_that_comes_back_reads_its_messages_and_edits_what_is_no_longer_so(place: Place) -> None:
    """No worker is there, so what the messages say stays true. One is made false behind the bot's back."""
    await place.asked(4)
    await place.stack.until(lambda: all("no machine" in message.content for message in place.statuses()), 45)
    await place.bot_dies()
    wrong = place.statuses()[3]
    wrong.content = "🎞️ **parallax** for somebody: rendering"
    before = len(place.edits())
    await place.stack.restart_bot()
    await place.stack.until(lambda: "no machine" in wrong.content, 15)
    await asyncio.sleep(QUIET_SECONDS)

    assert [call.path.rpartition("/")[2] for call in place.edits()[before:]] == [str(wrong.id)]
    assert place.server.requests("GET", f"/channels/{place.channel.id}/messages")
    assert len(place.statuses()) == 4
    await run_all(place)


async def test_jobs_that_ended_while_the_bot_was_away_are_settled_and_told_once(place: Place) -> None:
    asked = await place.asked(4)
    await place.bot_dies()
    async with place.crowd.at_work():
        await wait_until(lambda: len(place.crowd.ended) == 4)
    assert place.finals() == []
    await place.stack.restart_bot()
    await asyncio.wait_for(place.over(4), 30)

    assert sorted(final.nonce or "" for final in place.finals()) == sorted(job.id for job in asked)
    assert sorted(status.nonce or "" for status in place.statuses()) == sorted(f"s{job.id}" for job in asked)
    for status in place.statuses():
        assert "done in" in status.content
        assert status.buttons == []


async def test_a_bot_killed_as_it_posts_and_away_for_long_finds_its_message(place: Place) -> None:
    """Discord forgets nonces after some minutes; then the bot looks at the channel itself."""
    place.server.before_reply("POST", f"/channels/{place.channel.id}/messages", place.stack.bot.kill)
    [job] = await place.crowd.ask()
    await place.stack.bot.ended()
    assert len(place.statuses()) == 1
    assert (await place.stack.queue.job(job.id)).status_message is None, "Discord has it, the record does not"
    place.channel.nonces.clear()
    await place.stack.restart_bot()

    assert (await place.recorded(job.id)).status_message == str(place.statuses()[0].id)
    await run_all(place)
    assert len(place.statuses()) == len(place.finals()) == 1
    assert "done in" in place.statuses()[0].content


async def test_a_job_whose_message_a_moderator_deletes_goes_on_and_its_clip_comes(place: Place) -> None:
    [job] = await place.asked(1)
    [status] = place.statuses()
    before = len(place.edits())
    await place.server.delete(status)
    await run_all(place)

    assert [final.nonce for final in place.finals()] == [job.id]
    assert len(place.edits()) - before <= 2, "a message that is gone is not tried for ever"
    assert len(place.statuses()) == 1, "nobody who deletes it wants another"


async def test_a_channel_that_is_deleted_costs_a_few_requests_and_the_clip_goes_to_its_person(place: Place) -> None:
    [job] = await place.asked(1)
    before = len(place.edits())
    place.server.delete_channel(place.channel)
    await run_all(place)
    person = place.server.world.users[int(job.submission.requester.id)]
    [told] = place.server.dms(person)

    assert "it is gone" in told.content
    assert len(told.attachments) == 1
    assert len(place.edits()) - before <= 2


async def test_edits_that_automod_refuses_are_not_tried_again_and_again(place: Place) -> None:
    [job] = await place.asked(1)
    before = len(place.edits())
    no = {"code": 200000, "message": "Message was blocked by AutoMod"}
    place.server.faults.add("PATCH", f"/channels/{place.channel.id}/messages/*", status=400, times=99, json=no)
    await run_all(place)

    assert [final.nonce for final in place.finals()] == [job.id]
    assert 1 <= len(place.edits()) - before <= 2


async def test_a_status_message_that_automod_refuses_keeps_no_clip_back(place: Place) -> None:
    no = {"code": 200000, "message": "Message was blocked by AutoMod"}
    place.server.faults.add("POST", f"/channels/{place.channel.id}/messages", status=400, json=no)
    [job] = await place.crowd.ask()
    await place.stack.until(lambda: place.server.requests("POST", f"/channels/{place.channel.id}/messages"))
    await run_all(place)

    assert place.statuses() == []
    assert [final.nonce for final in place.finals()] == [job.id]


async def test_a_last_edit_that_fails_for_a_moment_is_made_good(place: Place) -> None:
    """Discord is away for two requests; the message must not stay as it was."""
    await place.asked(1)
    fault = place.server.faults.add("PATCH", f"/channels/{place.channel.id}/messages/*", status=None, times=2)
    await run_all(place)
    await place.stack.until(lambda: "done in" in place.statuses()[0].content, 20)

    assert fault.hits == 2


async def test_a_message_whose_answer_was_lost_says_how_its_job_ended(place: Place) -> None:
    """The job is over before the message would be posted again."""
    posts = f"/channels/{place.channel.id}/messages"
    place.server.faults.add("POST", posts, status=None, times=1, after_effect=True)
    await place.crowd.ask()
    await place.stack.until(place.statuses)
    await run_all(place)
    await place.stack.until(lambda: "done in" in place.statuses()[0].content, 20)

    assert len(place.statuses()) == len(place.finals()) == 1
    assert place.statuses()[0].buttons == []


async def test_a_message_that_redis_never_heard_of_says_how_its_job_ended(place: Place) -> None:
    """Discord took it, then Redis was away; the job is over before the message would be posted again."""

    async def freeze() -> None:
        await place.stack.redis.execute_command("CLIENT", "PAUSE", "5500", "WRITE")

    place.crowd.seconds = 0.2
    place.server.faults.before_reply("POST", f"/channels/{place.channel.id}/messages", freeze)
    await place.crowd.ask()
    await place.stack.until(lambda: place.stack.bot.lines("status message put off"), 20)
    async with place.crowd.at_work():
        await asyncio.wait_for(place.over(1), 30)
    await place.stack.until(lambda: "done in" in place.statuses()[0].content, 20)

    assert len(place.statuses()) == len(place.finals()) == 1
    assert place.statuses()[0].buttons == []


async def wait_until(predicate: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not predicate():
            await asyncio.sleep(0.05)
