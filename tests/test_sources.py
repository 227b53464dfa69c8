"""Attachments are looked at side by side, so that nobody's heavy file keeps others waiting."""

import asyncio
from typing import Any, cast

import pytest

from bot.sources import DECODERS, Bringer, Sources
from jobs.settings import LimitSettings


class Slow(Sources):
    """Clips take until they are told; pictures are there at once."""

    def __init__(self) -> None:
        super().__init__(*cast(Any, (None, None, None)), LimitSettings())
        self.go_on, self.looking = asyncio.Event(), 0
        self._takers = {"image": self._at_once, "clip": self._slowly}

    async def _slowly(self, bringer: Bringer, attachment: Any) -> Any:
        async with self._decoders["clip"]:
            self.looking += 1
            await self.go_on.wait()

    async def _at_once(self, bringer: Bringer, attachment: Any) -> Any:
        async with self._decoders["image"]:
            return None


@pytest.fixture
def sources() -> Slow:
    return Slow()


async def test_heavy_clips_do_not_keep_pictures_waiting_and_one_person_looks_at_one_at_a_time(sources: Slow) -> None:
    attachment = cast(Any, None)
    heavy = [
        asyncio.create_task(sources.fetch(Bringer(str(number), person), "clip", attachment))
        for number, person in enumerate(["ann"] * 4 + ["ben"] * 2)
    ]
    await asyncio.sleep(0.05)
    assert sources.looking == DECODERS == 2, "one of ann's, one of ben's"

    async with asyncio.timeout(1):
        await sources.fetch(Bringer("9", "cleo"), "image", attachment)
    sources.go_on.set()
    await asyncio.gather(*heavy)
    assert sources.looking == 6
