"""The sweeper: what nobody used for some days leaves the store, and so does what nobody knows.

The bot runs it as a chore, one of all bots at a time. It works on whatever fsspec reaches: it deletes one file at a
time and lists one of the store's 256 shelves with each turn.
"""

import asyncio
import itertools
import logging
import random
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.retention import SWEEP_SECONDS, Forgotten, Retention
from media.store import SHELVES, MediaStore, Stored

log = logging.getLogger(__name__)

PAUSE_SECONDS = 60.0
"""Between two turns; 256 of them go once around the store."""
TURN_SECONDS = 300.0
"""A turn with very much to delete stops here and goes on with the next."""
DELETE_SECONDS = SWEEP_SECONDS / 2
"""A deletion that has not begun so long after its permission is left: the permission may be over when it arrives."""
REFUSALS = 5
"""A turn in which the store refuses so often ends: it may be away."""
PART_SECONDS = 86_400
"""A file that was not written to its end and is so old was left by a process that was killed."""
COPY_SECONDS = 86_400
"""A worker's own copy of an input that nobody asked for so long makes room."""


@dataclass(frozen=True)
class Swept:
    """What one turn did."""

    deleted: int = 0
    found: int = 0
    """Files that nobody knew; they are deleted when they are old enough."""


class Sweeper:
    """Deletes from one store what is past its time."""

    def __init__(self, retention: Retention, store: MediaStore, keep_seconds: float) -> None:
        self.retention = retention
        self.store = store
        self.keep_seconds = keep_seconds
        start = random.randrange(len(SHELVES))
        self._shelves = itertools.cycle((*SHELVES[start:], *SHELVES[:start]))
        self.deleted = 0
        """Files deleted since this process began."""

    async def run(self) -> None:
        """Sweep for ever; whoever runs this starts it again when Redis or the store was away."""
        while True:
            if await self.retention.appointed(round(2 * PAUSE_SECONDS)):
                await self.turn()
            await asyncio.sleep(PAUSE_SECONDS)

    async def turn(self) -> Swept:
        """Delete what is due, then look through one shelf for what nobody knows."""
        swept = Swept(await self._delete_due(), await self._look_through(next(self._shelves)))
        if swept != Swept():
            log.info("swept: %d files deleted, %d found that nobody knew", swept.deleted, swept.found)
        return swept

    async def forget(self, person_id: str) -> tuple[Forgotten, int]:
        """Delete the records of a person's closed jobs and the files that nobody else uses, and count the files."""
        forgotten = await self.retention.forget(person_id)
        deleted = [await self._delete(digest) for digest in forgotten.orphans]
        log.info(
            "forgotten at their wish: %d jobs, %d files, %d jobs later", forgotten.jobs, sum(deleted), forgotten.later
        )
        return forgotten, sum(deleted)

    async def _delete_due(self) -> int:
        deleted, refused, until = 0, 0, time.monotonic() + TURN_SECONDS
        while time.monotonic() < until and refused < REFUSALS:
            before = deleted
            for digest in await self.retention.due(self.keep_seconds):
                try:
                    deleted += await self._delete(digest)
                except OSError as error:
                    log.warning("the store does not delete %s: %s", digest, error)
                    refused += 1
            if deleted == before:  # nothing is due, or what is due is held
                break
        return deleted

    async def _delete(self, digest: str) -> bool:
        """Delete one file, unless somebody uses it, or is about to.

        Raises:
            OSError: the store does not do it.
        """
        deadline = time.monotonic() + DELETE_SECONDS
        if not await self.retention.may_sweep(digest, self.keep_seconds):
            return False
        gone = False
        try:
            gone = await self.store.delete(digest, deadline)
        finally:
            await (self.retention.swept(digest) if gone else self.retention.kept(digest, self.keep_seconds))
        self.deleted += gone
        return gone

    async def _look_through(self, shelf: str) -> int:
        found = 0
        for stored in await self.store.shelf(shelf):
            if stored.is_part:
                await self._drop_part(stored)
            elif stored.digest:
                found += await self.retention.found(stored.digest, stored.written_ms)
        return found

    async def _drop_part(self, stored: Stored) -> None:
        if time.time() - stored.written_ms / 1000 > PART_SECONDS:
            await self.store.delete_part(stored)


async def drop_copies(retention: Retention, cache: Path) -> int:
    """Delete a worker's own copies of inputs that left the store, or that no job here needed for a day."""
    copies = [path for path in await asyncio.to_thread(lambda: list(cache.glob("*"))) if len(path.name) == 64]
    known = await retention.known(*(path.name for path in copies))
    dropped = [path for path, kept in zip(copies, known, strict=True) if not kept or _idle_seconds(path) > COPY_SECONDS]
    for path in dropped:
        path.unlink(missing_ok=True)
    return len(dropped)


def _idle_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
