"""Inputs live until their job is closed; what nobody used for long, or what somebody wants forgotten, goes alone."""

import asyncio
import hashlib
import os
import time
import uuid
from pathlib import Path

import pytest

from jobs.queue import JobQueue, NoSuchJob
from jobs.recipe import Recipe, Source
from jobs.record import Job, Lease, Rendered, State
from jobs.retention import AGAIN_SECONDS, HOLD_SECONDS, MEDIA, Retention
from media.store import SHELVES, MediaStore, digest_of
from media.sweep import COPY_SECONDS, PART_SECONDS, Sweeper, drop_copies
from tests.queued import CLIP, submission

ANN, BOB = "700000000000000007", "800000000000000008"
DAY = 86_400.0
PICTURE, CLIP_BYTES = b"a picture", b"a clip"


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    return MediaStore(str(tmp_path / "media") if request.param == "folder" else f"memory://{uuid.uuid4()}")


@pytest.fixture
def sweeper(queue: JobQueue, store: MediaStore) -> Sweeper:
    return Sweeper(Retention(queue.redis), store, keep_seconds=DAY)


async def accepted(queue: JobQueue, store: MediaStore, job_id: str, *, person: str = ANN, data: bytes = PICTURE) -> Job:
    """As the bot's intake does it: hold, store, enqueue."""
    await Retention(queue.redis).hold(job_id, digest_of(data))
    source = Source(digest=await store.put(data), width=64, height=48)
    asked = submission(job_id, person=person)
    recipe = Recipe(sources={"image": source}, steps=asked.recipe.steps)
    return await queue.enqueue(asked.model_copy(update={"recipe": recipe}))


async def rendered(queue: JobQueue, store: MediaStore, job_id: str, data: bytes = CLIP_BYTES) -> None:
    """As the worker does it: claim, hold, store, settle."""
    lease = await queue.claim(job_id, "w1")
    assert lease is not None
    await settled(queue, store, lease, data)


async def settled(queue: JobQueue, store: MediaStore, lease: Lease, data: bytes) -> None:
    await Retention(queue.redis).hold(lease.job_id, digest_of(data))
    digest = await store.put(data)
    file = CLIP.files[0].model_copy(update={"digest": digest})
    await queue.settle(lease, Rendered(files=(file,), seconds=1.0))


async def closed(queue: JobQueue, store: MediaStore, job_id: str, *, person: str = ANN, data: bytes = PICTURE) -> None:
    """A job from acceptance to the end that the channel heard of; its clip has its own bytes."""
    await accepted(queue, store, job_id, person=person, data=data)
    await rendered(queue, store, job_id, f"the clip of {job_id}".encode())
    assert await queue.close(job_id, "900")


async def let_pass(queue: JobQueue, seconds: float) -> None:
    """Make everything that Redis remembers of the store so much older."""
    keys = [MEDIA.encode(), *await queue.redis.keys("zoetrope:refs:*"), *await queue.redis.keys("zoetrope:history:*")]
    for key in keys:
        for member, score in await queue.redis.zrange(key, 0, -1, withscores=True):
            if 0 < score < 10**14:
                await queue.redis.zadd(key, {member: score - seconds * 1000})


async def files_of(store: MediaStore) -> set[str]:
    """Digests of everything that lies in the store."""
    return {stored.digest for shelf in SHELVES for stored in await store.shelf(shelf)}


async def test_a_job_that_waits_for_months_keeps_its_picture(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await accepted(queue, store, "1")
    await let_pass(queue, 200 * DAY)
    await sweeper.turn()

    assert await store.get(digest_of(PICTURE)) == PICTURE


async def test_a_clip_that_nobody_could_post_yet_stays(queue: JobQueue, store: MediaStore, sweeper: Sweeper) -> None:
    await accepted(queue, store, "1")
    await rendered(queue, store, "1")
    await let_pass(queue, 200 * DAY)
    await sweeper.turn()

    assert await files_of(store) == {digest_of(PICTURE), digest_of(CLIP_BYTES)}


async def test_pictures_and_clips_go_some_time_after_the_job_was_closed(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await closed(queue, store, "1")
    await let_pass(queue, 0.9 * DAY)
    assert (await sweeper.turn()).deleted == 0
    assert len(await files_of(store)) == 2
    await let_pass(queue, 0.2 * DAY)
    assert (await sweeper.turn()).deleted == 2

    assert await files_of(store) == set()
    assert await queue.redis.keys("zoetrope:refs:*") == []
    assert await queue.redis.exists(MEDIA) == 0


async def test_the_last_job_that_used_a_picture_counts(queue: JobQueue, store: MediaStore, sweeper: Sweeper) -> None:
    await closed(queue, store, "1")
    await let_pass(queue, 0.9 * DAY)
    await closed(queue, store, "2", person=BOB)
    await let_pass(queue, 0.9 * DAY)
    await sweeper.turn()

    assert await files_of(store) == {digest_of(PICTURE), digest_of(b"the clip of 2")}


async def test_a_job_that_was_given_up_before_it_was_accepted_keeps_nothing(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    """The picture was stored, and then the person had too many jobs."""
    await Retention(queue.redis).hold("1", digest_of(PICTURE))
    await store.put(PICTURE)
    await let_pass(queue, DAY)
    await sweeper.turn()
    assert await files_of(store) == {digest_of(PICTURE)}, "the hold is not over for a day yet"
    await let_pass(queue, HOLD_SECONDS + 60)
    await sweeper.turn()

    assert await files_of(store) == set()


async def test_who_stores_the_same_bytes_waits_until_they_are_swept(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    digest, retention = digest_of(PICTURE), sweeper.retention
    await closed(queue, store, "1")
    await let_pass(queue, 2 * DAY)
    assert await retention.may_sweep(digest, DAY)
    asking = asyncio.create_task(accepted(queue, store, "2", person=BOB))
    await asyncio.sleep(0.2)
    assert not asking.done()
    assert await store.delete(digest)
    await retention.swept(digest)
    await asking

    assert await store.get(digest) == PICTURE


async def test_a_sweeper_that_died_holds_up_nobody_for_long(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    digest = digest_of(PICTURE)
    await closed(queue, store, "1")
    await let_pass(queue, 2 * DAY)
    assert await sweeper.retention.may_sweep(digest, DAY)
    mark = f"zoetrope:sweeping:{digest}"
    assert 0 < await queue.redis.pttl(mark) <= 30_000
    await queue.redis.pexpire(mark, 1)  # its time is over
    await accepted(queue, store, "2")

    assert not await sweeper.retention.swept(digest), "its word comes too late"
    assert not await sweeper.retention.may_sweep(digest, DAY)


async def test_a_deletion_that_comes_too_late_is_left(store: MediaStore) -> None:
    await store.put(PICTURE)

    assert not await store.delete(digest_of(PICTURE), deadline=time.monotonic() - 0.001)
    assert await store.exists(digest_of(PICTURE))
    assert await store.delete(digest_of(PICTURE), deadline=time.monotonic() + 60)
    assert not await store.exists(digest_of(PICTURE))


async def test_a_file_that_nobody_knows_goes_when_it_is_old(
    queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that was lost, or a version before this one: the store's own dates count."""
    store = MediaStore(str(tmp_path))
    old, new = await store.put(b"old"), await store.put(b"new")
    path = tmp_path / old[:2] / old[2:4] / old
    os.utime(path, (time.time() - 2 * DAY, time.time() - 2 * DAY))
    sweeper = Sweeper(Retention(queue.redis), store, keep_seconds=DAY)
    turns = [await sweeper.turn() for _ in range(len(SHELVES) + 1)]

    assert sum(turn.found for turn in turns) == 2
    assert await files_of(store) == {new}


async def test_what_is_not_ours_stays_and_what_a_dead_writer_left_goes(queue: JobQueue, tmp_path: Path) -> None:
    store = MediaStore(str(tmp_path))
    shelf = tmp_path / SHELVES[7]
    shelf.mkdir()
    for name, age in {".part-old": 2 * PART_SECONDS, ".part-new": 1.0, "notes.txt": 400 * DAY}.items():
        (shelf / name).write_bytes(b"x")
        os.utime(shelf / name, (time.time() - age, time.time() - age))
    sweeper = Sweeper(Retention(queue.redis), store, keep_seconds=DAY)
    for _ in SHELVES:
        await sweeper.turn()

    assert {path.name for path in shelf.iterdir()} == {".part-new", "notes.txt"}


async def test_a_user_whose_record_was_lost_does_not_keep_a_file_for_ever(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await accepted(queue, store, "1")
    await queue.redis.delete("zoetrope:job:1")
    for _ in SHELVES:
        await sweeper.turn()
    assert await store.exists(digest_of(PICTURE)), "a day is given, as after a job that was closed"
    await let_pass(queue, 1.1 * DAY)
    await sweeper.turn()

    assert await files_of(store) == set()


async def test_a_store_that_does_not_delete_is_asked_again(
    queue: JobQueue, tmp_path: Path, sweeper: Sweeper, store: MediaStore
) -> None:
    """A folder stands where a file should, as a disk's error would; the rest is deleted all the same."""
    local = MediaStore(str(tmp_path / "stuck"))
    await closed(queue, local, "1")
    digest = digest_of(PICTURE)
    place = tmp_path / "stuck" / digest[:2] / digest[2:4] / digest
    place.unlink()
    (place / "inside").mkdir(parents=True)
    await let_pass(queue, 2 * DAY)
    stuck = Sweeper(sweeper.retention, local, DAY)
    assert (await stuck.turn()).deleted == 1
    assert await queue.redis.exists(f"zoetrope:sweeping:{digest}") == 0
    assert (await stuck.turn()).deleted == 0, "not before an hour is over"
    (place / "inside").rmdir()
    place.rmdir()
    await let_pass(queue, AGAIN_SECONDS + 60)
    assert (await stuck.turn()).deleted == 1

    assert await queue.redis.exists(MEDIA) == 0


async def test_one_sweeper_does_for_all(queue: JobQueue) -> None:
    ours, theirs = Retention(queue.redis), Retention(queue.redis)

    assert [await ours.appointed(60), await theirs.appointed(60), await ours.appointed(60)] == [True, False, True]
    await queue.redis.delete("zoetrope:sweeper")  # as it expires
    assert await theirs.appointed(60)


async def test_forgetting_takes_a_persons_records_and_files_and_nobody_elses(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await closed(queue, store, "1", data=b"shared")
    await closed(queue, store, "2", data=b"ann's own")
    await closed(queue, store, "3", person=BOB, data=b"shared")
    forgotten, files = await sweeper.forget(ANN)

    assert (forgotten.jobs, forgotten.later, files) == (2, 0, 3)
    assert await files_of(store) == {digest_of(b"shared"), digest_of(b"the clip of 3")}
    for job_id in ("1", "2"):
        with pytest.raises(NoSuchJob):
            await queue.job(job_id)
    assert (await queue.job("3")).state is State.CLOSED
    assert await sweeper.retention.history(ANN) == []
    assert await sweeper.retention.history(BOB) == ["3"]
    assert ANN not in await everything_but_the_counters(queue)
    assert BOB in await everything_but_the_counters(queue)


async def test_forgetting_twice_is_forgetting_once(queue: JobQueue, store: MediaStore, sweeper: Sweeper) -> None:
    await closed(queue, store, "1")
    assert (await sweeper.forget(ANN))[1] == 2
    forgotten, files = await sweeper.forget(ANN)

    assert (forgotten.jobs, forgotten.later, files) == (0, 0, 0)


async def test_what_is_still_open_is_forgotten_as_soon_as_it_is_closed(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await accepted(queue, store, "1")
    await rendered(queue, store, "1")
    forgotten, files = await sweeper.forget(ANN)
    assert (forgotten.jobs, forgotten.later, files) == (0, 1, 0)
    await sweeper.turn()
    assert len(await files_of(store)) == 2, "it is not posted yet"
    await queue.close("1", "900")
    await sweeper.turn()

    assert await files_of(store) == set()
    assert 0 < await queue.redis.ttl("zoetrope:job:1") <= 60
    assert await sweeper.retention.history(ANN) == []


async def test_a_picture_that_somebody_asks_for_right_now_is_not_forgotten_with_another_person(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await closed(queue, store, "1")
    await sweeper.retention.hold("2", digest_of(PICTURE))
    await store.put(PICTURE)
    await sweeper.forget(ANN)

    assert await files_of(store) == {digest_of(PICTURE)}


async def brought(sweeper: Sweeper, store: MediaStore, job_id: str, data: bytes, person: str = ANN) -> None:
    """Somebody uploads a picture, and nothing is queued yet."""
    await sweeper.retention.hold(job_id, digest_of(data), person=person)
    await store.put(data)


async def test_a_picture_that_was_brought_and_never_queued_is_forgotten_and_so_is_the_question_about_it(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await brought(sweeper, store, "1", b"asked about")
    await brought(sweeper, store, "2", b"refused")
    await brought(sweeper, store, "3", b"bob's", BOB)
    for job_id in ("1", "3"):
        await queue.redis.set(f"zoetrope:asked:{job_id}", "what was prepared", ex=900)
    forgotten, files = await sweeper.forget(ANN)

    assert (forgotten.jobs, forgotten.later, files) == (0, 0, 2)
    assert await files_of(store) == {digest_of(b"bob's")}
    assert await queue.redis.keys("zoetrope:asked:*") == [b"zoetrope:asked:3"]
    assert ANN not in await everything_but_the_counters(queue)


async def test_a_picture_that_was_refused_long_ago_is_forgotten_too(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    """Its hold is over, and it lies in the store for some days."""
    await brought(sweeper, store, "1", PICTURE)
    await let_pass(queue, HOLD_SECONDS + 60)
    await sweeper.forget(ANN)

    assert await files_of(store) == set()


async def test_what_was_brought_and_accepted_is_the_jobs_alone(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await brought(sweeper, store, "1", PICTURE)
    await accepted(queue, store, "1")
    assert await queue.redis.keys("zoetrope:brought:*") == []
    await brought(sweeper, store, "1", PICTURE)  # "Queue it" was pressed twice
    await sweeper.retention.let_go(ANN, "1")
    await sweeper.forget(ANN)

    assert await store.get(digest_of(PICTURE)) == PICTURE, "it is not closed yet"


async def test_what_nobody_wants_after_all_goes_with_the_next_sweep_and_nothing_else_does(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await brought(sweeper, store, "1", b"never mind")
    await brought(sweeper, store, "2", b"still asked about")
    await sweeper.retention.let_go(ANN, "1")
    await sweeper.turn()

    assert await files_of(store) == {digest_of(b"still asked about")}


async def test_who_brought_what_is_not_known_for_ever(queue: JobQueue, store: MediaStore, sweeper: Sweeper) -> None:
    await brought(sweeper, store, "1", PICTURE)

    assert 0 < await queue.redis.ttl(f"zoetrope:brought:{ANN}") <= 31 * DAY


async def test_a_history_holds_open_jobs_and_closed_ones_as_long_as_their_records(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await closed(queue, store, "1")
    assert await queue.redis.ttl(f"zoetrope:history:{ANN}") == pytest.approx(queue.keep_seconds, abs=5)
    await let_pass(queue, queue.keep_seconds + 60)
    await accepted(queue, store, "2")
    assert await queue.redis.ttl(f"zoetrope:history:{ANN}") == -1
    await closed(queue, store, "3")

    assert await sweeper.retention.history(ANN) == ["2", "3"]


async def test_what_somebody_used_before_today_is_forgotten_and_todays_counter_is_not(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await closed(queue, store, "1")
    today = (await queue.usage(ANN)).today_ms
    await queue.redis.zadd(f"zoetrope:spent:person:{ANN}", {"0 5000": 1})
    await sweeper.forget(ANN)

    assert today > 0
    assert (await queue.usage(ANN)).today_ms == today
    assert await queue.redis.zcount(f"zoetrope:spent:person:{ANN}", "-inf", 1) == 0


async def test_a_workers_copies_go_with_the_file_or_when_nobody_wants_them(queue: JobQueue, tmp_path: Path) -> None:
    store, cache = MediaStore(f"memory://{uuid.uuid4()}"), tmp_path / "cache"
    wanted, idle, swept = [hashlib.sha256(name).hexdigest() for name in (b"wanted", b"idle", b"swept")]
    await accepted(queue, store, "1", data=b"wanted")
    await accepted(queue, store, "2", data=b"idle")
    await store.put(b"swept")
    copies = {digest: await store.fetch_to(digest, cache) for digest in (wanted, idle, swept)}
    (cache / "finish-1").mkdir()
    for digest in (wanted, idle):
        os.utime(copies[digest], (time.time() - 2 * COPY_SECONDS,) * 2)
    await store.fetch_to(wanted, cache)

    assert await drop_copies(Retention(queue.redis), cache) == 2
    assert {path.name for path in cache.iterdir()} == {wanted, "finish-1"}


async def everything_but_the_counters(queue: JobQueue) -> str:
    """All that stands in Redis, names of keys included, but what was used of today's limits."""
    await queue.redis.config_set("rdbcompression", "no")  # or a dump would hide what it holds
    found: list[str] = []
    for key in await queue.redis.keys("*"):
        if not key.startswith(b"zoetrope:spent:"):
            found += [repr(key), repr(await queue.redis.dump(key))]
    return " ".join(found)
