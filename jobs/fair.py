"""Start-time fair queueing, in plain Python: the order that `jobs/lua` keeps in Redis, for forecasts and as its oracle.

Goyal, Vin and Cheng, "Start-time Fair Queuing" (SIGCOMM 1996), on two levels: servers share the GPUs, and within each
server its people do. Every flow has a start tag; the flow with the least tag is served, and its tag grows by the job's
cost over the flow's weight. A flow that comes back from idleness starts at the virtual time: nobody saves up credit.

Over any interval in which two flows are backlogged, |served_a / w_a - served_b / w_b| <= c_a / w_a + c_b / w_b (there,
theorem 1), where c is a flow's largest cost. Costs are GPU milliseconds.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from jobs.line import Flow, Line, Waiting

LAG_MS = 600_000.0
"""A flow that no worker could serve for a while keeps its right to catch up, but for no more than so much."""
LEAST_TURN_MS = 10_000.0
"""A job that ends without a clip counts as a turn of so much at least, or as it was estimated if that is less."""
MOST_PASSES = 3
"""So often may one job be passed by others whose model a worker holds already."""
TIES = 2**20
"""Equal tags are served in the order in which their flows came: a fraction of a millisecond tells them apart."""


class Choice(NamedTuple):
    """A job that may start; choices compare as their turns do."""

    guild_tag: float
    tag: float
    seq: int
    job: Waiting


@dataclass
class _Person:
    flow: Flow = field(default_factory=Flow)
    lines: dict[str, list[tuple[int, Waiting]]] = field(default_factory=dict[str, list[tuple[int, Waiting]]])
    """Their waiting jobs by kind, each line in the order in which they were accepted."""
    ordered: bool = False
    """Takes part now: something waits, and the limit of running jobs is not reached."""


@dataclass
class _Guild:
    flow: Flow = field(default_factory=Flow)
    virtual_time: float = 0.0
    people: dict[str, _Person] = field(default_factory=dict[str, _Person])
    heads: dict[str, list[tuple[float, str]]] = field(default_factory=dict[str, list[tuple[float, str]]])
    """By kind, a heap of (tag, person). Entries are never removed: one that no longer holds is passed over."""
    ordered: int = 0
    open: int = 0
    """Jobs that wait or run."""


class FairLine:
    """A line in memory. `add` what waits, `take` what is next, `finish` what ended."""

    def __init__(self) -> None:
        self.virtual_time = 0.0
        self.guilds: dict[str, _Guild] = {}
        self.passes: dict[str, int] = {}
        self._heads: dict[str, list[tuple[float, str]]] = {}
        self._idle_tags: dict[str, float] = {}
        self._weights: dict[str, tuple[float, float]] = {}
        """Of started jobs, the weights of server and person then: what they give back is given back under these."""
        self._tried_ms: dict[str, float] = {}
        """Of jobs that came back after a try that counts, what the device worked on them so far."""

    @classmethod
    def of(cls, line: Line) -> Self:
        """The line as it is in Redis."""
        fair = cls()
        fair.virtual_time = line.virtual_time
        for name, known in line.guilds.items():
            guild = fair.guilds[name] = _Guild(replace(known.flow), known.virtual_time)
            guild.people = {person: _Person(replace(flow)) for person, flow in known.people.items()}
            guild.open = sum(flow.running for flow in known.people.values())
        waiting = [job for job in line.waiting if not job.held]
        for job in waiting:
            fair._append(job)
        for guild_name, name in dict.fromkeys((job.guild, job.person) for job in waiting):
            fair._order(guild_name, name, None)
        return fair

    def terms(self, guild: str, person: str, *, weight: float = 1.0, guild_weight: float = 1.0, most: int = 0) -> None:
        """The weights and the running limit that hold from now on."""
        self._guild(guild).flow.weight = guild_weight
        flow = self._person(guild, person).flow
        flow.weight, flow.most_running = weight, most

    def add(self, job: Waiting) -> None:
        """A job enters the line."""
        self._append(job)
        self._order(job.guild, job.person, job.seq)

    def remove(self, job: Waiting) -> None:
        """A waiting job leaves. It costs nothing but a turn for tries that it has had."""
        self._drop(job)
        self._charge(job.guild, job.person, self._turn_before(job))
        self._leave(job)

    def take(self, kinds: Collection[str], warm: Collection[str] = (), slack_ms: float = 0.0) -> Waiting | None:
        """Start the job whose turn it is among those a worker can do.

        A job whose model the worker holds (`warm`) may go before the one whose turn it is, if that is another person's,
        at most `slack_ms` of virtual time before it, and was not passed `MOST_PASSES` times already.
        """
        choices = sorted(choice for kind in set(kinds) if (choice := self._first(kind)))
        if not choices:
            return None
        chosen = choices[0] if choices[0].job.kind in warm else self._passing(choices, warm, slack_ms)
        if chosen is not choices[0]:
            head = choices[0].job.id
            self.passes[head] = self.passes.get(head, 0) + 1
        self._start(chosen.job, choices[0].guild_tag, _least_tag(chosen, choices))
        return chosen.job

    def finish(self, job: Waiting, used_ms: float | None = None) -> None:
        """A started job ended in a clip. `used_ms`: what the device worked on it; None: as estimated."""
        self._stop(job, job.cost_ms if used_ms is None else used_ms)
        self._leave(job)

    def fail(self, job: Waiting, used_ms: float | None = None) -> None:
        """A started job ended without a clip: it failed, or was stopped. `used_ms`: as above.

        Whoever's fault it was, it had its turn. What it gives back of it lets its flows stand behind those who are new
        and no further ahead: whoever fails again and again would else go before everybody.
        """
        guild, person = self._guild(job.guild), self._person(job.guild, job.person)
        stood = guild.flow.tag, person.flow.tag
        used_ms = job.cost_ms if used_ms is None else used_ms
        self._stop(job, max(used_ms + self._turn_before(job), min(job.cost_ms, LEAST_TURN_MS)))
        guild.flow.tag = max(guild.flow.tag, min(stood[0], self.virtual_time + 1))
        person.flow.tag = max(person.flow.tag, min(stood[1], guild.virtual_time + 1))
        self._show_all(job.guild, job.person)
        self._leave(job)

    def release(self, job: Waiting, tried_ms: float | None = None) -> None:
        """A started job comes back to its own place in the line, as if it had never started.

        `tried_ms`: what the device worked on it, as far as is known, in a try that counts: see `_turn_before`.
        """
        if tried_ms is not None:
            self._tried_ms[job.id] = self._tried_ms.get(job.id, 0.0) + tried_ms
        self._stop(job, 0.0)
        self.guilds[job.guild].open -= 1
        self.add(job)

    # --- the sums ---

    def _start(self, job: Waiting, turn: float, turn_within: float) -> None:
        """Virtual time moves to the tag whose turn it was, even where another job was let pass."""
        guild, person = self._guild(job.guild), self._person(job.guild, job.person)
        self.virtual_time = max(self.virtual_time, turn)
        guild.virtual_time = max(guild.virtual_time, turn_within)
        guild.flow.tag = max(guild.flow.tag, self.virtual_time - LAG_MS)
        person.flow.tag = max(person.flow.tag, guild.virtual_time - LAG_MS)
        person.flow.running += 1
        self.passes.pop(job.id, None)
        self._drop(job)
        self._order(job.guild, job.person, job.seq)
        self._weights[job.id] = guild.flow.weight, person.flow.weight
        self._charge(job.guild, job.person, job.cost_ms)

    def _stop(self, job: Waiting, turn_ms: float) -> None:
        """A started job is in nobody's hands any more, and has had a turn of so much."""
        self._person(job.guild, job.person).flow.running -= 1
        self._charge(job.guild, job.person, turn_ms - job.cost_ms, self._weights.pop(job.id, None))

    def _turn_before(self, job: Waiting) -> float:
        """The turn that a job has had in tries that came to nothing, once it leaves without a clip."""
        tried_ms = self._tried_ms.get(job.id)
        return 0.0 if tried_ms is None else max(tried_ms, job.cost_ms)

    def _charge(self, guild_name: str, name: str, cost_ms: float, weights: tuple[float, float] | None = None) -> None:
        """`weights`: those of server and person under which the job started, where they may have others by now."""
        guild, person = self._guild(guild_name), self._person(guild_name, name)
        guild_weight, weight = weights or (guild.flow.weight, person.flow.weight)
        guild.flow.tag += cost_ms / guild_weight
        person.flow.tag += cost_ms / weight
        self._show_all(guild_name, name)

    def _order(self, guild_name: str, name: str, seq: int | None) -> None:
        """Who begins to take part begins at the virtual time; `seq` None: they did all along, with their tag."""
        guild, person = self._guild(guild_name), self._person(guild_name, name)
        flow = person.flow
        takes_part = bool(person.lines) and (not flow.most_running or flow.running < flow.most_running)
        if takes_part and not person.ordered:
            guild.ordered += 1
            if seq is not None:
                flow.tag = max(flow.tag, guild.virtual_time + tie(seq))
                if guild.ordered == 1:
                    guild.flow.tag = max(guild.flow.tag, self.virtual_time + tie(seq))
        guild.ordered -= person.ordered and not takes_part
        person.ordered = takes_part
        self._show(guild_name, name)

    def _leave(self, job: Waiting) -> None:
        """One open job less. A server without any forgets who used what; without any server, time begins anew."""
        guild = self.guilds[job.guild]
        guild.open -= 1
        self._tried_ms.pop(job.id, None)
        self._order(job.guild, job.person, job.seq)
        if guild.open == 0:
            self._idle_tags[job.guild] = guild.flow.tag
            del self.guilds[job.guild]
        if not self.guilds:
            self.virtual_time = 0.0
            self._idle_tags.clear()

    # --- who is where ---

    def _first(self, kind: str) -> Choice | None:
        """The first job of one kind: of the first server, its first person's first."""
        heads = self._heads.get(kind, [])
        while heads:
            tag, name = heads[0]
            guild = self.guilds.get(name)
            if guild and guild.flow.tag == tag and (job := _first_in(guild, kind)):
                return Choice(tag, guild.people[job.person].flow.tag, job.seq, job)
            heapq.heappop(heads)
        return None

    def _passing(self, choices: list[Choice], warm: Collection[str], slack_ms: float) -> Choice:
        """The first job that may pass the head of the line, or the head itself."""
        head = choices[0]
        if self.passes.get(head.job.id, 0) >= MOST_PASSES:
            return head
        for choice in choices[1:]:
            another = (choice.job.guild, choice.job.person) != (head.job.guild, head.job.person)
            near = choice.guild_tag <= head.guild_tag + slack_ms
            near_within = choice.tag <= _least_tag(choice, choices) + slack_ms
            if choice.job.kind in warm and another and near and near_within:
                return choice
        return head

    def _append(self, job: Waiting) -> None:
        guild, person = self._guild(job.guild), self._person(job.guild, job.person)
        insort(person.lines.setdefault(job.kind, []), (job.seq, job), key=lambda entry: entry[0])
        guild.open += 1

    def _drop(self, job: Waiting) -> None:
        """Out of its person's line; still counted as open."""
        person = self._person(job.guild, job.person)
        line = person.lines[job.kind]
        line.remove((job.seq, job))
        if not line:
            del person.lines[job.kind]

    def _show(self, guild_name: str, name: str) -> None:
        """Put a person who takes part where their tag belongs, and their server where its tag does."""
        guild = self.guilds[guild_name]
        person = guild.people[name]
        if person.ordered:
            for kind in person.lines:
                heapq.heappush(guild.heads.setdefault(kind, []), (person.flow.tag, name))
                self._show_guild(guild_name, kind)

    def _show_all(self, guild_name: str, name: str) -> None:
        """The same after a tag moved: under every kind."""
        self._show(guild_name, name)
        for kind in self.guilds[guild_name].heads:
            self._show_guild(guild_name, kind)

    def _show_guild(self, name: str, kind: str) -> None:
        heapq.heappush(self._heads.setdefault(kind, []), (self.guilds[name].flow.tag, name))

    def _guild(self, name: str) -> _Guild:
        if name not in self.guilds:
            self.guilds[name] = _Guild(Flow(tag=self._idle_tags.pop(name, 0.0)))
        return self.guilds[name]

    def _person(self, guild: str, name: str) -> _Person:
        return self._guild(guild).people.setdefault(name, _Person())


def tie(seq: int) -> float:
    """The fraction that orders equal tags."""
    return seq % TIES / TIES


def _least_tag(of: Choice, choices: list[Choice]) -> float:
    """Whose turn it is within a server, among what the worker can do."""
    return min(choice.tag for choice in choices if choice.job.guild == of.job.guild)


def _first_in(guild: _Guild, kind: str) -> Waiting | None:
    heads = guild.heads.get(kind, [])
    while heads:
        tag, name = heads[0]
        person = guild.people[name]
        if person.ordered and person.flow.tag == tag and kind in person.lines:
            return person.lines[kind][0][1]
        heapq.heappop(heads)
    return None
