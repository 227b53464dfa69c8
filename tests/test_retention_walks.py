"""Whatever intake, workers, sweepers and people do in whatever order: an open job's files are there, others go."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import sampled_from

from console.redis_server import embedded_redis
from jobs.queue import JobQueue, NoSuchJob, connect
from jobs.recipe import Recipe, Source
from jobs.record import Lease, Rendered, State
from jobs.retention import HOLD_SECONDS, MEDIA, Retention
from jobs.terms import Terms
from media.store import MediaStore, digest_of
from tests.queued import CLIP, submission

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
PEOPLE = ("700000000000000007", "800000000000000008")
CONTENTS = (b"one", b"two")
"""So few that pictures of several people, and clips, are often the same bytes."""
STEPS = sampled_from([0, 1, 2, 3, 3, 3])
"""Hold, store, tell the queue."""
WHICH = sampled_from(range(6))
KEEP_SECONDS = 86_400.0
FOREVER = 9 * 10**15


@dataclass
class Storing:
    """Somebody on the way to storing something for a job: an asker's picture, or an attempt's clip."""

    job_id: str
    person: str
    data: bytes
    lease: Lease | None
    held: bool = False
    stored: bool = False
    forgotten: bool = False
    """Meanwhile they said "forget me": the bot looks again before it enqueues."""


@dataclass
class Deleting:
    """A sweeper with the permission to delete."""

    retention: Retention
    digest: str
    gone: bool = False


class Walk(RuleBasedStateMachine):
    """Two people, two sweepers, a worker; on one real queue and one store."""

    def __init__(self, run: Run[Any], queue: JobQueue) -> None:
        super().__init__()
        self.run = run
        self.queue = queue
        self.store = MediaStore(f"memory://{uuid.uuid4()}")
        self.retention = Retention(queue.redis)
        self.storing: list[Storing] = []
        self.deleting: list[Deleting] = []
        self.needs: dict[str, set[bytes]] = {}
        """What each open job must find in the store."""
        self.asked = 0
        run(queue.redis.flushall())

    @rule(person=sampled_from(PEOPLE), data=sampled_from(CONTENTS), steps=STEPS)
    def ask(self, person: str, data: bytes, steps: int) -> None:
        """Somebody sends a picture, and the bot gets so far with it for now."""
        self.asked += 1
        self.storing.append(Storing(str(self.asked), person, data, None))
        for _ in range(steps):
            self.go_on(-1)

    @rule(data=sampled_from(CONTENTS), steps=STEPS)
    def render(self, data: bytes, steps: int) -> None:
        """A worker takes a job, makes a clip, and gets so far with it for now."""
        if lease := self.run(self.queue.take("w", ["parallax"])):
            self.storing.append(Storing(lease.job_id, "", data, lease))
            for _ in range(steps):
                self.go_on(-1)

    @rule(person=sampled_from(PEOPLE), data=sampled_from(CONTENTS))
    def ask_and_end_long_ago(self, person: str, data: bytes) -> None:
        """The picture is known, and due as far as this job goes."""
        self.ask(person, data, 3)
        if str(self.asked) in self.needs:
            self.run(self.queue.cancel(str(self.asked), person))
            assert self.run(self.queue.close(str(self.asked), "900"))
            del self.needs[str(self.asked)]
        self.run(self.grow_older(KEEP_SECONDS, holds=False))

    @precondition(lambda self: self.storing)
    @rule(which=WHICH)
    def go_on(self, which: int) -> None:
        """One of them makes its next step: hold, store, and only then tell the queue."""
        one = self.storing[which % len(self.storing)]
        if not one.held:
            one.held = self.run(self.retention.try_hold(one.job_id, digest_of(one.data), person=one.person))
            assert one.held != any(deleting.digest == digest_of(one.data) for deleting in self.deleting)
        elif not one.stored:
            self.run(self.store.put(one.data))
            one.stored = True
        else:
            self.storing.remove(one)
            self.run(self.settle(one, one.lease) if one.lease else self.enqueue(one))

    async def enqueue(self, one: Storing) -> None:
        """As the bot does it: hold once more, look, and only then tell the queue."""
        digest = digest_of(one.data)
        if not await self.retention.try_hold(one.job_id, digest) or not await self.store.exists(digest):
            assert one.forgotten, "it was held all the time"
            return
        source = Source(digest=digest_of(one.data), width=64, height=48)
        asked = submission(one.job_id, person=one.person)
        recipe = Recipe(sources={"image": source}, steps=asked.recipe.steps)
        await self.queue.enqueue(asked.model_copy(update={"recipe": recipe, "terms": Terms(waiting=0)}))
        self.needs[one.job_id] = {one.data}

    async def settle(self, one: Storing, lease: Lease) -> None:
        """As the worker does it."""
        file = CLIP.files[0].model_copy(update={"digest": digest_of(one.data)})
        await self.queue.settle(lease, Rendered(files=(file,), seconds=1.0))
        if (await self.queue.job(one.job_id)).state is State.RENDERED:
            self.needs[one.job_id].add(one.data)

    @precondition(lambda self: self.storing)
    @rule(which=WHICH)
    def give_up(self, which: int) -> None:
        """A bot dies before it accepted, a worker before it settled; its lease runs out."""
        one = self.storing.pop(which % len(self.storing))
        if one.lease:
            self.run(self.queue.release(one.lease, free=True))

    @precondition(lambda self: self.needs)
    @rule(which=WHICH)
    def close(self, which: int) -> None:
        """A job ends, by its requester's Cancel where it waits, and the channel hears of it."""
        job_id = sorted(self.needs)[which % len(self.needs)]
        self.run(self.queue.cancel(job_id, "moderator", moderator=True))
        if self.run(self.queue.close(job_id, "900")):
            del self.needs[job_id]

    @rule(person=sampled_from(PEOPLE))
    def forget(self, person: str) -> None:
        """Somebody wants to be forgotten; what that leaves is due for the sweepers."""
        self.run(self.retention.forget(person))
        for one in self.storing:
            one.forgotten |= one.person == person

    @rule(data=sampled_from(CONTENTS))
    def begin_to_delete(self, data: bytes) -> None:
        """A sweeper gets to a file, due or not."""
        sweeper, digest = Retention(self.queue.redis), digest_of(data)
        if self.run(sweeper.may_sweep(digest, KEEP_SECONDS)):
            assert not any(deleting.digest == digest for deleting in self.deleting), "one at a time"
            self.deleting.append(Deleting(sweeper, digest))

    @rule(data=sampled_from(CONTENTS))
    def delete_at_once(self, data: bytes) -> None:
        """The same without anything in between."""
        before = len(self.deleting)
        self.begin_to_delete(data)
        for _ in range(2 * (len(self.deleting) - before)):
            self.delete(-1)

    @precondition(lambda self: self.deleting)
    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        """The file goes, or the word that it is gone."""
        one = self.deleting[which % len(self.deleting)]
        if one.gone:
            self.deleting.remove(one)
            self.run(one.retention.swept(one.digest))
        else:
            one.gone = self.run(self.store.delete(one.digest))

    @precondition(lambda self: self.deleting)
    @rule(which=WHICH)
    def die_while_deleting(self, which: int) -> None:
        """A sweeper ends before or after the file is gone; its permission runs out."""
        one = self.deleting.pop(which % len(self.deleting))
        self.run(self.queue.redis.delete(f"zoetrope:sweeping:{one.digest}"))

    @rule()
    def find(self) -> None:
        """A sweeper looks through the store."""
        for data in CONTENTS:
            if self.run(self.store.exists(digest_of(data))):
                self.run(self.retention.found(digest_of(data), 1))

    @rule(seconds=sampled_from([KEEP_SECONDS * 0.6, KEEP_SECONDS + HOLD_SECONDS]))
    def let_pass(self, seconds: float) -> None:
        """Nobody takes hours between hold and acceptance: whoever was at it is gone."""
        while self.storing:
            self.give_up(0)
        self.run(self.grow_older(seconds))

    async def grow_older(self, seconds: float, *, holds: bool = True) -> None:
        """What Redis remembers of the store is so much longer ago."""
        redis = self.queue.redis
        most = FOREVER if holds else (time.time() + 1) * 1000
        for key in [MEDIA.encode(), *await redis.keys("zoetrope:refs:*"), *await redis.keys("zoetrope:history:*")]:
            for member, score in await redis.zrange(key, 0, -1, withscores=True):
                if 0 < score < most:
                    await redis.zadd(key, {member: score - seconds * 1000})

    @rule()
    def records_expire(self) -> None:
        """All closed jobs were closed long ago."""
        for number in range(1, self.asked + 1):
            with contextlib.suppress(NoSuchJob):
                if self.run(self.queue.job(str(number))).state is State.CLOSED:
                    self.run(self.queue.redis.delete(f"zoetrope:job:{number}"))

    @invariant()
    def what_is_needed_is_there(self) -> None:
        """For open jobs, and for whoever stored something and will say so in a moment."""
        needed = {data for needs in self.needs.values() for data in needs}
        for data in needed | {one.data for one in self.storing if one.stored and not one.forgotten}:
            assert self.run(self.store.exists(digest_of(data)))

    def teardown(self) -> None:
        """In the end everybody has gone, and so has everything."""
        while self.deleting:
            self.die_while_deleting(0)
        while self.storing:
            self.give_up(0)
        for job_id in list(self.needs):
            self.run(self.queue.cancel(job_id, "moderator", moderator=True))
            assert self.run(self.queue.close(job_id, "900"))
        self.needs.clear()
        self.find()
        self.let_pass(KEEP_SECONDS + HOLD_SECONDS)
        for person in PEOPLE:
            self.forget(person)
        for digest in self.run(self.retention.due(KEEP_SECONDS)):
            self.begin_to_delete(next(data for data in CONTENTS if digest_of(data) == digest))
        while self.deleting:
            self.delete(0)
        for data in CONTENTS:
            assert not self.run(self.store.exists(digest_of(data)))
        assert self.run(self.queue.redis.keys("zoetrope:brought:*")) == []
        assert self.run(self.lasting()) == set()

    async def lasting(self) -> set[bytes]:
        """Keys of ours that never expire."""
        redis = self.queue.redis
        keys = {MEDIA.encode(), *await redis.keys("zoetrope:refs:*"), *await redis.keys("zoetrope:history:*")}
        return {key for key in keys if await redis.ttl(key) == -1}


@pytest.mark.timeout(400)  # seconds where it passes; hypothesis takes minutes to find the shortest way to a failure
def test_whatever_happens_in_whatever_order_open_jobs_keep_their_files_and_nothing_stays(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        rooms = contextlib.AsyncExitStack()
        try:
            url = runner.run(rooms.enter_async_context(embedded_redis(tmp_path)))
            queue = JobQueue(runner.run(connect(url)))
            rooms.push_async_callback(queue.redis.aclose)
            runner.run(queue.redis.config_set("appendfsync", "no"))  # thousands of writes, none to outlive a power cut
            run_state_machine_as_test(
                lambda: Walk(runner.get_loop().run_until_complete, queue),
                settings=settings(
                    max_examples=100, stateful_step_count=60, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
        finally:
            runner.run(rooms.aclose())
