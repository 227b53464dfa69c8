"""The picture of a render under way, as the bot shows it: small, hidden where the job is, and never believed unseen.

The bot process, Redis and Discord are real (the latter local); the worker is the test's own hand.
"""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from PIL import Image

from bot.painting import PREVIEW_NAME
from bot.previews import MOST_BYTES, MOST_SIDE, newest
from jobs.previews import Previews
from jobs.record import Job, Lease, Progress
from tests.crowd import Crowd
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Attachment, Message
from tests.queued import CLIP, submission
from tests.stack import Stack, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with LocalDiscord() as server, running(server, tmp_path_factory.mktemp("stack"), worker=False) as stack:
        yield stack
        assert server.violations == []


def picture(kind: str = "WEBP", size: tuple[int, int] = (256, 144), colour: str = "teal") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, kind)
    return data.getvalue()


def noise(side: int) -> bytes:
    data = io.BytesIO()
    Image.effect_noise((side, side), 100).convert("RGB").save(data, "PNG")
    return data.getvalue()


@dataclass
class Render:
    """A job that this test renders by hand, in a channel of its own."""

    stack: Stack
    job: Job
    lease: Lease
    status: Message
    steps: int = 0

    async def step(self, preview: bytes | None = None) -> None:
        """One step more, with a picture; wait until the message tells of it."""
        self.steps += 1
        if preview:
            await Previews(self.stack.redis).put(self.job.id, preview)
        progress = Progress(job_id=self.job.id, stage="denoising", step=self.steps, total=25)
        await self.stack.queue.report(self.lease, progress)
        await self.stack.until(lambda: f"{self.steps}/25" in self.status.content, 20)

    async def end(self) -> None:
        """The clip is there (its file is not: nobody looks at it here)."""
        await Previews(self.stack.redis).forget(self.job.id)
        digest = await self.stack.store.put(b"a clip")
        files = tuple(file.model_copy(update={"digest": digest}) for file in CLIP.files)
        await self.stack.queue.settle(self.lease, CLIP.model_copy(update={"files": files}))
        await self.stack.until(lambda: "done in" in self.status.content, 20)

    @property
    def shown(self) -> list[Attachment]:
        """What hangs under the message."""
        return self.status.attachments


async def begun(stack: Stack, *, spoiler: bool = False) -> Render:
    """A job of which the message shows the first step."""
    channel = stack.server.add_channel("room")
    asking = Crowd(stack.queue, stack.store, stack.server, [channel]).next_submission()
    job = await stack.queue.enqueue(asking.model_copy(update={"spoiler": spoiler}))
    lease = await stack.queue.claim(job.id, "by hand")
    assert lease is not None
    await stack.until(lambda: stack.server.bot_messages(channel))
    render = Render(stack, job, lease, stack.server.bot_messages(channel)[0])
    await render.step()
    return render


async def test_a_preview_hangs_under_the_message_until_the_end(stack: Stack) -> None:
    """What is no picture is left out, and the words come without it."""
    render = await begun(stack)
    await render.step(b"GIF89a, or so it says")
    assert render.shown == []
    assert stack.bot.lines("a preview that is no small picture was left out")
    await render.step(picture())
    [shown] = render.shown

    assert shown.filename == PREVIEW_NAME
    assert Image.open(io.BytesIO(shown.data)).size == (256, 144)
    await render.step()
    assert render.shown == [shown], "where there is no newer one, it stays"
    await render.end()
    assert render.shown == []


async def test_a_preview_of_a_job_that_stands_hidden_is_hidden(stack: Stack) -> None:
    render = await begun(stack, spoiler=True)
    await render.step(picture())

    assert [shown.filename for shown in render.shown] == [f"SPOILER_{PREVIEW_NAME}"]
    await render.end()


async def test_where_discord_refuses_the_picture_the_words_still_come(stack: Stack) -> None:
    render = await begun(stack)
    edits = f"/channels/{render.status.channel.id}/messages/*"
    stack.server.faults.add("PATCH", edits, status=413)
    await render.step(picture())
    await render.step(picture(colour="red"))

    assert render.shown == [], "it is not offered again and again"
    assert len([call for call in stack.server.requests("PATCH", edits) if call.files]) == 1
    await render.end()


async def test_a_bot_that_comes_back_takes_away_what_hung_there(stack: Stack) -> None:
    render = await begun(stack)
    await render.step(picture())
    stack.bot.kill()
    await stack.bot.ended()
    await stack.queue.release(render.lease, free=True)
    await stack.restart_bot()
    await stack.until(lambda: "queued" in render.status.content, 20)
    assert render.shown == []

    again = await stack.queue.claim(render.job.id, "by hand")
    assert again is not None
    render.lease = again
    await render.end()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 99, noise(300), picture(size=(MOST_SIDE + 1, 8)), picture("TIFF"), picture()[:-20]],
    ids=["nothing", "no picture", "too many bytes", "too wide", "another format", "cut off"],
)
async def test_what_is_not_believed(stack: Stack, data: bytes) -> None:
    assert len(noise(300)) > MOST_BYTES
    job = Job(submission=submission("77"), state="running")
    await Previews(stack.redis).put(job.id, data)

    assert await newest(Previews(stack.redis), job) is None


async def test_nothing_but_pixels_is_passed_on(stack: Stack) -> None:
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    Image.new("RGB", (64, 48), "teal").save(data, "WEBP", exif=exif)
    job = Job(submission=submission("78"), state="running")
    await Previews(stack.redis).put(job.id, data.getvalue())
    preview = await newest(Previews(stack.redis), job)

    assert preview is not None
    assert b"a secret" in data.getvalue()
    assert b"a secret" not in preview.webp
    assert await newest(Previews(stack.redis), job, but_not=preview.mark) is None, "it hangs there already"
