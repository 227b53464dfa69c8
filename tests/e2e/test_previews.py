"""While a clip is rendered its status message shows how it looks so far; afterwards only the clip is there."""

import asyncio
import io
import time

import pytest
from PIL import Image

from bot.painting import PREVIEW_NAME
from inference.serve import PREVIEW_SECONDS
from jobs.previews import preview_key
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Attachment
from tests.e2e.conftest import Room
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

LONG = {"num_inference_steps": 100, "num_frames": 50}
"""A render of tens of seconds on a CPU: a tiny checkpoint is usually done before the first preview is due."""


async def previewed(room: Room) -> tuple[Asked, Attachment]:
    """A render under way, and the picture under its status message."""
    await worker_shows_previews(room.stack, shows=True)
    asked = await room.slash("svd", image=room.picture(), **LONG)
    await room.stack.until(lambda: room.status().attachments, 60)
    [shown] = room.status().attachments
    return asked, shown


async def stopped(room: Room) -> None:
    """Nobody needs the clip."""
    await (await room.server.press(room.status(), room.person, "Cancel")).answered()
    await room.stack.until(lambda: "cancelled" in room.status().content, 20)
    await room.settled()


async def worker_shows_previews(stack: Stack, *, shows: bool) -> None:
    """Start the worker again where its owner had it the other way."""
    name, value = "ZOETROPE_WORKER__PREVIEWS", str(shows).lower()
    if stack.worker.environment.get(name, "true") != value:
        stack.worker.environment[name] = value
        await stack.worker.stop()
        await stack.worker.start()
        await stack.worker_ready()


async def test_a_render_under_way_shows_small_pictures_that_are_gone_at_the_end(room: Room) -> None:
    asked, shown = await previewed(room)
    picture = Image.open(io.BytesIO(shown.data))

    assert shown.filename == PREVIEW_NAME
    assert picture.format == "WEBP"
    assert max(picture.size) == 256
    assert shown.size < 64 * 1024
    assert "svd render so far" in (shown.description or "")
    assert "rendering" in room.status().content

    await room.stack.until(lambda: [each.id for each in room.status().attachments] != [shown.id], 30)
    [newer] = room.status().attachments
    assert newer.data != shown.data

    await stopped(room)
    assert room.status().attachments == []
    assert not await room.stack.redis.exists(preview_key(asked.id))


async def test_the_owner_can_switch_previews_off(room: Room) -> None:
    await worker_shows_previews(room.stack, shows=False)
    asked = await room.slash("svd", image=room.picture(), **LONG)
    await room.stack.until(lambda: "rendering" in room.status().content)
    until = time.monotonic() + PREVIEW_SECONDS + 2
    while time.monotonic() < until:
        assert not await room.stack.redis.exists(preview_key(asked.id))
        await asyncio.sleep(0.1)

    assert "rendering" in room.status().content, "the render was over too soon for this to mean anything"
    assert all(version.attachments == [] for version in room.status().versions)
    await stopped(room)
