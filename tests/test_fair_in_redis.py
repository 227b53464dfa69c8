"""The line in Redis keeps the same order as the one in plain Python, whatever happens to it."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from jobs.errors import Note
from jobs.fair import FairLine
from jobs.line import Waiting
from jobs.queue import OURS, JobQueue, TooMuchToday
from jobs.record import Cancelled, Failed, Lease, State
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from tests.queued import CLIP, empty_queue, submission, waiting_in_order

KINDS = ("parallax", "svd", "svd/svd-xt")
STEPS = dict(zip(KINDS, (ParallaxRequest(), SvdRequest(), SvdRequest(model="svd-xt")), strict=True))
ANN, BOB = "7", "8"


@pytest.fixture
async def queue(url: str) -> AsyncIterator[JobQueue]:
    async with empty_queue(url) as queue:
        await queue.redis.config_set("appendfsync", "no")
        yield queue


@dataclass
class Twins:
    """The same events on both lines."""

    queue: JobQueue
    fair: FairLine
    chance: random.Random
    waiting: dict[str, Waiting] = field(default_factory=dict[str, Waiting])
    running: list[tuple[Lease, Waiting]] = field(default_factory=list[tuple[Lease, Waiting]])
    number: int = 0

    async def ask(self) -> None:
        """Somebody of three servers asks for something."""
        guild, person = self.chance.choice(["1", "2", None]), self.chance.choice("abcd")
        kind, cost_ms = self.chance.choice(KINDS), self.chance.randint(1, 100_000)
        weight, guild_weight = self.chance.choice([0.5, 1.0, 3.0]), self.chance.choice([1.0, 2.0])
        most = self.chance.choice([0, 0, 1, 2])
        self.number += 1
        await self.queue.enqueue(
            submission(
                str(self.number), person=person, guild=guild, step=STEPS[kind], cost_ms=cost_ms,
                weight=weight, guild_weight=guild_weight, running=most, waiting=0,
            )
        )  # fmt: skip
        seq = int(await self.queue.redis.hget(f"zoetrope:job:{self.number}", "seq") or 0)
        job = Waiting(str(self.number), guild or "dm", person, "55", kind, cost_ms, seq)
        self.fair.terms(job.guild, person, weight=weight, guild_weight=guild_weight, most=most)
        self.fair.add(job)
        self.waiting[job.id] = job

    async def take(self) -> None:
        """A worker for some kinds, which holds some models, is free."""
        kinds = self.chance.sample(KINDS, self.chance.randint(1, 3))
        warm = self.chance.sample(kinds, self.chance.randint(0, len(kinds)))
        slack_ms = self.chance.choice([0, 20_000, 10**7])
        expected = self.fair.take(kinds, warm, slack_ms)
        lease = await self.queue.take("w", kinds, warm, slack_ms=slack_ms)
        assert (lease.job_id if lease else None) == (expected.id if expected else None)
        if lease and expected:
            self.running.append((lease, self.waiting.pop(expected.id)))

    async def end(self) -> None:
        """A running job ends in one of the ways a job can, or is given back."""
        if not self.running:
            return
        lease, job = self.running.pop(self.chance.randrange(len(self.running)))
        used_ms = self.chance.randint(1, 200_000)
        match self.chance.choice(["clip", "fails", "ours", "stopped", "back", "tried", "lost"]):
            case "clip":
                await self.queue.settle(lease, CLIP, gpu_ms=used_ms)
                self.fair.finish(job, used_ms)
            case "fails":
                await self.queue.settle(lease, Failed(reason=Note("out_of_memory")), gpu_ms=used_ms)
                self.fair.fail(job, used_ms)
            case "ours":
                await self.queue.settle(lease, Failed(reason=Note("unexpected")))
                self.fair.fail(job)
            case "stopped":
                await self.queue.cancel(job.id, job.person)
                await self.queue.settle(lease, Cancelled(by=job.person), gpu_ms=used_ms)
                self.fair.fail(job, used_ms)
            case "back":
                await self.queue.release(lease, free=True)
                self.fair.release(job)
                self.waiting[job.id] = job
            case "tried":
                await self.queue.release(lease, free=False, gpu_ms=used_ms)
                self.fair.release(job, used_ms)
                self.waiting[job.id] = job
            case _:
                dying = JobQueue(self.queue.redis, lease_seconds=0, lost_leases=99)
                await dying.renew(lease)
                await asyncio.sleep(0.002)
                assert await dying.reconcile() == {"recovered": [job.id]}
                self.fair.release(job, 0.0)
                self.waiting[job.id] = job

    async def cancel(self) -> None:
        """Somebody takes a waiting job back."""
        if self.waiting:
            job = self.waiting.pop(self.chance.choice(sorted(self.waiting)))
            await self.queue.cancel(job.id, job.person)
            self.fair.remove(job)

    async def alike(self) -> None:
        """Both agree on the rest of the order; and the one in Redis can be read back."""
        line = await self.queue.line()
        copy = FairLine.of(line)
        assert {job.id for job in line.waiting} == set(self.waiting)
        assert {job.id for job in line.running} == {job.id for _, job in self.running}
        for name, guild in copy.guilds.items():
            if guild.open:
                ours = self.fair.guilds[name]
                assert (guild.flow, guild.virtual_time, guild.open) == (ours.flow, ours.virtual_time, ours.open)
                for person, known in guild.people.items():
                    assert known.flow == ours.people[person].flow


@pytest.mark.parametrize("seed", range(60))
async def test_both_lines_agree_whatever_happens(queue: JobQueue, seed: int) -> None:
    twins = Twins(queue, FairLine(), random.Random(seed))
    for _ in range(60):
        event = twins.chance.choice([twins.ask, twins.ask, twins.take, twins.take, twins.end, twins.cancel])
        await event()
        await twins.alike()
    while twins.running or twins.waiting:
        await twins.take()
        await twins.end()

    left = [key.decode() for key in await queue.redis.keys("zoetrope:*")]
    lines = ("tags", "kinds", "guilds", "people", "line", "heads", "waiting", "running", "held")
    assert [key for key in left if key.split(":")[1] in lines] == [], "an idle line leaves nothing behind"


async def test_with_fifty_jobs_of_one_person_waiting_anothers_single_job_starts_next(queue: JobQueue) -> None:
    for number in range(50):
        await queue.enqueue(submission(str(number), person=ANN, waiting=0))
    await queue.take("w", ["parallax"])
    await queue.enqueue(submission("late", person=BOB))
    lease = await queue.take("w", ["parallax"])

    assert lease is not None
    assert lease.job_id == "late"


async def test_nobody_is_passed_for_ever(queue: JobQueue) -> None:
    await queue.enqueue(submission("cold", person="z", step=STEPS["svd"]))
    for number in range(8):
        await queue.enqueue(submission(str(number), person=f"p{number}"))
    leases = [await queue.take("w", KINDS, ["parallax"], slack_ms=10**9) for _ in range(5)]

    assert [lease.job_id for lease in leases if lease] == ["0", "1", "2", "cold", "3"]


async def test_who_no_worker_could_serve_for_long_catches_up_only_so_far(queue: JobQueue) -> None:
    """ann's svd waits while parallax goes on for an hour of GPU time; then she may take ten minutes at most."""
    for number in range(40):
        await queue.enqueue(submission(f"s{number}", person=ANN, step=STEPS["svd"], cost_ms=60_000, waiting=0))
        await queue.enqueue(submission(f"p{number}", person=BOB, cost_ms=120_000, waiting=0))
    for _ in range(30):
        assert await queue.take("small", ["parallax"])
    started = [lease.job_id[0] for _ in range(14) if (lease := await queue.take("large", KINDS))]

    assert started == ["s"] * 13 + ["p"]


# Pausing


async def test_a_paused_channels_jobs_wait_at_their_places_and_others_go_on(queue: JobQueue) -> None:
    await queue.enqueue(submission("1", channel="55"))
    await queue.pause("channel:55", "mod")
    await queue.enqueue(submission("2", channel="55"))
    await queue.enqueue(submission("3", channel="66"))
    taken = [lease.job_id for lease in [await queue.take("w", ["parallax"]) for _ in range(3)] if lease]
    held = {job.id for job in (await queue.line()).waiting if job.held}

    assert (taken, held) == (["3"], {"1", "2"})
    assert await queue.reconcile() == {}
    assert await queue.resume("channel:55") == 2
    assert await waiting_in_order(queue) == ["1", "2"]
    assert await queue.resume("channel:55") is None


async def test_a_pause_changes_nobodys_place_and_newcomers_come_behind(queue: JobQueue) -> None:
    """ann and bob have had much and little; they stand where they stood, alone on their server or not."""
    for person, used_ms in ((ANN, 90_000), (BOB, 30_000)):
        for number in range(3):
            await queue.enqueue(submission(f"{person}{number}", person=person, cost_ms=60_000))
        lease = await queue.claim(f"{person}0", "w")
        assert lease is not None
        await queue.settle(lease, CLIP, gpu_ms=used_ms)
    before = await waiting_in_order(queue)
    await queue.pause("all", "owner")
    assert await queue.take("w", ["parallax"]) is None
    await queue.enqueue(submission("new", person="9", cost_ms=60_000))
    await queue.enqueue(submission("other", person="9", guild="6", cost_ms=60_000))
    held = [job.id for job in (await queue.line()).waiting if job.held]
    await queue.resume("all")
    after = await waiting_in_order(queue)

    assert sorted(held) == sorted([*before, "new", "other"])
    assert [job for job in after if job in before] == before
    assert after != before


async def test_a_pause_of_one_channel_keeps_places_while_others_go_on(queue: JobQueue) -> None:
    """Two minutes of bob's go by meanwhile; ann and carl are still in the order in which they stood."""
    for person, used_ms in ((ANN, 40_000), ("9", 20_000)):
        for number in range(2):
            await queue.enqueue(submission(f"{person}{number}", person=person, channel="55", cost_ms=60_000))
        lease = await queue.claim(f"{person}0", "w")
        assert lease is not None
        await queue.settle(lease, CLIP, gpu_ms=used_ms)
    for number in range(4):
        await queue.enqueue(submission(f"b{number}", person=BOB, channel="66", cost_ms=60_000))
    await queue.pause("channel:55", "mod")
    for _ in range(3):
        lease = await queue.take("w", ["parallax"])
        assert lease is not None
        await queue.settle(lease, CLIP, gpu_ms=60_000)
    await queue.resume("channel:55")

    assert [job for job in await waiting_in_order(queue) if job[0] in "79"] == ["91", "71"]


async def test_who_begins_to_wait_during_a_pause_has_saved_nothing_up(queue: JobQueue) -> None:
    for number in range(9):
        await queue.enqueue(submission(f"b{number}", person=BOB, channel="66", cost_ms=60_000))
    for _ in range(4):
        assert await queue.take("w", ["parallax"])
    await queue.pause("channel:55", "mod")
    for number in range(4):
        await queue.enqueue(submission(f"a{number}", channel="55", cost_ms=60_000))
    await queue.resume("channel:55")

    assert [job[0] for job in await waiting_in_order(queue)][:4] == ["a", "b", "a", "b"]


async def test_a_pause_ends_and_what_was_held_leaves_nothing_behind(queue: JobQueue) -> None:
    await queue.pause("all", "owner")
    for job_id in ("1", "2"):
        await queue.enqueue(submission(job_id))
    await queue.cancel("1", ANN)
    await queue.resume("all")
    lease = await queue.take("w", ["parallax"])
    assert lease is not None
    await queue.settle(lease, CLIP)

    left = {key.decode().split(":")[1] for key in await queue.redis.keys("zoetrope:*")}
    assert left.isdisjoint({"tags", "kinds", "guilds", "people", "line", "heads", "waiting", "running", "held"})


async def test_what_an_older_version_held_goes_back_into_the_line(queue: JobQueue) -> None:
    """It counted a held job as gone from its server."""
    await queue.pause("all", "owner")
    await queue.enqueue(submission("1"))
    await queue.redis.delete("zoetrope:tags", "zoetrope:tags:5")
    await queue.redis.hdel("zoetrope:job:1", "place_kept")
    await queue.resume("all")
    await queue.enqueue(submission("2"))
    taken = [lease for lease in [await queue.take("w", ["parallax"]) for _ in range(2)] if lease]
    for lease in taken:
        await queue.settle(lease, CLIP)

    assert [lease.job_id for lease in taken] == ["1", "2"]
    assert (await queue.line()).guilds == {}


async def test_a_pause_of_a_channel_holds_its_threads(queue: JobQueue) -> None:
    inside = submission("1", channel="66")
    inside = inside.model_copy(update={"channel": inside.channel.model_copy(update={"parent_id": "55"})})
    await queue.enqueue(inside)
    await queue.enqueue(submission("2", channel="66"))
    await queue.pause("channel:55", "mod")
    taken = [lease.job_id for lease in [await queue.take("w", ["parallax"]) for _ in range(2)] if lease]
    [waiting] = (await queue.line()).waiting

    assert taken == ["2"]
    assert (waiting.held, waiting.parent) == (True, "55")
    assert await queue.resume("channel:55") == 1


async def test_a_job_is_free_when_the_last_pause_over_it_is(queue: JobQueue) -> None:
    await queue.pause("all", "owner")
    await queue.pause("guild:5", "mod")
    await queue.enqueue(submission())
    assert await queue.resume("guild:5") == 0
    assert await queue.take("w", ["parallax"]) is None
    assert await queue.paused() == {"all": "owner"}

    assert await queue.resume("all") == 1
    assert await queue.take("w", ["parallax"]) is not None


async def test_a_held_job_can_be_cancelled_and_costs_nothing(queue: JobQueue) -> None:
    await queue.pause("all", "owner")
    await queue.enqueue(submission())

    assert await queue.cancel("1001", ANN) == "cancelled"
    assert (await queue.line()).waiting == ()
    assert await queue.resume("all") == 0


# What was used


async def test_usage_is_what_was_really_used_and_failures_of_ours_cost_nothing(queue: JobQueue) -> None:
    broken = [Failed(reason=Note(code)) for code in sorted(OURS)]
    for number, (outcome, gpu_ms) in enumerate([(CLIP, 4000), *((each, 9000) for each in broken), (CLIP, 500)]):
        await queue.enqueue(submission(str(number)))
        lease = await queue.take("w", ["parallax"])
        assert lease is not None
        await queue.settle(lease, outcome, gpu_ms=gpu_ms)
    await queue.enqueue(submission("open", cost_ms=70_000))
    usage = await queue.usage(ANN)

    assert (usage.last_hour_ms, usage.open_ms) == (4500, 70_000)
    assert await queue.usage_of_guild("5") == {ANN: 4500}


@pytest.mark.parametrize("code", ["render_too_long", "out_of_memory", "clip_too_large", "renderer_died"])
async def test_who_asks_for_what_cannot_be_done_uses_up_their_day(queue: JobQueue, code: str) -> None:
    await queue.enqueue(submission("1", gpu_seconds_per_day=1000))
    lease = await queue.take("w", ["parallax"])
    assert lease is not None
    await queue.settle(lease, Failed(reason=Note(code)), gpu_ms=995_000)
    with pytest.raises(TooMuchToday):
        await queue.enqueue(submission("2", gpu_seconds_per_day=1000))

    assert (await queue.usage(ANN)).today_ms == 995_000


@pytest.mark.parametrize(
    ("ends", "billed_ms"), [("renderer_died", 9000), ("cancelled", 6000), ("stopped", 9000), ("rendered", 3000)]
)
async def test_tries_whose_renderer_died_are_billed_where_there_is_no_clip(
    queue: JobQueue, ends: str, billed_ms: int
) -> None:
    await queue.enqueue(submission())
    for _ in range(2):
        lease = await queue.take("w", ["parallax"])
        assert lease is not None
        await queue.release(lease, free=False, gpu_ms=3000)
    if ends in ("cancelled", "stopped"):
        lease = await queue.take("w", ["parallax"]) if ends == "stopped" else None
        await queue.cancel("1001", ANN)
        if lease:
            await queue.release(lease, free=False, gpu_ms=3000)
    else:
        lease = await queue.take("w", ["parallax"])
        assert lease is not None
        await queue.settle(lease, CLIP if ends == "rendered" else Failed(reason=Note("renderer_died")), gpu_ms=3000)

    assert (await queue.usage(ANN)).today_ms == billed_ms


async def test_nobody_is_billed_for_what_was_not_measured(queue: JobQueue) -> None:
    await queue.enqueue(submission())
    lease = await queue.take("w", ["parallax"])
    assert lease is not None
    await queue.settle(lease, Failed(reason=Note("out_of_memory")))

    assert (await queue.usage(ANN)).today_ms == 0


@pytest.mark.parametrize("outcome", [Failed(reason=Note("unexpected")), Cancelled(by=ANN)], ids=lambda end: end.kind)
async def test_who_fails_or_stops_and_asks_again_at_once_does_not_go_before_others_for_ever(
    queue: JobQueue, outcome: Failed | Cancelled
) -> None:
    """Neither before the people of the same server, nor before other servers."""
    for number in range(3):
        await queue.enqueue(submission(f"b{number}", person=BOB, cost_ms=60_000))
        await queue.enqueue(submission(f"c{number}", person="9", guild="2", cost_ms=60_000))
    started: list[str] = []
    while len([name for name in started if name != "a"]) < 6:
        await queue.enqueue(submission(f"a{len(started)}", cost_ms=60_000, waiting=0))
        lease = await queue.take("w", ["parallax"])
        assert lease is not None
        started.append(lease.job_id[0])
        await queue.settle(lease, outcome if started[-1] == "a" else CLIP, gpu_ms=0 if started[-1] == "a" else 60_000)

    assert started.count("a") <= 30, "a turn that comes to nothing counts for ten seconds at least"


async def test_what_is_given_back_is_what_was_charged_though_a_role_changed_meanwhile(queue: JobQueue) -> None:
    await queue.enqueue(submission("1", cost_ms=100_000, weight=4, guild_weight=2))
    lease = await queue.take("w", ["parallax"])
    assert lease is not None
    await queue.enqueue(submission("2", cost_ms=100_000, weight=1, guild_weight=1))
    await queue.settle(lease, CLIP, gpu_ms=20_000)
    guild = (await queue.line()).guilds["5"]

    assert guild.people[ANN].tag == pytest.approx(5_000, abs=1)
    assert guild.flow.tag == pytest.approx(10_000, abs=1)


# Weights


@pytest.mark.parametrize("weight", ["1e-308", "0", "-1", "inf", "nan", "1e308", "nonsense"])
async def test_a_weight_that_older_records_hold_stops_no_line(queue: JobQueue, weight: str) -> None:
    """Terms of today cannot say it; what lies in Redis already still may."""
    for number in range(2):
        await queue.enqueue(submission(f"a{number}", cost_ms=100_000))
    for key, name in (("zoetrope:tags", "w:5"), ("zoetrope:tags:5", "w:7"), ("zoetrope:tags:5", "t:7")):
        await queue.redis.hset(key, name, weight)
    await queue.enqueue(submission("b", person=BOB, guild="6"))
    for _ in range(3):
        lease = await queue.take("w", ["parallax"])
        assert lease is not None
        await queue.settle(lease, CLIP, gpu_ms=50_000)
        line = await queue.line()
        assert all(math.isfinite(guild.flow.tag) for guild in line.guilds.values())

    assert await queue.take("w", ["parallax"]) is None


async def test_a_days_gpu_seconds_are_counted_with_what_is_still_open(queue: JobQueue) -> None:
    await queue.enqueue(submission("1", gpu_seconds_per_day=30))
    lease = await queue.take("w", ["parallax"])
    assert lease is not None
    await queue.settle(lease, CLIP, gpu_ms=12_000)
    await queue.enqueue(submission("2", gpu_seconds_per_day=30))
    with pytest.raises(TooMuchToday) as refused:
        await queue.enqueue(submission("3", gpu_seconds_per_day=30))

    assert (refused.value.facts["limit_seconds"], refused.value.facts["left_seconds"]) == (30, 8)
    await queue.cancel("2", ANN)
    await queue.enqueue(submission("3", gpu_seconds_per_day=30))


async def test_a_job_that_waits_in_vain_is_ended_with_a_reason_and_a_running_one_is_not(queue: JobQueue) -> None:
    reason = Failed(reason=Note("worker_lost"))
    await queue.enqueue(submission("1"))
    lease = await queue.take("w", ["parallax"])
    assert lease is not None
    assert not await queue.abandon("1", reason)
    await queue.enqueue(submission("2"))

    assert await queue.abandon("2", reason)
    assert (await queue.job("2")).state is State.FAILED
