"""Presets: a recipe's steps under a name, for a person or for a server, read with the same classes as a recipe."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from arq.connections import ArqRedis
from pydantic import Field, ValidationError

from jobs.errors import Refusal
from jobs.owned import KEEP_SECONDS, MOST, Book, Kept, called, spelled
from jobs.recipe import MOST_STEPS, Output, Recipe
from jobs.requests import AnyRequest
from jobs.requests.base import SourceKind, source_kinds

UNSEEN = re.compile("[\u200c\u200d]")
"""Letters that join others and are not seen themselves: with them two names could look the same."""
PresetName = Annotated[str, Field(pattern=r"^[\w][\w .+-]{0,31}$")]


class TooManyPresets(Refusal):
    """An owner has as many as one may have."""

    code = "too_many_presets"


class NoSuchPreset(Refusal):
    """Nothing is saved under this name."""

    code = "no_such_preset"


class TooManyShared(Refusal):
    """A person shared as many as one may."""

    code = "too_many_shared"


class NotYourPreset(Refusal):
    """Somebody else shared it."""

    code = "not_your_preset"


class BadPresetName(Refusal):
    """A name that nobody could type again."""

    code = "bad_preset_name"


class Preset(Kept):
    """What was saved."""

    name: PresetName
    steps: tuple[Annotated[AnyRequest, Field(discriminator="system")], ...] = Field(min_length=1, max_length=MOST_STEPS)
    output: Output = Output()

    @classmethod
    def of(cls, name: str, recipe: Recipe) -> Preset:
        """A recipe without its sources.

        Raises:
            BadPresetName: the name cannot be one.
        """
        try:
            return cls(
                name=UNSEEN.sub("", unicodedata.normalize("NFC", name)).strip(),
                steps=recipe.steps,
                output=recipe.output,
            )
        except ValidationError:
            raise BadPresetName(name=name[:40]) from None

    @property
    def title(self) -> str:
        """Its systems in their order."""
        return " → ".join(step.name() for step in self.steps)

    @property
    def wanted(self) -> dict[str, SourceKind]:
        """The sources that its steps name, by name; a motion is found by that, and need not be given."""
        return {name: kind for name, kind in source_kinds(self.steps).items() if kind != "motion"}


class Presets(Book[Preset]):
    """Those of people (`person:<id>`) and of servers (`guild:<id>`)."""

    prefix = "zoetrope:presets"
    not_yours = NotYourPreset
    too_many_shared = TooManyShared

    def __init__(self, redis: ArqRedis) -> None:
        super().__init__(redis, Preset)

    async def save(self, owner: str, preset: Preset) -> None:
        """Keep it, instead of another of the same name: `Foo` is `foo`.

        Raises:
            TooManyPresets: there are `MOST` others.
        """
        key = self._key(owner)
        names = {name.decode() for name in await self._redis.hkeys(key)}
        same = {name for name in names if spelled(name) == spelled(preset.name)}
        if len(names - same) >= MOST:
            raise TooManyPresets(most=MOST)
        async with self._redis.pipeline(transaction=True) as pipeline:
            for name in same - {preset.name}:
                pipeline.hdel(key, name)
            pipeline.hset(key, preset.name, preset.model_dump_json())
            await pipeline.execute()
        await self._redis.expire(key, KEEP_SECONDS)

    async def get(self, name: str, *owners: str) -> Preset:
        """The first owner's preset of this name that is there.

        Raises:
            NoSuchPreset: none has one.
        """
        for owner in owners:
            found = called(name, await self.all(owner))
            if found:
                await self._redis.expire(self._key(owner), KEEP_SECONDS)
                return found
        raise NoSuchPreset(name=name[:40])

    async def delete(self, owner: str, name: str) -> None:
        """Take one away.

        Raises:
            NoSuchPreset: there is none of this name.
        """
        preset = await self.get(name, owner)
        await self._redis.hdel(self._key(owner), preset.name)

    async def share(self, preset: Preset, person_id: str, guild_id: str, *, moderates: bool) -> None:
        """Keep it for a server, instead of one of the same name that this person shared.

        Raises:
            NotYourPreset: somebody else shared that one, and the person does not moderate.
            TooManyPresets, TooManyShared: there are as many as there may be.
        """
        owner = f"guild:{guild_id}"
        await self.check_share(preset.name, person_id, guild_id, moderates=moderates)
        await self.save(owner, preset.model_copy(update={"by": person_id}))
        await self._redis.sadd(self._shared(person_id), owner)

    async def unshare(self, name: str, person_id: str, guild_id: str, *, moderates: bool) -> None:
        """Take one of a server's away.

        Raises:
            NoSuchPreset: there is none of this name.
            NotYourPreset: somebody else shared it, and the person does not moderate.
        """
        owner = f"guild:{guild_id}"
        if (await self.get(name, owner)).by != person_id and not moderates:
            raise NotYourPreset()
        await self.delete(owner, name)

    async def forget(self, person_id: str) -> None:
        """Take a person's own away, and their name from those that they shared."""
        for owner in map(bytes.decode, await self._redis.smembers(self._shared(person_id))):
            for preset in await self.all(owner):
                if preset.by == person_id:
                    await self.save(owner, preset.model_copy(update={"by": ""}))
        await self._redis.delete(self._key(f"person:{person_id}"), self._shared(person_id))
