"""What moderators set for servers and channels, in Redis: a hash for each scope, and who changed what, for some months.

Every change is one script that also writes the audit, so nothing is ever set that nobody can look up and undo.
"""

import contextlib
import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from arq.connections import ArqRedis

from jobs.errors import Refusal
from jobs.policy import EVERYWHERE, Layers, Place, Rules, Share
from jobs.queue import script
from jobs.recipe import Value
from jobs.record import Person

log = logging.getLogger(__name__)

KEPT_CHANGES = 200
KEPT_DAYS = 180
SHARE = "share"
Via = Literal["settings", "drain", "pause"]
"""By which command. What `drain` and `pause` did, `resume` undoes."""


class NothingToUndo(Refusal):
    """No change of the settings is remembered that was not undone already."""

    code = "nothing_to_undo"


class Changed(Value):
    """One setting's way from one value to another, as JSON; empty: not set."""

    name: str
    """As stored: `format`, or `share:<role or everyone>:weight`."""
    old: str
    new: str


class Change(Value):
    """One line of the audit: who did what, where and when. Text throughout: it is put together in Lua."""

    id: str
    at_ms: str
    by: str
    """The person's id."""
    name: str
    scope: str
    via: Via
    undoes: str = ""
    """The id of the change that this one took back."""
    changes: tuple[Changed, ...] = ()


def share_name(who: str, name: str) -> str:
    """How one value of a role's share is stored."""
    return f"{SHARE}:{who}:{name}"


@dataclass(frozen=True)
class Editor:
    """Who changes something, and in which server it is written down."""

    person: Person
    guild: str | None

    @property
    def book(self) -> str:
        """The key of the audit: one for each server, and one for what concerns all."""
        return audit_key(self.guild)


def rules_key(scope: str) -> str:
    """Where a scope's settings lie. They stay until they are cleared."""
    return f"zoetrope:rules:{scope}"


def audit_key(guild: str | None) -> str:
    """Where a server's changes are written down; None: those that concern all."""
    return f"zoetrope:audit:{guild or EVERYWHERE}"


class Rulebook:
    """Reads and changes the settings."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = cast(Any, redis)  # redis-py types its asynchronous calls as if they were both kinds
        self._change = self.redis.register_script(script("change_rules"))

    async def layers(self, place: Place) -> Layers:
        """What is set here and around here, the widest first."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for scope in place.scopes:
                pipe.hgetall(rules_key(scope))
            found = await pipe.execute()
        return [(scope, _rules(fields)) for scope, fields in zip(place.scopes, found, strict=True)]

    async def rules(self, scope: str) -> Rules:
        """What is set in one scope alone."""
        return _rules(await self.redis.hgetall(rules_key(scope)))

    async def change(
        self, editor: Editor, scope: str, values: Mapping[str, Any], *, via: Via = "settings"
    ) -> Change | None:
        """Set these settings, or take away those whose value is None. None where nothing is another than before."""
        wanted = [(name, "" if value is None else _document(value), "*") for name, value in values.items()]
        return await self._write(editor, scope, wanted, via)

    async def clear(self, editor: Editor, scope: str, prefix: str = "") -> Change | None:
        """Take away what is set in a scope, or only what begins so. A drain is no setting and stays."""
        stored = [name.decode() for name in await self.redis.hkeys(rules_key(scope))]
        gone = [name for name in stored if name.startswith(prefix) and name != "drained"]
        return await self.change(editor, scope, dict.fromkeys(gone)) if gone else None

    async def undo(self, editor: Editor) -> Change:
        """Take back the newest change of this server's settings that still stands.

        Raises:
            NothingToUndo: there is none, or somebody just changed the same settings.
        """
        history = await self.history(editor.guild)
        undone = {change.undoes for change in history}
        for change in history:
            if change.via != "settings" or change.undoes or change.id in undone:
                continue
            wanted = [(each.name, each.old, each.new) for each in change.changes]
            if back := await self._write(editor, change.scope, wanted, "settings", undoes=change.id):
                return back
            break
        raise NothingToUndo()

    async def history(self, guild: str | None, most: int = KEPT_CHANGES) -> list[Change]:
        """The changes, newest first."""
        changes: list[Change] = []
        for document in await self.redis.lrange(audit_key(guild), 0, most - 1):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # another version's
                changes.append(_change(document))
        return changes

    async def note(self, editor: Editor, scope: str, *, paused: bool) -> None:
        """Write down a pause or its end; the queue keeps the pause itself."""
        old, new = _document(not paused), _document(paused)
        entry = _entry(editor, scope, "pause").model_copy(
            update={"changes": (Changed(name="paused", old=old, new=new),)}
        )
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.lpush(editor.book, _stored(entry))
            pipe.ltrim(editor.book, 0, KEPT_CHANGES - 1)
            pipe.expire(editor.book, KEPT_DAYS * 86_400)
            await pipe.execute()

    async def _write(
        self, editor: Editor, scope: str, wanted: Sequence[tuple[str, str, str]], via: Via, undoes: str = ""
    ) -> Change | None:
        entry = _entry(editor, scope, via, undoes)
        arguments = [word for each in wanted for word in each]
        answer = await self._change(
            keys=[rules_key(scope), editor.book],
            args=[_stored(entry), KEPT_CHANGES, KEPT_DAYS * 86_400_000, *arguments],
        )
        return _change(answer) if answer else None


def _entry(editor: Editor, scope: str, via: Via, undoes: str = "") -> Change:
    return Change(
        id=secrets.token_hex(6),
        at_ms=str(round(time.time() * 1000)),
        by=editor.person.id,
        name=editor.person.name,
        scope=scope,
        via=via,
        undoes=undoes,
    )


def _stored(change: Change) -> str:
    document = change.model_dump()
    document["changes"] = [[each["name"], each["old"], each["new"]] for each in document["changes"]]
    return json.dumps(document)


def _change(document: bytes | str) -> Change:
    fields = json.loads(document)
    fields["changes"] = [dict(zip(("name", "old", "new"), each, strict=True)) for each in fields["changes"]]
    return Change.model_validate(fields)


def _document(value: Any) -> str:
    """One value has one text, so that equal values are seen to be equal."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _rules(fields: Mapping[bytes, bytes]) -> Rules:
    """The stored settings; what this version cannot read is left out, and said in the log."""
    values: dict[str, Any] = {}
    shares: dict[str, dict[str, Any]] = {}
    for stored, document in fields.items():
        name = stored.decode()
        kind, _, rest = name.partition(":")
        who, _, key = rest.partition(":")
        try:
            value = json.loads(document)
            if kind == SHARE:
                Share.model_validate({key: value})
                shares.setdefault(who, {})[key] = value
            else:
                Rules.model_validate({name: value})
                values[name] = value
        except ValueError as error:
            log.warning("a stored setting cannot be read: %s (%s)", name, error)
    return Rules.model_validate({**values, "shares": shares})
