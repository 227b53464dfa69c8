"""What is kept for a while beside the records: jobs that were set aside, for the owner, and previews, for the asker."""

from jobs.aside import ASIDE, KEEP_SECONDS, MOST, Aside, SetAside
from jobs.previews import PREVIEW_SECONDS, Previews, preview_key
from jobs.queue import JobQueue


def died(job_id: str, at_ms: int = 1, log: str = "CUDA error") -> SetAside:
    return SetAside(job_id=job_id, system="svd", incident="abc234", log=log, at_ms=at_ms)


async def test_jobs_that_were_set_aside_are_read_newest_first_until_the_owner_has_seen_to_them(queue: JobQueue) -> None:
    aside = Aside(queue.redis)
    for job in (died("2", at_ms=20), died("3", at_ms=30), died("1", at_ms=10)):
        await aside.put(job)
    assert [job.job_id for job in await Aside(queue.redis).all()] == ["3", "2", "1"]
    await aside.forget("2")

    assert await aside.all() == [died("3", at_ms=30), died("1", at_ms=10)]
    assert 0 < await queue.redis.ttl(ASIDE) <= KEEP_SECONDS


async def test_the_oldest_make_room(queue: JobQueue) -> None:
    aside = Aside(queue.redis)
    for number in range(MOST + 3):
        await aside.put(died(str(number), at_ms=number))

    assert [job.job_id for job in await aside.all()] == [str(number) for number in range(MOST + 2, 2, -1)]


async def test_a_log_is_kept_without_the_secrets_in_it(queue: JobQueue) -> None:
    aside = Aside(queue.redis)
    await aside.put(died("1", log="connecting to redis://:hunter2@db:6379/0"))

    assert b"hunter2" not in await queue.redis.hget(ASIDE, "1")
    assert "db:6379" in (await aside.all())[0].log


async def test_what_another_version_set_aside_hides_nothing(queue: JobQueue) -> None:
    aside = Aside(queue.redis)
    await queue.redis.hset(ASIDE, "x", '{"from": "another version"}')
    await aside.put(died("1"))

    assert await aside.all() == [died("1")]


async def test_a_preview_is_the_newest_one_and_goes_by_itself(queue: JobQueue) -> None:
    previews = Previews(queue.redis)
    await previews.put("1", b"first")
    await previews.put("1", b"second")

    assert (await previews.get("1"), await previews.get("2")) == (b"second", None)
    assert 0 < await queue.redis.ttl(preview_key("1")) <= PREVIEW_SECONDS
    await previews.forget("1")
    assert await previews.get("1") is None
