"""Promise 3, between machines: a host that is cut off in mid-render loses its job to another, and comes back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.discord_server import LocalDiscord
from tests.hosts.lines import Net, namespaces, no_namespaces, relays
from tests.hosts.town import Town, picture, town
from tests.ports import free_port

LONG = {"num_inference_steps": 90, "num_frames": 8}
"""Some seconds of work on a CPU."""
PROMISED_SECONDS = 30.0
BACK_SECONDS = 15.0


@contextlib.asynccontextmanager
async def laid(how: str) -> AsyncIterator[Net]:
    """Hosts and lines, of one kind or the other."""
    if how == "loopback":
        async with relays(free_port()) as net:
            yield net
    elif reason := no_namespaces():
        pytest.skip(f"no network namespaces here: {reason}; the same is tried on loopback")
    else:
        with namespaces() as net:
            yield net


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("how", "lease_seconds", "back"), [("namespaces", 20, "early"), ("loopback", 5, "late")])
async def test_a_host_cut_off_in_mid_render_loses_its_job_and_comes_back(
    how: str, lease_seconds: int, back: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Back `early`, with its clip, while the other renders: its token alone gives it away; `late`, after the end."""
    async with (
        LocalDiscord() as server,
        laid(how) as net,
        town(net, tmp_path, server, lease_seconds) as here,
    ):
        took = await cut_off(here, server, early=back == "early")
        assert server.violations == []
        assert await here.refused() == [], "bot and workers have all the rights they need"
    with capsys.disabled():
        print(f"\n{how}, lease {lease_seconds} s:", *(f"{what} {s:.1f} s;" for what, s in took.items()))  # noqa: T201


async def cut_off(here: Town, server: LocalDiscord, *, early: bool) -> dict[str, float]:
    """The story; how long each part of it took."""
    took: dict[str, float] = {}
    ann = server.user("ann")
    asked = await (await server.slash("svd", ann, image=picture(server), **LONG)).answered()
    lost, other = await here.rendering(asked.id)
    fence = (await here.stack.queue.job(asked.id)).fence

    cut = time.monotonic()
    lost.host.cut()
    await asyncio.wait_for(here.until_held(asked.id, other), PROMISED_SECONDS)
    took["started elsewhere after"] = time.monotonic() - cut
    if early:
        await lost.says("not stored yet", seconds=60)  # it has rendered all of it, too
    else:
        await server.settled_clips(timeout=60)
    assert not lost.lines("lease was lost"), "it cannot know yet"
    mended = time.monotonic()
    lost.host.mend()
    await lost.says("lease was lost", seconds=BACK_SECONDS)
    took["fenced off after"] = time.monotonic() - mended
    if early:
        assert other.holds(await here.stack.queue.job(asked.id)), "the other has not ended yet"
    [clip] = await server.settled_clips(timeout=60)
    ended = await here.stack.queue.job(asked.id)
    assert ended.fence > fence, "the late attempt's token is an old one"
    assert ended.attempts == 1

    other.host.cut()
    wanted = time.monotonic()
    again = await (await server.slash("parallax", ann, image=picture(server), seconds=0.5)).answered()
    await lost.says(rf"\[{again.id}\] inference.worker: attempt 1 on", seconds=BACK_SECONDS)
    took["took the next job after"] = time.monotonic() - wanted
    clips = await server.settled_clips(count=2, timeout=30)
    other.host.mend()

    assert [each.nonce for each in clips] == [asked.id, again.id], "one end for each"
    assert clips[0].id == clip.id
    assert (await here.stack.queue.job(asked.id)).outcome == ended.outcome
    assert len(lost.lines(f"[{asked.id}] inference.worker: rendered")) == 0
    assert len(other.lines(f"[{asked.id}] inference.worker: rendered")) == 1
    assert len(lost.lines("is ready on")) == 1, "it came back without being started again"
    return took
