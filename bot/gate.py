"""Whether a request may become a job here, and on which terms: the settings, held against who asks for what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.amounts import MINUTE_MS, lasting
from jobs.errors import Note, Refusal
from jobs.policy import (
    Layers,
    Place,
    Rules,
    TermsSettings,
    combined,
    drained_in,
    terms_of,
)
from jobs.recipe import Output, Recipe
from jobs.record import Channel, Person, Submission
from jobs.requests import REQUESTS, Brief, Generation, Request
from jobs.requests.base import Shape, called
from jobs.rulebook import Rulebook
from jobs.settings import LimitSettings
from jobs.terms import Terms
from jobs.workers import USUAL, Advert, Workers, best_system, kinds_of, together


class NoSystem(Refusal):
    """No worker was ever seen."""

    code = "no_system"


class PartsMissing(Refusal):
    """The system is there, but something that was chosen needs more checkpoints."""

    code = "parts_missing"


class PartsApart(Refusal):
    """Everything that it needs is somewhere, but on no machine together."""

    code = "parts_apart"


class SystemNotInstalled(Refusal):
    """The chosen system, or its checkpoint, is on no known worker."""

    code = "system_not_installed"


class NoWorkerOnline(Refusal):
    """No machine that is online can run it, and such jobs do not wait here."""

    code = "no_worker_refused"


class CannotPostHere(Refusal):
    """The bot may not post files in this channel."""

    code = "cannot_post_here"


class Draining(Refusal):
    """No new requests are taken in the channel, the server or anywhere."""

    code = "draining"


class SystemNotAllowed(Refusal):
    """Moderators chose other systems for this place."""

    code = "system_not_allowed"


class NeedsAgeRestricted(Refusal):
    """Moderators want this system's clips in age-restricted channels alone."""

    code = "needs_age_restricted"


class ClipTooLong(Refusal):
    """More seconds than a clip may last here."""

    code = "clip_too_long"


class FrameTooLarge(Refusal):
    """More megapixels than a frame may have here."""

    code = "frame_too_large"


class ClipTooMuch(Refusal):
    """More seconds × megapixels than the requester's terms give for one clip."""

    code = "clip_too_much"


class ClipTooHeavy(Refusal):
    """Raw frames that no worker here has the disk for."""

    code = "clip_too_heavy"


@dataclass(frozen=True)
class Asked:
    """Who asked, where, and under which id; the same for an interaction and for a message."""

    id: str
    requester: Person
    channel: Channel
    may_post: bool
    reply_to: str | None = None
    roles: tuple[str, ...] = ()
    """Ids of the requester's roles in this server."""
    age_restricted: bool = False
    """Whether everybody in the channel said that they are of age."""


@dataclass(frozen=True)
class Room:
    """What is known of a channel in which nobody has asked just now."""

    id: str
    may_post: bool
    age_restricted: bool


FindRoom = Callable[[str, str], Room | None]
"""A server's id and a channel's; None where there is no such channel (any more)."""


@dataclass(frozen=True)
class Leave:
    """What holds for one request that may go on."""

    rules: Rules
    terms: Terms
    results: Channel | None
    spoiler: bool
    said: tuple[Note, ...]
    raw_gigabytes: float

    def output(self, output: Output) -> Output:
        """As chosen, or in the format that is usual here."""
        if "format" in output.model_fields_set or self.rules.format is None:
            return output
        return output.model_copy(update={"format": self.rules.format})

    def check_clip(self, recipe: Recipe) -> None:
        """Hold the clip after each step against the limits.

        Raises:
            ClipTooLong, FrameTooLarge, ClipTooMuch, ClipTooHeavy: naming the limit.
            Refusal: a step does not fit the clip that it would get.
        """
        for shape in recipe.shapes():
            self._check_shape(shape)

    def _check_shape(self, shape: Shape) -> None:
        seconds, megapixels = shape.seconds, shape.megapixels
        if self.rules.seconds and seconds > self.rules.seconds:
            raise ClipTooLong(seconds=round(seconds, 2), most=self.rules.seconds)
        if self.rules.megapixels and megapixels > self.rules.megapixels:
            raise FrameTooLarge(megapixels=megapixels, most=self.rules.megapixels)
        most = self.terms.megapixel_seconds
        if most and seconds * megapixels > most:
            fits = math.floor(10 * most / megapixels) / 10
            raise ClipTooMuch(asked=seconds * megapixels, most=most, megapixels=megapixels, seconds=fits)
        if shape.raw_bytes > self.raw_gigabytes * 1e9:
            raise ClipTooHeavy(
                width=shape.width, height=shape.height, frames=shape.num_frames,
                gigabytes=shape.raw_bytes / 1e9, most=self.raw_gigabytes,
            )  # fmt: skip


class Gate:
    """Reads the settings of a place and says yes or no."""

    def __init__(
        self,
        rulebook: Rulebook,
        table: TermsSettings,
        workers: Workers,
        find_room: FindRoom,
        limits: LimitSettings,
    ) -> None:
        self.rulebook = rulebook
        self.table = table
        self.workers = workers
        self.find_room = find_room
        self.wait_minutes = limits.wait_for_worker_minutes
        self.raw_gigabytes = limits.raw_gigabytes

    async def rules(self, place: Place) -> Rules:
        """What holds in this place, all settings together."""
        return combined(await self.rulebook.layers(place))

    async def terms(self, asked: Asked) -> Terms:
        """The requester's share and limits here and now."""
        return self._terms(asked, await self.rules(place_of(asked.channel)))

    async def best_system(self, asked: Asked, brief: Brief = USUAL) -> type[Generation]:
        """What `/animate` takes by itself: the best for this brief that is installed and allowed there.

        Raises:
            NoSystem, SystemNotAllowed: there is none.
        """
        installed = await self.workers.installed()
        best = best_system(installed, brief)
        if best is None:
            raise NoSystem()
        rules = await self.rules(place_of(asked.channel))
        there = {name: weights for name, weights in installed.items() if rules.allows(name)}
        allowed = best_system(there, brief)
        if allowed is None:
            raise SystemNotAllowed(system=best.name(), allowed=_listed(rules.systems or ()))
        return allowed

    async def admit(self, asked: Asked, *steps: Request) -> Leave:
        """Everything that can be said before anything is fetched.

        Raises:
            Refusal: something is in the way.
        """
        if not asked.may_post:
            raise CannotPostHere()
        layers = await self.rulebook.layers(place_of(asked.channel))
        _check_open(layers)
        rules = combined(layers)
        waits: tuple[Note, ...] = ()
        for step in steps:
            if not rules.allows(step.name()):
                raise SystemNotAllowed(system=step.name(), allowed=_listed(rules.systems or ()))
            waits = waits or await self._check_workers(step)
        results, open_to_all, said = self._results(asked, rules)
        hidden = open_to_all and _hidden(rules, steps)
        return Leave(rules, self._terms(asked, rules), results, hidden, (*said, *waits), self.raw_gigabytes)

    async def check_open(self, submission: Submission) -> None:
        """Whether what was prepared some minutes ago may still go into the line.

        Raises:
            Draining: no new requests are taken there now.
        """
        _check_open(await self.rulebook.layers(place_of(submission.channel)))

    def _terms(self, asked: Asked, rules: Rules) -> Terms:
        return terms_of(self.table, rules, asked.channel.guild_id, asked.roles)

    def _results(self, asked: Asked, rules: Rules) -> tuple[Channel | None, bool, tuple[Note, ...]]:
        """Where the clip goes, whether anybody of no age may see any of it, and what should be said of it."""
        guild, restricted = asked.channel.guild_id, asked.age_restricted
        if rules.results is None or guild is None or rules.results == asked.channel.id:
            return None, not restricted, ()
        room = self.find_room(guild, rules.results)
        if room is None or not room.may_post:
            return None, not restricted, (Note("results_unreachable", {"channel": f"<#{rules.results}>"}),)
        channel = asked.channel.model_copy(update={"id": room.id})
        return channel, not (restricted and room.age_restricted), ()

    async def settled(self, steps: Sequence[Request]) -> tuple[Request, ...]:
        """The steps with nothing left to the machine.

        Raises:
            Refusal: what is installed cannot do one of them.
        """
        installed = await self.workers.installed()
        return tuple(step.settled(installed[step.name()]) if step.name() in installed else step for step in steps)

    async def _check_workers(self, request: Request) -> tuple[Note, ...]:
        """Whether some machine can run it: known at all, and online now; what should be said where none is."""
        known = await self.workers.known()
        installed = together(known)
        if not installed:
            raise NoSystem()
        if request.kind not in kinds_of(installed):
            there = [kind.name() for kind in REQUESTS if kind.name() in installed]
            raise SystemNotInstalled(wanted=called(request.kind), installed=_listed(there))
        if missing := request.wanted - set(installed.get(request.name(), ())):
            raise PartsMissing(missing=" ".join(sorted(missing)))
        if not any(_able(advert, request) for advert in known):
            raise PartsApart(wanted=", ".join(sorted({called(request.kind), *request.wanted})))
        if any(_able(advert, request) and not advert.leaving for advert in await self.workers.online()):
            return ()
        if not self.wait_minutes:
            raise NoWorkerOnline(kind=called(request.kind))
        return (
            Note("no_worker_online", {"kind": called(request.kind), "time": lasting(self.wait_minutes * MINUTE_MS)}),
        )


def _able(advert: Advert, request: Request) -> bool:
    return request.kind in advert.kinds and request.wanted <= set(advert.systems.get(request.name(), ()))


def _hidden(rules: Rules, steps: Sequence[Request]) -> bool:
    """Whether a clip that anybody may see stands hidden.

    Raises:
        NeedsAgeRestricted: it may not be seen by anybody.
    """
    policies = {step.name(): rules.nsfw_of(step.name()) for step in steps}
    for system, policy in policies.items():
        if policy == "age-restricted":
            raise NeedsAgeRestricted(system=system)
    return "spoiler" in policies.values()


def _check_open(layers: Layers) -> None:
    scope = drained_in(layers)
    if scope is not None:
        raise Draining(where=where(scope))


def place_of(channel: Channel) -> Place:
    """Where settings are looked for."""
    return Place(channel.id, channel.guild_id, channel.parent_id)


def where(scope: str) -> str:
    """A scope in words, to stand at the end of a sentence."""
    kind, _, id_ = scope.partition(":")
    return {"all": "on all servers", "guild": "on this server"}.get(kind, f"in <#{id_}>")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
