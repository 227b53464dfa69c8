"""Whether a request may become a job: each refusal says what is in the way, and with which numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bot.gate import (
    Asked,
    CannotPostHere,
    ClipTooHeavy,
    ClipTooLong,
    ClipTooMuch,
    Draining,
    FrameTooLarge,
    Gate,
    Leave,
    NeedsAgeRestricted,
    NoSystem,
    NoWorkerOnline,
    Room,
    SystemNotAllowed,
    SystemNotInstalled,
)
from jobs.errors import Note, Refusal
from jobs.policy import EVERYONE, EVERYWHERE, TermsSettings, channel_scope, guild_scope
from jobs.queue import JobQueue
from jobs.recipe import Output, Recipe, Source
from jobs.record import Channel, Person
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from jobs.requests.upscale import UpscaleRequest
from jobs.rulebook import Editor, Rulebook, share_name
from jobs.settings import LimitSettings
from jobs.texts import say, word
from jobs.workers import Advert, Workers
from tests.queued import empty_queue, submission

SERVER, CHANNEL, THREAD, RESULTS = "5", "55", "66", "77"
MOIRA = Editor(Person(id="7", name="moira"), SERVER)
SYSTEMS = {"svd": ("svd-xt",), "parallax": ()}
PICTURE = Source(digest="0" * 64, width=1280, height=720)


def recipe(request: ParallaxRequest, picture: Source = PICTURE) -> Recipe:
    """One step over one picture."""
    return Recipe(sources={"image": picture}, steps=(request,))


TERMS = TermsSettings.model_validate({"waiting": 10})


@pytest.fixture
async def queue(url: str) -> AsyncIterator[JobQueue]:
    """With a worker for everything online."""
    async with empty_queue(url) as queue:
        await online(queue)
        yield queue


async def online(queue: JobQueue, name: str = "w1", **more: Any) -> None:
    """A worker says what it can do."""
    known = {"host": name, "device": "cpu", "systems": SYSTEMS}
    await Workers(queue.redis).advertise(Advert.model_validate({"worker": name, **known, **more}))


def no_room(*_: str) -> Room | None:
    return None


def gate(queue: JobQueue, *, wait: float = 30, rooms: Callable[[str, str], Room | None] = no_room) -> Gate:
    return Gate(Rulebook(queue.redis), TERMS, Workers(queue.redis), rooms, LimitSettings(wait_for_worker_minutes=wait))


def asked(
    channel: str = CHANNEL, *, guild: str | None = SERVER, parent: str | None = None, may_post: bool = True, **more: Any
) -> Asked:
    """ann asks in the channel."""
    place = Channel(id=channel, guild_id=guild, parent_id=parent, upload_bytes=10 * 2**20)
    return Asked("1001", Person(id="1", name="ann"), place, may_post, **more)


async def set_here(queue: JobQueue, scope: str = guild_scope(SERVER), **values: Any) -> None:
    await Rulebook(queue.redis).change(MOIRA, scope, values)


async def refused(kind: type[Refusal], gate: Gate, who: Asked, request: SvdRequest | ParallaxRequest) -> dict[str, Any]:
    """The facts with which it is refused; its sentence takes them."""
    with pytest.raises(kind) as refusal:
        await gate.admit(who, request)
    assert word(refusal.value)
    return refusal.value.facts


# --- workers ---


async def test_what_is_installed_and_online_may_go_on_with_nothing_to_say(queue: JobQueue) -> None:
    leave = await gate(queue).admit(asked(), SvdRequest(model="svd-xt"))

    assert (leave.said, leave.results, leave.spoiler) == ((), None, False)
    assert leave.terms.waiting == 10


async def test_before_any_worker_was_ever_seen_there_is_no_system(queue: JobQueue) -> None:
    await queue.redis.flushall()

    await refused(NoSystem, gate(queue), asked(), ParallaxRequest())
    with pytest.raises(NoSystem):
        await gate(queue).best_system(asked())


async def test_a_checkpoint_that_nobody_has_is_refused_with_what_there_is(queue: JobQueue) -> None:
    facts = await refused(SystemNotInstalled, gate(queue), asked(), SvdRequest(model="svd-xt-1-1"))

    assert facts == {"wanted": "svd-xt-1-1", "installed": "svd, parallax"}


async def test_where_no_machine_is_online_a_job_waits_and_is_told_how_long(queue: JobQueue) -> None:
    await Workers(queue.redis).leave("w1")
    leave = await gate(queue, wait=90).admit(asked(), SvdRequest(model="svd-xt"))

    assert leave.said == (Note("no_worker_online", {"kind": "svd-xt", "time": "1.5 hours"}),)


async def test_where_jobs_do_not_wait_for_a_machine_they_are_refused(queue: JobQueue) -> None:
    await Workers(queue.redis).leave("w1")

    assert await refused(NoWorkerOnline, gate(queue, wait=0), asked(), ParallaxRequest()) == {"kind": "parallax"}


async def test_a_machine_that_is_leaving_takes_nothing_more(queue: JobQueue) -> None:
    await online(queue, leaving=True)

    assert [note.code for note in (await gate(queue).admit(asked(), ParallaxRequest())).said] == ["no_worker_online"]
    await refused(NoWorkerOnline, gate(queue, wait=0), asked(), ParallaxRequest())
    await online(queue, "w2")
    assert (await gate(queue, wait=0).admit(asked(), ParallaxRequest())).said == ()


async def test_another_machine_online_that_cannot_run_it_is_no_help(queue: JobQueue) -> None:
    await Workers(queue.redis).leave("w1")
    await online(queue, "w2", systems={"parallax": ()})

    assert await refused(NoWorkerOnline, gate(queue, wait=0), asked(), SvdRequest()) == {"kind": "svd"}
    assert (await gate(queue, wait=0).admit(asked(), ParallaxRequest())).said == ()


# --- where ---


async def test_where_the_bot_may_not_post_nothing_is_taken(queue: JobQueue) -> None:
    assert await refused(CannotPostHere, gate(queue), asked(may_post=False), ParallaxRequest()) == {}


@pytest.mark.parametrize(
    ("scope", "where"),
    [
        (EVERYWHERE, "on all servers"), (guild_scope(SERVER), "on this server"), (channel_scope(CHANNEL), "in <#55>"),
        (channel_scope(THREAD), "in <#66>"),
    ],
)  # fmt: skip
async def test_a_drain_is_refused_with_where_it_holds(queue: JobQueue, scope: str, where: str) -> None:
    await set_here(queue, scope, drained=True)
    in_thread = asked(THREAD, parent=CHANNEL)

    assert await refused(Draining, gate(queue), in_thread, ParallaxRequest()) == {"where": where}
    place = Channel(id=THREAD, guild_id=SERVER, parent_id=CHANNEL, upload_bytes=1)
    with pytest.raises(Draining):
        await gate(queue).check_open(submission().model_copy(update={"channel": place}))


async def test_a_drain_elsewhere_is_nobodys_business_here(queue: JobQueue) -> None:
    await set_here(queue, channel_scope("99"), drained=True)
    await set_here(queue, guild_scope("6"), drained=True)

    await gate(queue).admit(asked(), ParallaxRequest())
    await gate(queue).check_open(submission())


async def test_a_system_that_is_not_allowed_is_refused_with_those_that_are(queue: JobQueue) -> None:
    await set_here(queue, systems=["parallax"])

    facts = await refused(SystemNotAllowed, gate(queue), asked(), SvdRequest())
    assert facts == {"system": "svd", "allowed": "parallax"}
    assert await gate(queue).best_system(asked()) is ParallaxRequest
    assert await gate(queue).best_system(asked(guild="6")) is SvdRequest


async def test_where_nothing_installed_is_allowed_the_front_door_says_so(queue: JobQueue) -> None:
    await online(queue, systems={"parallax": ()})
    await set_here(queue, systems=["svd"])

    with pytest.raises(SystemNotAllowed) as refusal:
        await gate(queue).best_system(asked())
    assert refusal.value.facts == {"system": "parallax", "allowed": "svd"}


# --- the channel for results ---


async def test_clips_go_to_the_channel_for_results_with_the_same_upload_limit(queue: JobQueue) -> None:
    await set_here(queue, results=RESULTS)
    found = gate(queue, rooms=lambda guild, channel: Room(channel, may_post=True, age_restricted=False))
    results = (await found.admit(asked(THREAD, parent=CHANNEL), ParallaxRequest())).results

    assert results is not None
    assert (results.id, results.guild_id, results.upload_bytes) == (RESULTS, SERVER, 10 * 2**20)
    assert (await found.admit(asked(RESULTS), ParallaxRequest())).results is None, "asked for there already"
    assert (await found.admit(asked(guild=None), ParallaxRequest())).results is None


@pytest.mark.parametrize("room", [None, Room(RESULTS, may_post=False, age_restricted=False)])
async def test_where_that_channel_cannot_be_reached_the_clip_comes_where_it_was_asked_for(
    queue: JobQueue, room: Room | None
) -> None:
    await set_here(queue, results=RESULTS)
    leave = await gate(queue, rooms=lambda *_: room).admit(asked(), ParallaxRequest())

    assert leave.results is None
    assert leave.said == (Note("results_unreachable", {"channel": "<#77>"}),)
    assert say(leave.said[0].code, leave.said[0].facts)


# --- nsfw ---


@pytest.mark.parametrize(
    ("asked_in", "posted_in", "hidden"),
    [(False, None, True), (True, None, False), (True, True, False), (True, False, True), (False, True, True)],
)
async def test_a_spoiler_hides_what_somebody_of_no_age_could_see(
    queue: JobQueue, asked_in: bool, posted_in: bool | None, hidden: bool
) -> None:
    """The status message stands where it was asked for, the clip where results go: either could be seen."""
    await set_here(queue, nsfw="spoiler", **({"results": RESULTS} if posted_in is not None else {}))
    rooms = gate(queue, rooms=lambda *_: Room(RESULTS, may_post=True, age_restricted=bool(posted_in)))
    leave = await rooms.admit(asked(age_restricted=asked_in), SvdRequest())

    assert leave.spoiler is hidden


async def test_what_needs_an_age_restricted_channel_is_refused_elsewhere(queue: JobQueue) -> None:
    await set_here(queue, nsfw="age-restricted", nsfw_systems=["svd"])

    assert await refused(NeedsAgeRestricted, gate(queue), asked(), SvdRequest()) == {"system": "svd"}
    assert not (await gate(queue).admit(asked(age_restricted=True), SvdRequest())).spoiler
    await gate(queue).admit(asked(), ParallaxRequest())


async def test_such_clips_are_not_posted_in_an_open_channel_for_results_either(queue: JobQueue) -> None:
    await set_here(queue, nsfw="age-restricted", results=RESULTS)
    into_open = gate(queue, rooms=lambda *_: Room(RESULTS, may_post=True, age_restricted=False))

    await refused(NeedsAgeRestricted, into_open, asked(age_restricted=True), SvdRequest())


# --- the clip itself ---


async def leave_for(queue: JobQueue, **values: Any) -> Leave:
    await set_here(queue, **values)
    return await gate(queue).admit(asked(), ParallaxRequest())


async def test_a_clip_may_be_just_as_long_as_the_limit(queue: JobQueue) -> None:
    leave = await leave_for(queue, seconds=3.0)
    leave.check_clip(recipe(ParallaxRequest(seconds=3.0)))
    with pytest.raises(ClipTooLong) as refusal:
        leave.check_clip(recipe(ParallaxRequest(seconds=3.04)))

    assert refusal.value.facts["most"] == 3.0
    assert "would last 3.04 seconds" in word(refusal.value), "not 3.0, which would be allowed"


async def test_a_frame_may_have_as_many_pixels_as_the_limit(queue: JobQueue) -> None:
    leave = await leave_for(queue, megapixels=0.93)
    leave.check_clip(recipe(ParallaxRequest()))
    with pytest.raises(FrameTooLarge) as refusal:
        leave.check_clip(recipe(ParallaxRequest(size=1080), Source(digest="0" * 64, width=1920, height=1080)))

    assert word(refusal.value).startswith("Each frame would have 2.07 megapixels")


async def test_frames_that_no_disk_holds_are_refused_before_they_are_made(queue: JobQueue) -> None:
    leave = await gate(queue).admit(asked(), ParallaxRequest())
    large = Source(digest="0" * 64, kind="clip", width=1024, height=576, num_frames=1800, fps=30)
    steps = (UpscaleRequest(factor="x4"),)
    with pytest.raises(ClipTooHeavy) as refusal:
        leave.check_clip(Recipe(sources={"clip": large}, steps=steps))

    assert "1800 frames of 4096 × 2304, 51 GB" in word(refusal.value)
    leave.check_clip(Recipe(sources={"clip": large.model_copy(update={"num_frames": 700})}, steps=steps))


async def test_seconds_and_megapixels_together_have_their_own_limit_and_what_is_said_would_do(queue: JobQueue) -> None:
    leave = await leave_for(queue, **{share_name(EVERYONE, "megapixel_seconds"): 2.0})
    with pytest.raises(ClipTooMuch) as refusal:
        leave.check_clip(recipe(ParallaxRequest(seconds=3.0)))
    said = word(refusal.value)

    assert "2.8 megapixel-seconds" in said
    assert "2.1 seconds" in said
    leave.check_clip(recipe(ParallaxRequest(seconds=2.1)))


async def test_the_usual_format_holds_where_nobody_chose_one(queue: JobQueue) -> None:
    leave = await leave_for(queue, format="gif")

    assert leave.output(Output()).format == "gif"
    assert leave.output(Output(format="mp4")).format == "mp4"
    assert (await gate(queue).admit(asked(guild="6"), ParallaxRequest())).output(Output()).format == "mp4"


async def test_terms_follow_the_roles_that_one_has_in_this_server(queue: JobQueue) -> None:
    await set_here(queue, **{share_name("71", "weight"): 3.0, share_name("71", "waiting"): 0})
    helper, other = [await gate(queue).terms(asked(roles=roles)) for roles in (("71",), ("72",))]

    assert (helper.weight, helper.waiting) == (3.0, 0)
    assert (other.weight, other.waiting) == (1.0, 10)
