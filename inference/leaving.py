"""How a worker leaves: told once, it takes no more jobs and finishes what it has; told again, it lets go at once."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

LOOK_SECONDS = 0.1


class Leaving:
    """What the signals say. SIGTERM asks; a second one, or SIGINT (somebody at the keyboard), does not wait."""

    def __init__(self, stop_seconds: float) -> None:
        """`stop_seconds` is how long the jobs in hand may take from the first word on."""
        self.stop_seconds = stop_seconds
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def listen(self) -> None:
        """Take the process's signals."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.ask)
        loop.add_signal_handler(signal.SIGINT, self.hurry)

    def ask(self) -> None:
        """SIGTERM came."""
        if self.asked.is_set():
            self.at_once.set()
        self.asked.set()

    def hurry(self) -> None:
        """Leave now, whatever is unfinished."""
        self.asked.set()
        self.at_once.set()

    async def finished(self, busy: Callable[[], bool]) -> bool:
        """Wait for the jobs in hand. False where they are to be given back: time is up, or was cut short."""
        end = time.monotonic() + self.stop_seconds
        while busy() and not self.at_once.is_set() and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.at_once.wait(), LOOK_SECONDS)
        return not busy()
