"""What people keep under a name, for themselves or for a server: the common part of presets and of motions.

A hash for each owner, `person:<id>` or `guild:<id>`; what is kept is JSON, so that what another version wrote is passed
over and no more.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar, cast

from arq.connections import ArqRedis
from pydantic import ValidationError

from jobs.errors import Refusal
from jobs.recipe import Value

MOST = 25
"""An owner's: as many as Discord shows choices for."""
MOST_SHARED = 5
"""Of a server's, as many may come from one person who does not moderate it."""
KEEP_SECONDS = 365 * 86_400
"""Whoever neither keeps nor uses any for a year has left."""


class Kept(Value):
    """One thing under its name."""

    name: str
    by: str = ""
    """Of a server's: who shared it; empty where they were forgotten."""


K = TypeVar("K", bound=Kept)


class Book(Generic[K]):
    """Those of people and of servers. A subclass says how they are written."""

    prefix: ClassVar[str]
    """Of its keys."""
    not_yours: ClassVar[type[Refusal]]
    """Raised where somebody else shared it."""
    too_many_shared: ClassVar[type[Refusal]]

    def __init__(self, redis: ArqRedis, kind: type[K]) -> None:
        self._redis = cast(Any, redis)  # redis-py types its asynchronous calls as if they were both kinds
        self._kind = kind

    async def all(self, owner: str) -> list[K]:
        """An owner's by name."""
        kept: list[K] = []
        for document in (await self._redis.hgetall(self._key(owner))).values():
            with contextlib.suppress(ValidationError):
                kept.append(self._kind.model_validate_json(document))
        return sorted(kept, key=lambda each: each.name.casefold())

    async def check_share(self, name: str, person_id: str, guild_id: str, *, moderates: bool) -> None:
        """Whether this person may give the server something of this name.

        Raises:
            Refusal: somebody else shared one of the same name, or the person shares as many as one may.
        """
        there = await self.all(f"guild:{guild_id}")
        same = called(name, there)
        theirs = [each for each in there if each.by == person_id and each is not same]
        if moderates:
            return
        if same and same.by != person_id:
            raise self.not_yours()
        if len(theirs) >= MOST_SHARED:
            raise self.too_many_shared(most=MOST_SHARED)

    def _key(self, owner: str) -> str:
        return f"{self.prefix}:{owner}"

    def _shared(self, person_id: str) -> str:
        """Set: the owners to whom this person gave something."""
        return f"{self.prefix}:shared:{person_id}"


def spelled(name: str) -> str:
    """What two spellings of one name have in common: `Foo ` is `foo`."""
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()


def called(name: str, kept: Iterable[K]) -> K | None:
    """The one of this name."""
    return next((each for each in kept if spelled(each.name) == spelled(name)), None)
