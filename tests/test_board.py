"""Acceptance: 200 messages live at once stay under Discord's limits, and none is older than 10 s behind the truth.

A real bot process, real Redis, the local Discord with its limits on; `tests/live.py` sets the scene, `tests/truth.py`
looks from outside. What people read is compared with the records several times a second.
"""

import asyncio
import logging
from pathlib import Path

import pytest

from tests.live import EDITS, POSTS, Evening, busiest, evening

log = logging.getLogger(__name__)

BEHIND_SECONDS = 10.0
STARTS_SECONDS = 15.0
"""A newcomer's message is there within this, among clips, in the one channel in which everything happens."""


async def watch(folder: Path, *, messages: int, channels: int, newcomers_every: float, seconds: float) -> Evening:
    """Let such an evening go on for so long, and hold it against the promise."""
    async with evening(folder, messages=messages, channels=channels) as scene:
        async with scene.crowd.at_work(newcomers_every=newcomers_every), scene.truth.watched():
            await asyncio.sleep(seconds)
        edits, posts = scene.requests(EDITS), scene.requests(POSTS)
        log.info("%d edits, %d posts, at most %d edits in 5 s", len(edits), len(posts), busiest(edits))
        log.info("behind the truth:\n%s", scene.truth.report())

        assert scene.truth.worst() <= BEHIND_SECONDS, scene.truth.report()
        assert scene.server.refused_for_haste() == []
        assert scene.server.violations == []
        await scene.stack.until(lambda: not scene.untold(), STARTS_SECONDS)
        statuses = [message.nonce for message in scene.server.world.messages() if (message.nonce or "").startswith("s")]
        assert sorted(statuses) == sorted(f"s{job_id}" for job_id in scene.crowd.asked), "one message each"
        assert scene.truth.samples > seconds, "it was not looked at often enough to say anything"
        assert len(scene.crowd.ended) > seconds / 5, "hardly anything happened"
        assert "done in" in said(scene)
        assert len(scene.crowd.asked) > messages
        return scene


def said(scene: Evening) -> str:
    """All that any message ever said."""
    return "\n".join(version.content for message in scene.server.world.messages() for version in message.edits)


@pytest.mark.timeout(60)
@pytest.mark.slow
async def test_sixty_messages_in_two_channels_are_kept_true(tmp_path: Path) -> None:
    await watch(tmp_path, messages=60, channels=2, newcomers_every=2.0, seconds=7)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_two_hundred_messages_in_five_channels_are_kept_true(tmp_path: Path) -> None:
    scene = await watch(tmp_path, messages=215, channels=5, newcomers_every=2.0, seconds=20)

    assert scene.truth.fewest_live >= 200
    assert "loading the model" in said(scene)
    assert "/12" in said(scene), "with a bar, where there is time for one"


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_two_hundred_messages_in_one_channel_are_kept_true(tmp_path: Path) -> None:
    """One channel takes about one edit a second; the ends of two workers that render for four seconds take half."""
    scene = await watch(tmp_path, messages=215, channels=1, newcomers_every=3.0, seconds=40)

    assert scene.truth.fewest_live >= 200
