"""A worker that is told to leave finishes what it has if it is quick about it; told twice, it does not wait."""

import asyncio
import os
import signal
import time

import pytest

from inference.leaving import Leaving


async def test_what_is_in_hand_is_waited_for() -> None:
    leaving, in_hand = Leaving(stop_seconds=30), ["job"]
    asyncio.get_running_loop().call_later(0.3, in_hand.clear)

    assert await leaving.finished(lambda: bool(in_hand))


async def test_what_takes_too_long_is_given_back() -> None:
    begun = time.monotonic()

    assert not await Leaving(stop_seconds=0.3).finished(lambda: True)
    assert time.monotonic() - begun < 5


async def test_told_twice_it_does_not_wait() -> None:
    leaving = Leaving(stop_seconds=3600)
    leaving.ask()
    assert not leaving.at_once.is_set()
    asyncio.get_running_loop().call_later(0.2, leaving.ask)

    assert not await asyncio.wait_for(leaving.finished(lambda: True), 10)


@pytest.mark.parametrize(("number", "hurries"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
async def test_somebody_at_the_keyboard_is_in_a_hurry_and_a_supervisor_is_not(number: int, hurries: bool) -> None:
    leaving = Leaving(stop_seconds=3600)
    leaving.listen()
    try:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(leaving.asked.wait(), 5)
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(name)

    assert leaving.at_once.is_set() is hurries
