"""What the bot does all the time beside answering: named loops that begin again, whatever ends one."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from bot.meters import Meters
from jobs.queue import REDIS_AWAY

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LATELY_SECONDS = 15.0
"""Who failed so lately counts as failing."""
SILENT_SECONDS = 30.0
"""A beat comes every few seconds; without one for so long the chores hang."""


class Chores:
    """A bot whose chores have stopped looks alive and is not: so they never stop, and say when something is wrong."""

    def __init__(self, meters: Meters) -> None:
        self.meters = meters
        self._tasks: list[asyncio.Task[None]] = []
        self._failed_at: dict[str, float] = {}
        self._beaten_at = time.monotonic()

    def begin(self, chores: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """Run each from now on."""
        self._beaten_at = time.monotonic()
        self._tasks += [asyncio.create_task(self._for_ever(*chore), name=chore[0]) for chore in chores.items()]

    def beat(self) -> None:
        """Called every few seconds by one of them, when it got through."""
        self._beaten_at = time.monotonic()

    async def end(self) -> None:
        """Stop all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def complaint(self) -> str | None:
        """What is wrong with them, for /healthz."""
        now = time.monotonic()
        if not self._tasks:
            return "they have not begun"
        if stopped := [task.get_name() for task in self._tasks if task.done()]:
            return f"stopped: {', '.join(stopped)}"
        if failing := [name for name, at in self._failed_at.items() if now - at < LATELY_SECONDS]:
            return f"failing, see the log: {', '.join(failing)}"
        silent = now - self._beaten_at
        return f"nothing was reconciled for {silent:.0f} s" if silent > SILENT_SECONDS else None

    async def _for_ever(self, name: str, chore: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await chore()
            except REDIS_AWAY as error:
                log.warning("%s waits for Redis: %s", name, error)
            except Exception:
                log.exception("%s begins again", name)
                self._failed_at[name] = time.monotonic()
                self.meters.chore_failures.labels(name).inc()
            await asyncio.sleep(PAUSE_SECONDS)
