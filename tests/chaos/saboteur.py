"""Who breaks things, at instants nobody knows beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil

from tests.chaos.incidents import Incident
from tests.chaos.plan import Plan
from tests.chaos.town import READY_SECONDS, Kept, Town, patiently
from tests.discord_server.rest import Call

POSTS = ("POST", "/channels/*/messages")
BEFORE, AFTER, TOO_MANY, CLOSED = 500, 504, 429, 0
"""Answers by which a call shows afterwards which fault hit it; the local Discord itself gives none of them."""
RECONCILE_SECONDS = 5.0
BACK_SECONDS = 90.0
"""What is not back after so long is left out of the times; the verdict finds what is lost."""
HELD_SECONDS = 12.0
"""An answer that takes so long; its post was taken at once."""

AGAIN_AT_WORK = "job started again or ended"
READY = "bot ready again"
SERVES = "Redis answers again"
CONNECTED = "gateway connected again"
GONE_THROUGH = "same post answered, or job closed"


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    name: str
    act: Callable[[Saboteur], Awaitable[None]]
    back_when: str


class Saboteur:
    """Deals faults from a shuffled deck, so that each kind has its turn."""

    def __init__(self, town: Town, plan: Plan) -> None:
        self.town = town
        self.plan = plan
        self.dice: random.Random = plan.dice("saboteur")
        self.incidents: list[Incident] = []
        self._deck: list[Kind] = []
        self._aftermath: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """Break something every few seconds, until cancelled or until the plan has enough."""
        dealt = 0
        while not self.plan.faults or dealt < self.plan.faults:
            await asyncio.sleep(self.dice.uniform(*self.plan.fault_pause))
            self._deck = self._deck or self.dice.sample(KINDS, len(KINDS))
            await self._deck.pop().act(self)
            dealt += 1

    async def make_peace(self) -> None:
        """Let nothing more go wrong, let go of what is held, and wait for what is still coming back."""
        self.town.server.faults.clear()
        for worker in self.town.workers:
            worker.process.signal(signal.SIGCONT)
        await patiently(self._resume)
        for task in self._aftermath:
            if task.get_name() == "held":
                task.cancel()
        await asyncio.gather(*self._aftermath, return_exceptions=True)

    def happened(self, kind: str, touched: set[str]) -> Incident:
        """Write it down."""
        incident = Incident(kind, touched=set(touched))
        self.incidents.append(incident)
        return incident

    def later(self, work: Awaitable[None], name: str = "watching") -> None:
        """Follow something up beside the next faults."""

        async def follow() -> None:
            await work

        self._aftermath.add(asyncio.create_task(follow(), name=name))

    # --- workers ---

    def _some_worker(self) -> Kept:
        """One that has a job in its hands, if any has."""
        busy = [worker for worker in self.town.workers if self.town.running_on(worker)]
        return self.dice.choice(busy or self.town.workers)

    async def kill_worker(self) -> None:
        """As a power cut, or the kernel's out-of-memory killer."""
        self._strike(self._some_worker(), "worker killed", signal.SIGKILL)

    async def stop_worker(self) -> None:
        """As an owner who updates."""
        self._strike(self._some_worker(), "worker told to stop", signal.SIGTERM)

    def _strike(self, worker: Kept, kind: str, number: int) -> None:
        held = self.town.running_on(worker)
        incident = self.happened(kind, set(held))
        worker.process.signal(number)
        self._follow(incident, held)

    async def kill_renderer(self) -> None:
        """As a CUDA fault."""
        worker = self._some_worker()
        held = self.town.running_on(worker)
        child = worker.process.child("inference.child")
        if child is None:
            return
        incident = self.happened("renderer killed", set(held))
        with contextlib.suppress(psutil.Error):
            child.kill()
        self._follow(incident, held)

    async def hang_worker(self) -> None:
        """It stands still for longer than its lease, and comes back with a result that is another's business by now."""
        worker = self._some_worker()
        if worker.pid is None:
            return
        held = self.town.running_on(worker)
        incident = self.happened("worker hangs past its lease", set(held))
        worker.process.signal(signal.SIGSTOP)
        self._follow(incident, held)

        async def wake() -> None:
            try:
                await asyncio.sleep(self.plan.lease_seconds + RECONCILE_SECONDS + self.dice.uniform(1, 4))
            finally:
                worker.process.signal(signal.SIGCONT)

        self.later(wake(), "held")

    def _follow(self, incident: Incident, held: dict[str, int]) -> None:
        for job_id, fence in held.items():
            self.later(self._again_at_work(incident, job_id, fence))

    async def _again_at_work(self, incident: Incident, job_id: str, fence: int) -> None:
        def back() -> bool:
            job = self.town.records[job_id]
            return job.state.ended or (job.fence > fence and job.state == "running")

        if await self.town.until(back, BACK_SECONDS):
            incident.recovered()

    # --- the bot ---

    async def kill_bot(self) -> None:
        """At any instant."""
        self._strike_bot("bot killed", signal.SIGKILL)

    async def stop_bot(self) -> None:
        """As an owner who updates."""
        self._strike_bot("bot told to stop", signal.SIGTERM)

    async def kill_bot_while_posting(self) -> None:
        """At the worst instant: Discord has the message, and the bot never hears of it."""
        self.town.server.before_reply(
            *POSTS, lambda: self._strike_bot("bot killed as Discord takes its post", signal.SIGKILL)
        )

    def _strike_bot(self, kind: str, number: int) -> None:
        bot = self.town.bot.process
        times = len(bot.lines("ready as"))
        incident = self.happened(kind, self.town.open)
        bot.signal(number)
        self.later(self._back(incident, lambda: len(bot.lines("ready as")) > times))

    async def _back(self, incident: Incident, predicate: Callable[[], object]) -> None:
        if await self.town.until(predicate, READY_SECONDS):
            incident.recovered()

    # --- Redis ---

    async def kill_redis(self) -> None:
        """At any instant; what it had said yes to is in its append-only file."""
        self._strike_redis("Redis killed")

    async def kill_redis_while_posting(self) -> None:
        """The final message stands in the channel, and the record cannot be closed."""
        self.town.server.before_reply(*POSTS, lambda: self._strike_redis("Redis killed as Discord takes a post"))

    def _strike_redis(self, kind: str) -> None:
        process = self.town.redis_process()
        if process is None:
            return
        incident = self.happened(kind, self.town.open)
        process.kill()
        self.later(self._serves(incident))

    async def _serves(self, incident: Incident) -> None:
        await asyncio.sleep(0.05)
        await patiently(self.town.queue.open_jobs)
        incident.recovered()

    # --- the gateway ---

    async def drop_gateway(self) -> None:
        """The socket is cut; its session can be resumed."""
        self._cut("gateway dropped", resumable=True)

    async def lose_session(self) -> None:
        """The socket is cut, and the session forgotten."""
        self._cut("gateway session lost", resumable=False)

    def _cut(self, kind: str, *, resumable: bool) -> None:
        gateway = self.town.server.gateway
        if not gateway.connected:
            return
        incident = self.happened(kind, self.town.open)
        before = gateway.identified + gateway.resumed
        self.town.server.drop_sockets(resumable=resumable)
        self.later(self._back(incident, lambda: gateway.identified + gateway.resumed > before))

    # --- Discord's answers ---

    async def fail_before(self) -> None:
        """5xx, and nothing was done."""
        self._answer_badly("Discord answers 500, does nothing", BEFORE, after_effect=False)

    async def fail_after(self) -> None:
        """5xx, and the message stands there all the same."""
        self._answer_badly("Discord answers 504, has posted", AFTER, after_effect=True)

    async def refuse_pace(self) -> None:
        """429."""
        self._answer_badly("Discord answers 429", TOO_MANY, after_effect=False, retry_after=0.4)

    async def close_after(self) -> None:
        """No answer at all, and the message stands there."""
        self._answer_badly("connection closed, has posted", None, after_effect=True)

    async def fail_everything(self) -> None:
        """A few seconds in which every call of every kind fails."""
        incident = self.happened("Discord answers 500 to everything for 4 s", self.town.open)
        fault = self.town.server.faults.add("*", "**", status=502, times=10_000)

        async def outage() -> None:
            try:
                await asyncio.sleep(4)
            finally:
                fault.times = 0
            incident.recovered()

        self.later(outage(), "held")

    def _answer_badly(self, kind: str, status: int | None, **rest: object) -> None:
        self.happened(kind, set())
        times = self.dice.randint(1, 4)
        self.town.server.faults.add(*POSTS, status=status, times=times, **rest)
        if self.dice.random() < 0.5:
            self.town.server.faults.add("PATCH", "/channels/*/messages/*", status=status, times=times, **rest)

    async def hold_answer(self) -> None:
        """Discord has posted, and answers so late that nobody waits for it."""

        async def held() -> None:
            call = self.town.server.rest.calls[-1]
            incident = self.happened("answer held for 12 s, has posted", _jobs_of(call))
            await asyncio.sleep(HELD_SECONDS)
            incident.recovered()

        self.town.server.before_reply(*POSTS, held)

    def trace_bad_answers(self) -> None:
        """At the end: which jobs' posts were answered badly, and when the same post went through."""
        calls = [call for call in self.town.server.requests("POST", "/channels/*/messages") if _jobs_of(call)]
        for kind, status in BAD_ANSWERS.items():
            mine = [incident for incident in self.incidents if incident.kind == kind]
            for call in calls:
                planned = [incident for incident in mine if incident.at <= call.at]
                if call.status == status and planned:
                    planned[-1].touched |= _jobs_of(call)
                    planned[-1].back += self._through(call, calls)

    def _through(self, hit: Call, calls: list[Call]) -> list[float]:
        """Seconds until the job heard of it: a later answer to the same post, or the job's end. Empty: never."""
        [job_id] = _jobs_of(hit)
        later = [
            call.at
            for call in calls
            if call.at > hit.at and call.status == 200 and call.body["nonce"] == hit.body["nonce"]
        ]
        closed = [self.town.closed_at[job_id]] if self.town.closed_at.get(job_id, 0) > hit.at else []
        return [min([*later, *closed]) - hit.at] if later or closed else []

    # --- the queue ---

    async def pause(self) -> None:
        """A moderator holds everything for some seconds."""
        queue = self.town.queue
        if not hasattr(queue, "pause"):
            return
        incident = self.happened("queue paused for some seconds", self.town.open)
        await patiently(lambda: queue.pause("all", "chaos"))

        async def resume() -> None:
            try:
                await asyncio.sleep(self.dice.uniform(2, 5))
            finally:
                await patiently(self._resume)
            incident.recovered()

        self.later(resume(), "held")

    async def _resume(self) -> None:
        if hasattr(self.town.queue, "resume"):
            await self.town.queue.resume("all")


def _jobs_of(call: Call) -> set[str]:
    """The job whose message this call posts."""
    nonce = str((call.body or {}).get("nonce") or "")
    return {nonce.removeprefix("s")} if nonce else set()


BAD_ANSWERS = {
    "Discord answers 500, does nothing": BEFORE,
    "Discord answers 504, has posted": AFTER,
    "Discord answers 429": TOO_MANY,
    "connection closed, has posted": CLOSED,
}
KINDS = (
    Kind("worker killed", Saboteur.kill_worker, AGAIN_AT_WORK),
    Kind("worker told to stop", Saboteur.stop_worker, AGAIN_AT_WORK),
    Kind("worker hangs past its lease", Saboteur.hang_worker, AGAIN_AT_WORK),
    Kind("renderer killed", Saboteur.kill_renderer, AGAIN_AT_WORK),
    Kind("bot killed", Saboteur.kill_bot, READY),
    Kind("bot killed as Discord takes its post", Saboteur.kill_bot_while_posting, READY),
    Kind("bot told to stop", Saboteur.stop_bot, READY),
    Kind("Redis killed", Saboteur.kill_redis, SERVES),
    Kind("Redis killed as Discord takes a post", Saboteur.kill_redis_while_posting, SERVES),
    Kind("gateway dropped", Saboteur.drop_gateway, CONNECTED),
    Kind("gateway session lost", Saboteur.lose_session, CONNECTED),
    Kind("Discord answers 500, does nothing", Saboteur.fail_before, GONE_THROUGH),
    Kind("Discord answers 504, has posted", Saboteur.fail_after, GONE_THROUGH),
    Kind("Discord answers 429", Saboteur.refuse_pace, GONE_THROUGH),
    Kind("connection closed, has posted", Saboteur.close_after, GONE_THROUGH),
    Kind("answer held for 12 s, has posted", Saboteur.hold_answer, "answered"),
    Kind("Discord answers 500 to everything for 4 s", Saboteur.fail_everything, "over"),
    Kind("queue paused for some seconds", Saboteur.pause, "resumed"),
)
