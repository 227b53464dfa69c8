"""A queue on a real Redis server, and jobs to put into it, for tests."""

import contextlib
from collections.abc import AsyncIterator

from jobs.fair import FairLine
from jobs.queue import JobQueue, connect
from jobs.recipe import Recipe, Source
from jobs.record import Channel, Job, Lease, Person, Rendered, ResultFile, Submission
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from jobs.terms import Terms

ANN = "7"
DIGEST = "0" * 64
CLIP = Rendered(
    files=(
        ResultFile(
            digest=DIGEST, name="clip.mp4", media_type="video/mp4",
            size_bytes=9, width=64, height=48, num_frames=12, fps=24.0,
        ),
    ),
    seconds=1.5,
    facts={"model": "svd-xt"},
)  # fmt: skip
"""An end as good as any."""


@contextlib.asynccontextmanager
async def empty_queue(url: str) -> AsyncIterator[JobQueue]:
    """A queue on the server at `url`, from which everything was taken before."""
    redis = await connect(url)
    try:
        await redis.flushall()
        yield JobQueue(redis)
    finally:
        await redis.aclose()


def submission(
    job_id: str = "1001",
    *,
    person: str = ANN,
    name: str = "ann",
    guild: str | None = "5",
    channel: str = "55",
    step: ParallaxRequest | SvdRequest | None = None,
    cost_ms: int = 10_000,
    **terms: float,
) -> Submission:
    """What ann asks: a camera move over a picture."""
    return Submission(
        id=job_id,
        recipe=Recipe(
            sources={"image": Source(digest=DIGEST, width=64, height=48)}, steps=(step or ParallaxRequest(),)
        ),
        requester=Person(id=person, name=name),
        channel=Channel(id=channel, guild_id=guild, upload_bytes=10 * 2**20),
        accepted_ms=1,
        estimate_ms=cost_ms,
        terms=Terms.model_validate(terms),
    )


def dying(queue: JobQueue) -> JobQueue:
    """The same queue as seen by a process that dies at once: every lease it takes has run out by now."""
    return JobQueue(queue.redis, lease_seconds=0, attempts=queue.attempts, lost_leases=queue.lost_leases)


async def lose_arqs_keys(queue: JobQueue, job_id: str) -> None:
    """What arq does to a job it finds expired or undecodable: its keys are gone, and no hook of ours ran."""
    for arq_id in (job_id, f"deliver-{job_id}"):
        for name in ("zoetrope:renders", "zoetrope:deliveries"):
            await queue.redis.zrem(name, arq_id)
        await queue.redis.delete(f"arq:job:{arq_id}", f"arq:retry:{arq_id}")


async def waiting_in_order(queue: JobQueue) -> list[str]:
    """Ids of the waiting jobs in the order in which one worker for everything would start them."""
    line = await queue.line()
    fair = FairLine.of(line)
    kinds = {job.kind for job in line.waiting}
    return [job.id for job in iter(lambda: fair.take(kinds), None)]


async def arq_would_start(queue: JobQueue, name: str, arq_id: str) -> bool:
    """Whether an arq worker that polls the set `name` now would start this job."""
    score = await queue.redis.zscore(name, arq_id)
    body = await queue.redis.exists(f"arq:job:{arq_id}")
    hidden = await queue.redis.exists(f"arq:in-progress:{arq_id}")
    return bool(score) and bool(body) and not hidden


async def running(queue: JobQueue, job_id: str = "1001") -> Lease:
    """A job that a worker holds."""
    await queue.enqueue(submission(job_id))
    lease = await queue.claim(job_id, "w1")
    assert lease is not None
    return lease


async def ended(queue: JobQueue, job_id: str = "1001") -> Job:
    """A job whose end nobody has heard of."""
    await queue.settle(await running(queue, job_id), CLIP)
    return await queue.job(job_id)
