"""Promise 2: whatever process dies at whatever instant, the clip comes, once."""

import asyncio
import io
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.aside import Aside
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Attachment
from tests.stack import Stack, running
from tests.tiny_models import write_usual

pytestmark = pytest.mark.timeout(150)
SLOW = {"num_inference_steps": 60, "num_frames": 8}


@pytest.fixture
async def server() -> AsyncIterator[LocalDiscord]:
    async with LocalDiscord() as server:
        yield server
        assert server.violations == []


@pytest.fixture
async def stack(server: LocalDiscord, tmp_path: Path) -> AsyncIterator[Stack]:
    write_usual(tmp_path / "models")
    async with running(server, tmp_path) as stack:
        yield stack


def picture(server: LocalDiscord) -> Attachment:
    data = io.BytesIO()
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(data, "PNG")
    return server.upload("picture.png", data.getvalue())


async def rendering(stack: Stack) -> None:
    """Wait until a status message shows steps."""
    await stack.until(lambda: any("rendering" in message.content for message in stack.server.bot_messages()))


@pytest.mark.slow
async def test_a_bot_killed_while_a_job_renders_posts_it_once_after_its_restart(
    server: LocalDiscord, stack: Stack
) -> None:
    asked = await (await server.slash("svd", server.user("ann"), image=picture(server), **SLOW)).answered()
    await rendering(stack)
    stack.bot.kill()
    await stack.bot.ended()
    await stack.worker.says("rendered")
    await stack.restart_bot()
    [clip] = await server.settled_clips(timeout=40)

    assert clip.nonce == asked.id
    pressed = await (await server.press(clip, server.user("ann"), "Again")).answered()
    assert "Queued" in pressed.text, "a button must work after a restart"
    await server.settled_clips(count=2, timeout=40)


@pytest.mark.slow
async def test_a_bot_killed_while_posting_posts_once(server: LocalDiscord, stack: Stack) -> None:
    asked = await (await server.slash("svd", server.user("ann"), image=picture(server), **SLOW)).answered()
    server.before_reply("POST", "/channels/*/messages", stack.bot.kill)  # Discord has it, the bot never hears
    await stack.bot.ended(60)
    assert len(server.clips()) == 1
    await stack.restart_bot()
    await stack.until(lambda: stack.bot.lines("delivered as message"))

    assert [clip.nonce for clip in await server.settled_clips(timeout=40)] == [asked.id]


@pytest.mark.slow
async def test_a_bot_killed_while_posting_and_away_for_long_still_posts_once(
    server: LocalDiscord, stack: Stack
) -> None:
    """Discord forgets nonces after some minutes; then the bot looks at the channel itself."""
    await (await server.slash("svd", server.user("ann"), image=picture(server), **SLOW)).answered()
    server.before_reply("POST", "/channels/*/messages", stack.bot.kill)
    await stack.bot.ended(60)
    server.advance(3600)
    [job_id] = await stack.queue.open_jobs()
    await stack.redis.hset(f"zoetrope:job:{job_id}", "ended_ms", 1)
    await stack.restart_bot()
    await stack.until(lambda: stack.bot.lines("delivered as message"))

    assert len(await server.settled_clips(timeout=40)) == 1


@pytest.mark.slow
async def test_a_torch_child_killed_once_is_replaced_and_the_clip_comes(server: LocalDiscord, stack: Stack) -> None:
    await (await server.slash("svd", server.user("ann"), image=picture(server), **SLOW)).answered()
    await rendering(stack)
    kill_child(stack)

    assert len(await server.settled_clips(timeout=60)) == 1
    assert "attempt 2" in stack.worker.text()


@pytest.mark.slow
async def test_a_torch_child_killed_three_times_ends_in_a_sentence_and_is_set_aside_for_the_owner(
    server: LocalDiscord, stack: Stack
) -> None:
    ann = server.user("ann")
    asked = await (
        await server.slash("svd", ann, image=picture(server), num_inference_steps=100, num_frames=50)
    ).answered()
    for attempt in (1, 2, 3):
        await stack.worker.says(f"attempt {attempt} on")
        await rendering(stack)
        while not (progress := (await stack.queue.job(asked.id)).progress) or progress.stage != "denoising":
            await asyncio.sleep(0.1)
        kill_child(stack)
    await stack.until(lambda: [message for message in server.bot_messages() if "broke down" in message.content])
    [told] = [message for message in server.bot_messages() if "broke down" in message.content]
    incident = told.content.rsplit("-# ", 1)[1]

    assert told.pinged == [ann]
    assert stack.worker.lines(incident)
    assert server.clips() == []
    [aside] = await Aside(stack.redis).all()
    assert (aside.job_id, aside.system, aside.incident) == (asked.id, "svd", incident)
    await (await server.slash("parallax", ann, image=picture(server), seconds=0.5)).answered()
    await server.settled_clips(timeout=60)


async def test_a_killed_workers_job_starts_again_elsewhere(server: LocalDiscord, stack: Stack) -> None:
    """Promise 3: within the lease and the pause between two looks, not after the render's whole time limit."""
    await (await server.slash("svd", server.user("ann"), image=picture(server), **SLOW)).answered()
    await rendering(stack)
    stack.worker.kill()
    await stack.worker.ended()
    await stack.worker.start()

    assert len(await server.settled_clips(timeout=60)) == 1
    assert stack.bot.lines("reconciled: recovered") or stack.worker.lines("reconciled: recovered")


@pytest.mark.slow
async def test_a_worker_told_to_stop_finishes_what_it_has_and_takes_nothing_more(
    server: LocalDiscord, stack: Stack
) -> None:
    ann = server.user("ann")
    await (await server.slash("svd", ann, image=picture(server), **SLOW)).answered()
    second = await (await server.slash("parallax", ann, image=picture(server), seconds=0.5)).answered()
    await rendering(stack)
    stack.worker.signal(signal.SIGTERM)
    await stack.worker.ended(45)
    waiting = await stack.queue.job(second.id)

    assert (waiting.state, waiting.attempts) == ("waiting", 0)
    assert len(await server.settled_clips(timeout=40)) == 1
    await stack.worker.start()
    await server.settled_clips(count=2, timeout=40)


@pytest.mark.slow
async def test_a_worker_told_to_stop_twice_gives_its_job_back_without_costing_a_try(
    server: LocalDiscord, stack: Stack
) -> None:
    asked = await (await server.slash("svd", server.user("ann"), image=picture(server), **SLOW)).answered()
    await rendering(stack)
    stack.worker.signal(signal.SIGTERM)
    await stack.worker.says("leaving")
    await stack.worker.stop()
    job = await stack.queue.job(asked.id)
    assert (job.state, job.attempts) == ("waiting", 0)
    await stack.worker.start()

    assert len(await server.settled_clips(timeout=60)) == 1


def kill_child(stack: Stack) -> None:
    """SIGKILL for the process that holds torch."""
    child = stack.worker.child("inference.child")
    assert child is not None
    child.kill()
