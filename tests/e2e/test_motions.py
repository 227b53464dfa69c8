"""A motion that somebody teaches is theirs: used by its name, shared, deleted. The bot is real, the test the worker."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobs.motions import Motions
from jobs.record import Job, Lease, Rendered, State
from tests.discord_server.model import Attachment, Message, User
from tests.e2e.advertised import believing
from tests.e2e.conftest import Room
from tests.odd_clips import quarters, video
from tests.queued import CLIP
from tests.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CHECKPOINTS = ("stable-diffusion-v1-5", "animatediff-v3", "animatediff-v15-v2")
SYSTEMS: dict[str, tuple[str, ...]] = {"animatediff": CHECKPOINTS, "learnmotion": CHECKPOINTS}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with believing(tmp_path_factory.mktemp("stack"), SYSTEMS) as stack:
        yield stack


def clip(room: Room) -> Attachment:
    """Two seconds in which something moves."""
    return room.server.upload("moves.mp4", video(pictures=[quarters(shift=2 * number) for number in range(20)]))


async def asked_to_learn(room: Room, name: str, user: User | None = None, **options: object) -> Job:
    """Somebody shows a clip; the job."""
    asked = await room.slash("learnmotion", user, clip=clip(room), save_as=name, **options)
    return await room.stack.queue.job(asked.id)


async def taught(room: Room, job: Job, data: bytes = b"what was learned") -> Message:
    """The worker's part, and what is posted then."""
    await settle(room, job, data)
    return await posted(room, job)


async def settle(room: Room, job: Job, data: bytes | None = None) -> None:
    queue, store = room.stack.queue, room.stack.store
    lease = await queue.claim(job.id, "w1")
    assert lease is not None
    digest = await store.put(b"the clip of " + job.id.encode())
    files = tuple(file.model_copy(update={"digest": digest}) for file in CLIP.files)
    motion = None if data is None else await store.put(data)
    await queue.settle(lease, Rendered(files=files, seconds=1.0, motion=motion, motion_bytes=len(data or b"")))


async def posted(room: Room, job: Job) -> Message:
    """Its final message, once the job is closed."""
    while (await room.stack.queue.job(job.id)).state is not State.CLOSED:
        await asyncio.sleep(0.05)
    [message] = [each for each in room.server.bot_messages(room.channel) if each.nonce == job.id]
    return message


async def animated(room: Room, user: User | None = None, **options: object) -> Job:
    """Somebody uses a motion; the job."""
    asked = await room.slash("animatediff", user, prompt="a paper boat", **options)
    assert "Queued" in asked.text, asked.text
    return await room.stack.queue.job(asked.id)


async def offered(room: Room, command: str, option: str, typed: str, user: User | None = None) -> list[str]:
    """What a person is offered while they type."""
    asked = await room.server.autocomplete(
        command, user or room.person, focused=option, value=typed, channel=room.channel
    )
    await asked.answered()
    return [choice["value"] for choice in asked.choices or ()]


async def test_what_one_teaches_is_used_by_its_name_by_oneself_and_by_whom_it_is_shared_with(room: Room) -> None:
    other = room.server.user("fan")
    job = await asked_to_learn(room, "my  Spin")
    message = await taught(room, job)
    assert "`/animatediff motion:my Spin`" in message.text

    assert await offered(room, "animatediff", "motion", "SPI") == ["my Spin"]
    assert await offered(room, "animatediff", "motion", "", other) == []
    mine = await animated(room, motion="MY spin")
    [step], sources = mine.submission.recipe.steps, mine.submission.recipe.sources
    assert (getattr(step, "motion", ""), getattr(step, "module", "")) == ("my Spin", "v3")
    assert await room.stack.store.get(sources["my Spin"].digest) == b"what was learned"

    refused = await room.slash("animatediff", other, prompt="a sea", motion="my spin")
    assert "no motion “my spin”" in refused.text
    assert "server" in (await room.slash("motion share", name="my spin")).text
    theirs = await animated(room, other, motion="my spin")
    assert theirs.submission.recipe.sources == sources
    assert "`my Spin`: for module v3" in (await room.slash("motion list", other)).text
    assert await offered(room, "motion unshare", "name", "my", other) == ["my Spin"]
    assert "Only whoever shared" in (await room.slash("motion unshare", other, name="my spin")).text

    assert "no motion of this server any more" in (await room.slash("motion unshare", name="my spin")).text
    assert "is deleted" in (await room.slash("motion delete", name="my spin")).text
    assert "no motions yet" in (await room.slash("motion list")).text
    await settle(room, theirs)
    pressed = await (await room.server.press(await posted(room, theirs), room.person, "Again")).answered(20)
    assert "Queued" in pressed.text, "a job's own sources go on"


async def test_what_does_not_go_with_a_motion_is_said_before_it_waits(room: Room) -> None:
    await taught(room, await asked_to_learn(room, "nod", module="v15-v2"))
    plain = await animated(room, motion="nod")
    wrong = await room.slash("animatediff", prompt="a sea", motion="nod", module="v3")
    pinned = await room.slash("animatediff", prompt="a sea", motion="nod", image=room.picture())
    taken = await room.slash("animatediff", prompt="a sea", motion="image", image=room.picture())
    bad = await room.slash("learnmotion", clip=clip(room), save_as="@everyone")

    assert getattr(plain.submission.recipe.lead, "module", "") == "v15-v2"
    assert "was learned for the motion module v15-v2" in wrong.text
    assert "SparseCtrl" in pinned.text
    assert "no motion “image”" in taken.text
    assert "nod" in taken.text
    assert "cannot be the name of a motion" in bad.text


async def test_another_motion_is_chosen_in_the_form_and_the_old_one_is_no_source_any_more(room: Room) -> None:
    await taught(room, await asked_to_learn(room, "nod"), b"nod")
    await taught(room, await asked_to_learn(room, "wave"), b"wave")
    job = await animated(room, motion="nod")
    await settle(room, job)
    form = await (await room.server.press(await posted(room, job), room.person, "Remix…")).answered(20)
    others = "model: stable-diffusion-v1-5\nmodule: v3\nmotion: Wave\nmotion_scale: 1\nnum_frames: 8"
    changed = await (await room.server.submit_modal(form, room.person, {"others": others})).answered(20)
    remixed = (await room.stack.queue.job(changed.id)).submission.recipe

    assert list(remixed.sources) == ["wave"]
    assert await room.stack.store.get(remixed.sources["wave"].digest) == b"wave"


@pytest.mark.slow
async def test_a_bot_killed_while_posting_keeps_the_motion_once_and_says_the_same(room: Room) -> None:
    await taught(room, await asked_to_learn(room, "spin"), b"before")
    job = await asked_to_learn(room, "spin")
    room.server.before_reply("POST", f"/channels/{room.channel.id}/messages", room.stack.bot.kill)
    await settle(room, job, b"after")
    await room.stack.bot.ended(60)
    await Motions(room.stack.redis).delete(f"person:{room.person.id}", "spin")  # as they might by another bot
    await room.stack.restart_bot()
    message = await posted(room, job)

    assert "in place of the one" in message.text
    assert await Motions(room.stack.redis).all(f"person:{room.person.id}") == []
    assert "Kept as `spin`" in (await room.slash("motion keep", job=job.id)).text
    [motion] = await Motions(room.stack.redis).all(f"person:{room.person.id}")
    assert await room.stack.store.get(motion.digest) == b"after"


async def test_a_bug_does_not_keep_the_clip_back_and_the_motion_is_kept_later(room: Room) -> None:
    job = await asked_to_learn(room, "spin")
    key = f"zoetrope:motions:person:{room.person.id}"
    await room.stack.redis.set(key, "no hash")
    message = await taught(room, job)
    await room.stack.redis.delete(key)
    assert f"`/motion keep job:{job.id}` tries once more" in message.text

    assert "Kept as `spin`" in (await room.slash("motion keep", job=job.id)).text
    assert await offered(room, "motion delete", "name", "") == ["spin"]


async def test_nobody_keeps_what_anothers_job_learned_and_forget_me_takes_all(room: Room) -> None:
    other = room.server.user("thief")
    job = await asked_to_learn(room, "spin")
    await taught(room, job, b"a dance")
    await room.slash("motion share", name="spin")
    assert "taught you no motion" in (await room.slash("motion keep", other, job=job.id)).text
    [motion] = await Motions(room.stack.redis).all(f"person:{room.person.id}")
    [page] = (await room.slash("privacy")).shown
    assert "**Motions** that you taught" in page.text
    for label in ("Forget me…", "Yes, forget me"):
        await (await room.server.press(page, room.person, label)).answered(20)

    assert not await room.stack.store.exists(motion.digest)
    assert "no motions yet" in (await room.slash("motion list", other)).text


async def test_a_cancel_that_came_first_leaves_no_motion(room: Room) -> None:
    job = await asked_to_learn(room, "spin")
    lease = await room.stack.queue.claim(job.id, "w1")
    assert isinstance(lease, Lease)
    await room.stack.queue.cancel(job.id, str(room.person.id))
    motion = await room.stack.store.put(b"too late")
    await room.stack.queue.settle(lease, CLIP.model_copy(update={"motion": motion}))
    message = await posted(room, job)

    assert "was cancelled" in message.text
    assert "no motions yet" in (await room.slash("motion list")).text
