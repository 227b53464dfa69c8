"""What lies in Redis: read by arq's own worker, never a pickle, and nothing that stays for ever unseen."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from arq.worker import Worker, func

from bot.uploads import Uploads
from jobs.queue import DELIVERIES, RENDERS, JobQueue, connect, deserialize, serialize
from jobs.record import Progress, State
from jobs.workers import Advert, Workers
from tests.queued import CLIP, submission

ALWAYS_KEPT = {"zoetrope:open", "zoetrope:ticket", "zoetrope:workers", "zoetrope:media", RENDERS, DELIVERIES}
"""The line itself, names of workers, which go when their adverts have, and of files, which go when they are swept.

Every other key expires, or belongs to a job that is open.
"""
OF_OPEN_JOBS = re.compile(
    r"zoetrope:(waiting|running|ended|held|heads|tags(:5)?|kinds:5|guilds:parallax|people:5:parallax"
    r"|line:5:[78]:parallax|refs:0{64}|history:[78]|job:[12]|person:[78])"
)
"""What the line of servers, people and kinds consists of, as long as there is one."""

ArqFunction = Callable[[Mapping[str, Any], str], Awaitable[None]]


async def consume(url: str, queue_name: str, name: str, function: ArqFunction) -> Worker:
    """Let an arq worker run until its set is empty."""
    redis = await connect(url)
    worker = Worker(
        [func(function, name=name, keep_result=0, max_tries=10**6)],
        queue_name=queue_name,
        redis_pool=redis,
        burst=True,
        handle_signals=False,
        poll_delay=0.02,
        job_serializer=serialize,
        job_deserializer=deserialize,
    )
    try:
        await worker.async_run()
    finally:
        await redis.aclose()
    return worker


async def lasting(queue: JobQueue) -> set[str]:
    """Keys without an expiry."""
    keys = [key.decode() for key in await queue.redis.keys("*")]
    return {key for key in keys if await queue.redis.ttl(key) == -1}


async def values(queue: JobQueue) -> list[bytes]:
    """Every byte string that is stored anywhere, keys' members and fields included."""
    found: list[bytes] = []
    for key in await queue.redis.keys("*"):
        match (await queue.redis.type(key)).decode():
            case "string":
                found.append(await queue.redis.get(key))
            case "hash":
                found += [part for pair in (await queue.redis.hgetall(key)).items() for part in pair]
            case "set":
                found += await queue.redis.smembers(key)
            case "zset":
                found += await queue.redis.zrange(key, 0, -1)
            case kind:
                raise AssertionError(f"{key!r} is a {kind}, which nobody here writes")
    return found


async def test_arqs_own_worker_renders_and_delivers_what_our_scripts_wrote(url: str, queue: JobQueue) -> None:
    ids = ["1003", "1001", "1002-1"]
    rendered: list[str] = []
    delivered: list[str] = []

    async def render(_: Mapping[str, Any], job_id: str) -> None:
        lease = await queue.claim(job_id, "w1")
        assert lease is not None
        rendered.append(job_id)
        await queue.settle(lease, CLIP)

    async def deliver(_: Mapping[str, Any], job_id: str) -> None:
        delivered.append(job_id)
        await queue.close(job_id, f"9{job_id}")

    for job_id in ids:
        await queue.enqueue(submission(job_id))
    renders = await consume(url, RENDERS, "render", render)
    deliveries = await consume(url, DELIVERIES, "deliver", deliver)

    assert (sorted(rendered), sorted(delivered)) == (sorted(ids), sorted(ids))
    assert (renders.jobs_complete, renders.jobs_failed, renders.jobs_retried) == (3, 0, 0)
    assert (deliveries.jobs_complete, deliveries.jobs_failed, deliveries.jobs_retried) == (3, 0, 0)
    assert [(await queue.job(job_id)).state for job_id in ids] == [State.CLOSED] * 3
    assert await lasting(queue) - ALWAYS_KEPT == set()


async def test_a_worker_of_arqs_own_serves_fairly_from_its_set(url: str, queue: JobQueue) -> None:
    """The set holds what is next, under the tags: 7 has asked four times before 8 asked once."""
    started: list[str] = []

    async def render(_: Mapping[str, Any], job_id: str) -> None:
        lease = await queue.claim(job_id, "w1")
        assert lease is not None
        started.append(job_id)
        await queue.settle(lease, CLIP)

    for job_id in ("30", "4", "100", "22"):
        await queue.enqueue(submission(job_id, person="7"))
    await queue.enqueue(submission("5", person="8"))
    await consume(url, RENDERS, "render", render)

    assert started == ["30", "5", "4", "100", "22"]


async def test_a_job_that_arq_dropped_unseen_is_run_after_reconciling(url: str, queue: JobQueue) -> None:
    """arq finds the job's key gone, logs 'expired' and forgets the job; the record does not."""
    started: list[str] = []

    async def render(_: Mapping[str, Any], job_id: str) -> None:
        started.append(job_id)

    await queue.enqueue(submission())
    await queue.redis.delete("arq:job:1001")
    assert (await consume(url, RENDERS, "render", render)).jobs_failed == 1
    assert started == []
    assert await queue.reconcile() == {"requeued": ["1001"]}
    await consume(url, RENDERS, "render", render)

    assert started == ["1001"]


async def test_nothing_in_redis_is_a_pickle(url: str, queue: JobQueue) -> None:
    """A pickle of protocol 2 or later begins with 0x80, which no UTF-8 text does."""

    async def broken(_: Mapping[str, Any], job_id: str) -> None:
        raise ValueError(f"arq would keep this error of {job_id} as its result")

    await queue.enqueue(submission("1"))
    await queue.enqueue(submission("2", name="Ж 🎞️"))
    await consume(url, RENDERS, "render", broken)
    await queue.reconcile()
    lease = await queue.claim("1", "w1")
    assert lease is not None
    await queue.settle(lease, CLIP)
    stored = await values(queue)

    assert len(stored) > 20
    for value in stored:
        value.decode("utf-8")
    for key in await queue.redis.keys("arq:job:*"):
        assert set(json.loads(await queue.redis.get(key))) == {"t", "f", "a", "k", "et"}


async def test_every_key_expires_or_belongs_to_an_open_job(url: str, queue: JobQueue) -> None:
    inside: list[set[str]] = []

    async def render(_: Mapping[str, Any], job_id: str) -> None:
        lease = await queue.claim(job_id, "w1")
        assert lease is not None
        await queue.report(lease, Progress(job_id=job_id, stage="depth"))
        inside.append(await lasting(queue))
        await queue.settle(lease, CLIP)

    await Workers(queue.redis).advertise(Advert(worker="w1", host="h", device="cpu"))
    await Uploads(queue.redis, 10.0).refused("5", 9_000_000)
    await queue.enqueue(submission("1", person="7"))
    await queue.enqueue(submission("2", person="8"))
    await queue.cancel("2", "8")
    await queue.delivering("2", begins=True)
    await consume(url, RENDERS, "render", render)
    inside.append(await lasting(queue))
    for keys in inside:
        assert {key for key in keys - ALWAYS_KEPT if not OF_OPEN_JOBS.fullmatch(key)} == set()
    for job_id in ("1", "2"):
        await queue.close(job_id, "900")

    assert await lasting(queue) - ALWAYS_KEPT == set()
    assert await queue.open_jobs() == []


async def test_a_workers_name_goes_when_its_advert_has(queue: JobQueue) -> None:
    workers = Workers(queue.redis)
    for name in ("left", "died", "lives"):
        await workers.advertise(Advert(worker=name, host="h", device="cpu"))
    await workers.leave("left")
    await queue.redis.delete("zoetrope:worker:died")  # as it expires

    assert [advert.worker for advert in await workers.online()] == ["lives"]
    assert await queue.redis.smembers("zoetrope:workers") == {b"lives"}
