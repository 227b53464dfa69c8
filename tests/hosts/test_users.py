"""`docker/redis/users.conf`: bot and workers can do what they must, and a worker that was taken over cannot do more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.exceptions import AuthenticationError, NoPermissionError

from console.checks.queue_server import queue_server
from jobs import proofs
from jobs.aside import Aside, SetAside
from jobs.costs import Costs
from jobs.errors import Note
from jobs.motions import Motions
from jobs.presets import Preset, Presets
from jobs.previews import Previews
from jobs.proofs import Traces
from jobs.queue import JobQueue, connect
from jobs.record import Failed, Progress, State
from jobs.retention import Retention
from jobs.rulebook import Rulebook
from jobs.settings import RedisSettings
from jobs.workers import Advert, Workers
from media.store import MediaStore
from tests.hosts.servers import composed, login, refused, servers, write_users
from tests.queued import ANN, CLIP, DIGEST, dying, submission
from tests.test_motions import learned


def url_of(user: str, port: int, password: str = "") -> str:
    return f"redis://{login(user, password)}@127.0.0.1:{port}/0"


class Users:
    """The queue as each user sees it."""

    def __init__(self, port: int, owner: ArqRedis, bot: ArqRedis, worker: ArqRedis) -> None:
        self.port = port
        self.owner = owner
        self.bot, self.worker = JobQueue(bot), JobQueue(worker)

    async def refused(self) -> list[str]:
        """What anybody was refused."""
        return await refused(self.owner)


@pytest.fixture(params=servers())
async def users(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Users]:
    write_users(tmp_path / "redis.d")
    async with contextlib.AsyncExitStack() as stack:
        port = stack.enter_context(composed(request.param, tmp_path))
        clients = [
            await connect(url_of(name, port), retries=0) for name in ("default", "zoetrope-bot", "zoetrope-worker")
        ]
        for client in clients:
            stack.push_async_callback(client.aclose)
        yield Users(port, *clients)


async def test_a_job_goes_its_whole_way(users: Users) -> None:
    bot, worker = users.bot, users.worker
    heard: list[str] = []
    hearing = asyncio.create_task(hear(bot, heard))
    await Workers(worker.redis).advertise(Advert(worker="w1", host="ash", device="cpu", systems={"parallax": ()}))
    assert [advert.host for advert in await Workers(bot.redis).online()] == ["ash"]

    assert await Retention(bot.redis).try_hold("1001", DIGEST)
    await bot.enqueue(submission("1001"))
    lease = await worker.take("w1", ["parallax"])
    assert lease is not None
    assert await worker.renew(lease) is None
    await worker.report(lease, Progress(job_id="1001", stage="denoising", step=1, total=2))
    await Previews(worker.redis).put("1001", b"a picture")
    assert await Previews(bot.redis).get("1001") == b"a picture"
    assert await Retention(worker.redis).try_hold("1001", DIGEST)
    await proofs.remember(worker.redis, "1001", Traces("d" * 64, "e" * 64, "f" * 80), 60)
    await worker.settle(lease, CLIP)
    await Previews(worker.redis).forget("1001")
    assert await proofs.find(bot.redis, "e" * 64) == "1001"
    assert await proofs.prints(bot.redis) == [("1001", "f" * 80)]
    await Presets(bot.redis).save("person:7", Preset.of("usual", lease.job.submission.recipe))
    await Costs(worker.redis).learn(lease.job, CLIP, "")
    assert await bot.delivering("1001", begins=True) == 1
    assert await bot.close("1001", "99")

    assert (await bot.job("1001")).state == State.CLOSED
    hearing.cancel()
    assert "1001" in heard
    assert await users.refused() == []


async def test_what_goes_wrong_is_mended_by_either(users: Users) -> None:
    bot, worker = users.bot, users.worker
    for number, mender in enumerate((bot, worker)):
        job_id = f"100{number}"
        await bot.enqueue(submission(job_id))
        assert await dying(worker).claim(job_id, "w1") is not None
        assert await mender.reconcile() == {"recovered": [job_id]}
        lease = await worker.claim(job_id, "w1")
        assert lease is not None
        await worker.release(lease, free=True)
        assert await bot.cancel(job_id, "7") == "cancelled"
        await users.owner.delete("zoetrope:deliveries")
        assert await mender.reconcile() == {"delivery": [job_id]}
        await bot.close(job_id, None)
    await bot.enqueue(submission("1003"))
    lost = await worker.claim("1003", "w1")
    assert lost is not None
    await worker.settle(lost, Failed(reason=Note("renderer_died", {"attempts": 3}), incident="i"))
    await Aside(worker.redis).put(SetAside(job_id="1003", system="parallax", incident="i", log=""))
    await bot.pause("all", "7")
    await bot.enqueue(submission("1004"))
    assert await worker.take("w1", ["parallax"]) is None
    await bot.resume("all")
    assert await worker.take("w1", ["parallax"]) is not None
    await bot.line()
    await bot.usage("7")
    await Rulebook(bot.redis).rules("all")

    assert await users.refused() == []


FORBIDDEN = (
    "FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET dir /tmp", "KEYS *", "SCAN 0", "ACL LIST", "MONITOR",
    "EVAL return 0", "SHUTDOWN", "REPLICAOF 10.0.0.1 6379", "MODULE LIST", "SCRIPT FLUSH",
    "GET another:application", "PUBLISH another:channel hello",
)  # fmt: skip
THE_BOTS = ("rules:all", "audit:all", "asked:1", "upload:5", "history:7", "person:7", "sweeper", "bot")


async def test_neither_may_do_what_no_job_needs(users: Users) -> None:
    for queue in (users.bot, users.worker):
        for words in FORBIDDEN:
            with pytest.raises(NoPermissionError):
                await queue.redis.execute_command(*words.split())


async def test_a_worker_sees_nothing_of_what_is_the_bots_alone(users: Users) -> None:
    for key in THE_BOTS:
        for command in ("GET", "HGETALL", "SMEMBERS", "DEL"):
            with pytest.raises(NoPermissionError):
                await users.worker.redis.execute_command(command, f"zoetrope:{key}")
        await users.bot.redis.delete(f"zoetrope:{key}")
    with pytest.raises(NoPermissionError):
        await users.worker.changes().__anext__()


async def test_what_was_learned_is_the_bots_to_keep_and_to_give(users: Users) -> None:
    store, motions = MediaStore("memory://motions"), Motions(users.bot.redis)
    job = await learned(users.bot, store, "1001")
    await motions.keep(job, again=True)
    await motions.share("spin", ANN, "5", moderates=False)
    await motions.find("spin", "8", "5")
    await motions.unshare("spin", ANN, "5", moderates=False)
    await motions.delete(f"person:{ANN}", "spin")
    await Retention(users.bot.redis).forget(ANN)
    assert await users.refused() == []

    with pytest.raises(NoPermissionError):
        await users.worker.redis.execute_command("HGETALL", f"zoetrope:motions:person:{ANN}")


async def test_a_wrong_password_opens_nothing(users: Users) -> None:
    with pytest.raises(AuthenticationError):
        await connect(url_of("zoetrope-worker", users.port, "a-guess"), retries=0)


@pytest.mark.parametrize("name", ["zoetrope-bot", "zoetrope-worker"])
async def test_doctor_finds_these_users_well_enough(users: Users, name: str) -> None:
    found = await queue_server(RedisSettings.read({"redis": {"url": url_of(name, users.port)}}))

    assert {check.state for check in found} <= {"ok", "warn"}, found


async def test_doctor_names_what_a_user_may_not(users: Users) -> None:
    await users.owner.execute_command("ACL", "SETUSER", "zoetrope-worker", "-evalsha", "resetkeys", "~zoetrope:open")
    found = await queue_server(RedisSettings.read({"redis": {"url": url_of("zoetrope-worker", users.port)}}))

    [line] = [check for check in found if check.state == "fail"]
    assert "zoetrope-worker" in line.found
    assert "EVALSHA" in line.found
    assert "docker/redis/users.conf" in line.advice


async def hear(queue: JobQueue, heard: list[str]) -> None:
    async for job_id in queue.changes():
        heard.append(job_id)  # noqa: PERF401 (it never ends)
