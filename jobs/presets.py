"""Presets: a recipe's steps under a name, for a person or for a server, in Redis.

A hash for each owner; a preset is JSON, read with the same classes as a recipe, so that one of another version is
passed over and no more.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, cast

from arq.connections import ArqRedis
from pydantic import Field, ValidationError

from jobs.errors import Refusal
from jobs.recipe import MOST_STEPS, Output, Recipe, Value
from jobs.requests import AnyRequest
from jobs.requests.base import SourceKind, source_kinds

MOST = 25
"""As many as Discord shows choices for."""
KEEP_SECONDS = 365 * 86_400
"""Whoever neither saves nor uses any for a year has left."""
PresetName = Annotated[str, Field(pattern=r"^[\w][\w .+-]{0,31}$")]


class TooManyPresets(Refusal):
    """An owner has as many as one may have."""

    code = "too_many_presets"


class NoSuchPreset(Refusal):
    """Nothing is saved under this name."""

    code = "no_such_preset"


class BadPresetName(Refusal):
    """A name that nobody could type again."""

    code = "bad_preset_name"


class Preset(Value):
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
            return cls(name=name.strip(), steps=recipe.steps, output=recipe.output)
        except ValidationError:
            raise BadPresetName(name=name[:40]) from None

    @property
    def title(self) -> str:
        """Its systems in their order."""
        return " → ".join(step.name() for step in self.steps)

    @property
    def wanted(self) -> dict[str, SourceKind]:
        """The sources that its steps name, by name."""
        return source_kinds(self.steps)


class Presets:
    """Those of people (`person:<id>`) and of servers (`guild:<id>`)."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = cast(Any, redis)

    async def save(self, owner: str, preset: Preset) -> None:
        """Keep it, instead of another of the same name: `Foo` is `foo`.

        Raises:
            TooManyPresets: there are `MOST` others.
        """
        key = _key(owner)
        names = {name.decode() for name in await self._redis.hkeys(key)}
        same = {name for name in names if name.lower() == preset.name.lower()}
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
            found = next((each for each in await self.all(owner) if each.name.lower() == name.strip().lower()), None)
            if found:
                await self._redis.expire(_key(owner), KEEP_SECONDS)
                return found
        raise NoSuchPreset(name=name[:40])

    async def all(self, owner: str) -> list[Preset]:
        """An owner's presets by name."""
        presets: list[Preset] = []
        for document in (await self._redis.hgetall(_key(owner))).values():
            with contextlib.suppress(ValidationError):
                presets.append(Preset.model_validate_json(document))
        return sorted(presets, key=lambda preset: preset.name.lower())

    async def delete(self, owner: str, name: str) -> None:
        """Take one away.

        Raises:
            NoSuchPreset: there is none of this name.
        """
        preset = await self.get(name, owner)
        await self._redis.hdel(_key(owner), preset.name)

    async def forget(self, owner: str) -> None:
        """Take all of an owner's away."""
        await self._redis.delete(_key(owner))


def _key(owner: str) -> str:
    return f"zoetrope:presets:{owner}"
