"""Jobs a second through our whole queue path beside plain arq, in the same run and on the same Redis.

    python -m benchmarks.queue                        # 100 to 100,000 waiting; some minutes
    python -m benchmarks.queue --waiting 100 10000 --jobs 500

A job of ours is admitted, ordered, taken in its turn, started by arq, settled and handed to the bot; one of plain arq
is enqueued, started and finished. Neither does any work. Both have ten places and as many jobs waiting behind the
measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from arq.connections import ArqRedis
from arq.worker import Worker, func

from console.redis_server import embedded_redis
from inference.slot import GpuWorker, Slot, ticket
from jobs.queue import DELIVERIES, RENDERS, JobQueue, connect, deserialize, serialize
from jobs.record import Lease, Submission
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from tests.queued import CLIP, submission

PLACES = 10
PEOPLE, GUILDS = 1000, 10
STEPS = (ParallaxRequest(), SvdRequest(), SvdRequest(model="svd-xt"))
KINDS = tuple(step.kind for step in STEPS)
PLAIN = "plain:arq"
POLL_SECONDS = 0.05
AT_ONCE = 200
"""Jobs that are asked for at once while the line is filled."""


@dataclass(frozen=True)
class Pace:
    """Jobs a second."""

    admit: float
    """Into the line."""
    serve: float
    """From the line to the end."""

    @property
    def whole(self) -> float:
        """Through both."""
        return 1 / (1 / self.admit + 1 / self.serve)


def asked(number: int, chance: random.Random) -> Submission:
    """Somebody of a thousand people on ten servers asks for one of three kinds."""
    person = chance.randrange(PEOPLE)
    return submission(
        str(number), person=str(person), guild=str(person % GUILDS), step=chance.choice(STEPS),
        cost_ms=chance.randint(1_000, 120_000), waiting=0,
    )  # fmt: skip


async def each(count: int, act: Callable[[int], Awaitable[object]], at_once: int) -> float:
    """Jobs a second of `count` acts, so many at a time."""
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            await act(number)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return count / (time.perf_counter() - start)


async def served(workers: list[Worker], done: asyncio.Event, count: int) -> float:
    """Jobs a second until `done`."""
    start = time.perf_counter()
    tasks = [asyncio.create_task(worker.async_run()) for worker in workers]
    await done.wait()
    took = time.perf_counter() - start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for worker in workers:
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    return count / took


class Counted:
    """Sets `done` at the last job."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done = asyncio.Event()

    def one(self) -> None:
        """One more."""
        self.left -= 1
        if self.left == 0:
            self.done.set()


async def plain(redis: ArqRedis, waiting: int, count: int) -> Pace:
    """arq as its documentation has it, with JSON instead of pickle."""

    async def admit(number: int) -> None:
        await redis.enqueue_job("render", str(number), _job_id=str(number), _queue_name=PLAIN)

    await redis.flushall()
    await each(waiting, admit, AT_ONCE)
    pace = await each(count, lambda number: admit(waiting + number), PLACES)
    counted = Counted(count)

    async def render(_: Mapping[str, Any], job_id: str) -> None:
        counted.one()

    worker = Worker(
        [func(cast(Any, render), name="render", keep_result=0, max_tries=10**6)],
        queue_name=PLAIN, redis_pool=redis, max_jobs=PLACES, poll_delay=POLL_SECONDS, handle_signals=False,
        job_serializer=serialize, job_deserializer=deserialize,
    )  # fmt: skip
    return Pace(pace, await served([worker], counted.done, count))


class Place:
    """One of ten GPUs, each with arq's worker as Zoetrope runs it."""

    def __init__(self, queue: JobQueue, counted: Counted, number: int) -> None:
        self.queue = queue
        self.counted = counted
        self.name = f"w{number}"
        self.slot = Slot()
        self.leases: dict[str, Lease] = {}
        self.warm = [KINDS[number % len(KINDS)]]

    def worker(self) -> Worker:
        """arq's."""
        return GpuWorker(
            [func(cast(Any, self.render), name="render", keep_result=0, max_tries=10**6)],
            slot=self.slot, take=self.take, queue_name=RENDERS, redis_pool=self.queue.redis, max_jobs=2,
            poll_delay=POLL_SECONDS, handle_signals=False, job_serializer=serialize, job_deserializer=deserialize,
        )  # fmt: skip

    async def take(self) -> Lease | None:
        """The next job for this place."""
        lease = await self.queue.take(self.name, KINDS, self.warm, slack_ms=20_000)
        if lease:
            self.leases[lease.job_id] = lease
        return lease

    async def render(self, _: Mapping[str, Any], job_id: str) -> None:
        """No work, but everything else: the end is written, charged and handed to the bot."""
        lease = self.leases.pop(job_id)
        self.slot.free(ticket.get())
        await self.queue.settle(lease, CLIP, gpu_ms=5_000)
        self.counted.one()


async def ours(redis: ArqRedis, waiting: int, count: int) -> tuple[Pace, float]:
    """Our path; and the deliveries a second that the bot's consumer can then start and close."""
    chance, queue = random.Random(1), JobQueue(redis)
    await redis.flushall()

    async def admit(number: int) -> None:
        await queue.enqueue(asked(number, chance))

    await each(waiting, admit, AT_ONCE)
    pace = await each(count, lambda number: admit(waiting + number), PLACES)
    counted = Counted(count)
    serving = await served([Place(queue, counted, n).worker() for n in range(PLACES)], counted.done, count)
    return Pace(pace, serving), await delivered(queue)


async def delivered(queue: JobQueue) -> float:
    """The bot's side, without Discord: arq starts a delivery, it is held, and the job is closed."""
    count = int(await queue.redis.zcard(DELIVERIES))
    counted = Counted(count)

    async def deliver(_: Mapping[str, Any], job_id: str) -> None:
        await queue.delivering(job_id, begins=True)
        await queue.close(job_id, "1")
        counted.one()

    worker = Worker(
        [func(cast(Any, deliver), name="deliver", keep_result=0, max_tries=10**6)],
        queue_name=DELIVERIES, redis_pool=queue.redis, max_jobs=8, poll_delay=POLL_SECONDS, handle_signals=False,
        job_serializer=serialize, job_deserializer=deserialize,
    )  # fmt: skip
    return await served([worker], counted.done, count)


async def measure(sizes: list[int], count: int, rounds: int) -> None:
    """Print a row for each size: the best of some rounds, in turns."""
    print(f"{count} jobs measured behind so many waiting, {PEOPLE} people on {GUILDS} servers, best of {rounds}.\n")
    print("| waiting | plain arq jobs/s | ours jobs/s | ratio | ours: admit /s | serve /s | bot: deliveries /s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_redis(Path(folder)) as url:
            redis = await connect(url)
            await redis.config_set("appendfsync", "everysec")
            for waiting in sizes:
                plains: list[Pace] = []
                fairs: list[tuple[Pace, float]] = []
                for number in range(rounds):
                    print(f"{waiting} waiting, round {number + 1}", file=sys.stderr, flush=True)
                    plains.append(await plain(redis, waiting, count))
                    fairs.append(await ours(redis, waiting, count))
                best = max(plains, key=lambda pace: pace.whole)
                fair, deliveries = max(fairs, key=lambda pair: pair[0].whole)
                print(
                    f"| {waiting:,} | {best.whole:.0f} | {fair.whole:.0f} | {fair.whole / best.whole:.2f} "
                    f"| {fair.admit:.0f} | {fair.serve:.0f} | {deliveries:.0f} |",
                    flush=True,
                )
            with contextlib.suppress(Exception):
                await redis.aclose()


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.waiting, arguments.jobs, arguments.rounds))


if __name__ == "__main__":
    main()
