"""Motions that were learned from clips: files of the store under names, for a person or a server.

A motion uses its file as a job does (`jobs/retention.py`), for a year from when its owner last used any of theirs. Each
change is one script, so that there is neither a motion without its file nor a file that nobody will ever let go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from arq.connections import ArqRedis
from pydantic import Field

from jobs.errors import Refusal
from jobs.owned import MOST, Book, Kept, called, spelled
from jobs.queue import script
from jobs.recipe import Digest
from jobs.record import Job, Rendered
from jobs.requests.learnmotion import NAME, LearnedOn, LearnMotionRequest
from jobs.schedules.passage import quoted

Answer = Literal["kept", "replaced", "full", "gone"]
"""`replaced`: its owner had another of that name. `full`: as many as one may have. `gone`: the job is, or will be."""


class NoSuchMotion(Refusal):
    """Nothing was learned under this name."""

    code = "no_such_motion"


class TooManyMotions(Refusal):
    """A person has as many as one may have."""

    code = "too_many_motions"


class TooManySharedMotions(Refusal):
    """A person shared as many as one may."""

    code = "too_many_shared_motions"


class NotYourMotion(Refusal):
    """Somebody else shared it."""

    code = "not_your_motion"


class Motion(Kept):
    """What was learned."""

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    digest: Digest
    module: LearnedOn
    """The motion module that it goes with."""
    size_bytes: int = Field(ge=0)
    made_ms: int
    job_id: str
    """The job that learned it."""

    @classmethod
    def of(cls, job: Job) -> Motion | None:
        """What a job learned, if anything."""
        learned = [step for step in job.submission.recipe.steps if isinstance(step, LearnMotionRequest)]
        if not learned or not isinstance(job.outcome, Rendered) or job.outcome.motion is None:
            return None
        step = learned[-1]
        return cls(
            name=step.save_as,
            digest=job.outcome.motion,
            module=step.module or "v3",
            size_bytes=job.outcome.motion_bytes,
            by=job.submission.requester.id,
            made_ms=job.ended_ms or job.submission.accepted_ms,
            job_id=job.id,
        )


class Motions(Book[Motion]):
    """Those of people (`person:<id>`) and of servers (`guild:<id>`). `Retention.forget` takes a person's away."""

    prefix = "zoetrope:motions"
    not_yours = NotYourMotion
    too_many_shared = TooManySharedMotions

    def __init__(self, redis: ArqRedis) -> None:
        super().__init__(redis, Motion)
        self._scripts: dict[str, Any] = {}

    async def _run(self, name: str, *arguments: str | int) -> Any:
        if name not in self._scripts:
            self._scripts[name] = self._redis.register_script(script(name))
        return await self._scripts[name](args=list(arguments))

    async def keep(self, job: Job, *, again: bool = False) -> Answer | None:
        """Give a job's requester what it learned; None where that is nothing. Doing it twice is doing it once.

        `again`: they ask for it once more, for there was no room, or they deleted it. Hold the file before.
        """
        motion = Motion.of(job)
        if motion is None:
            return None
        owner, key = f"person:{motion.by}", spelled(motion.name)
        answer = await self._run("motion_keep", job.id, owner, key, motion.model_dump_json(), MOST, int(again))
        return answer.decode()

    async def check_room(self, person_id: str, name: str) -> None:
        """Whether there is room for one more of a person's, before anybody learns it.

        Raises:
            TooManyMotions: there are `MOST` others.
        """
        there = await self.all(f"person:{person_id}")
        if len(there) >= MOST and called(name, there) is None:
            raise TooManyMotions(most=MOST)

    async def seen(self, person_id: str, guild_id: str | None) -> list[Motion]:
        """What a person may use there: their own, and of the server's those whose names are not taken by these."""
        own = await self.all(f"person:{person_id}")
        theirs = await self.all(f"guild:{guild_id}") if guild_id else []
        return [*own, *(each for each in theirs if called(each.name, own) is None)]

    async def find(self, name: str, person_id: str, guild_id: str | None) -> Motion:
        """The person's own of this name, else the server's, to be used.

        Raises:
            NoSuchMotion: there is none.
        """
        seen = await self.seen(person_id, guild_id)
        found = called(name, seen)
        if found is None:
            raise _missing(name, seen)
        own = called(name, await self.all(f"person:{person_id}"))
        await self._run("motion_use", f"person:{person_id}" if own else f"guild:{guild_id}")
        return found

    async def get(self, owner: str, name: str) -> Motion:
        """This owner's motion of this name.

        Raises:
            NoSuchMotion: there is none.
        """
        there = await self.all(owner)
        found = called(name, there)
        if found is None:
            raise _missing(name, there)
        return found

    async def delete(self, owner: str, name: str) -> None:
        """Take one away; its file goes with the next sweep where nobody else uses it.

        Raises:
            NoSuchMotion: there is none of this name.
        """
        motion = await self.get(owner, name)
        await self._run("motion_drop", owner, spelled(motion.name))

    async def share(self, name: str, person_id: str, guild_id: str, *, moderates: bool) -> Motion:
        """Give a server one of a person's own, instead of one of the same name that this person shared.

        Raises:
            NoSuchMotion: the person has none of this name.
            NotYourMotion: somebody else shared that one, and the person does not moderate.
            TooManyMotions, TooManySharedMotions: there are as many as there may be.
        """
        motion = await self.get(f"person:{person_id}", name)
        await self.check_share(motion.name, person_id, guild_id, moderates=moderates)
        there = await self.all(f"guild:{guild_id}")
        if len(there) >= MOST and called(motion.name, there) is None:
            raise TooManyMotions(most=MOST)
        given = motion.model_copy(update={"by": person_id}).model_dump_json()
        if not await self._run("motion_share", person_id, f"guild:{guild_id}", spelled(motion.name), given):
            raise _missing(name, ())
        return motion

    async def unshare(self, name: str, person_id: str, guild_id: str, *, moderates: bool) -> None:
        """Take one of a server's away.

        Raises:
            NoSuchMotion: there is none of this name.
            NotYourMotion: somebody else shared it, and the person does not moderate.
        """
        owner = f"guild:{guild_id}"
        motion = await self.get(owner, name)
        if motion.by != person_id and not moderates:
            raise NotYourMotion()
        await self.delete(owner, motion.name)


def _missing(name: str, there: Sequence[Motion]) -> NoSuchMotion:
    return NoSuchMotion(name=quoted(name), known=", ".join(each.name for each in there)[:1000] or "none yet")
