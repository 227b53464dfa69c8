"""The things Discord knows: people, places, files and messages. Plain state, no wire format."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
MIB = 1024 * 1024
TIER_LIMITS = {2: 50 * MIB, 3: 100 * MIB}
"""Bytes per file by boost tier; below tier 2 the world's default counts (developers/reference, Uploading Files)."""

TEXT, DM, THREAD = 0, 1, 11
IS_EPHEMERAL, IS_LOADING, IS_V2 = 1 << 6, 1 << 7, 1 << 15
Serving = Literal["plain", "chunked", "drip", "endless", "redirect", "missing", "html", "broken"]


@dataclass(eq=False)
class User:
    """An account. `upload_limit` in bytes is what Nitro gives; None is without."""

    id: int
    name: str
    bot: bool = False
    upload_limit: int | None = None
    locale: str = "en-US"
    accepts_dms: bool = True

    @property
    def mention(self) -> str:
        """How one writes at them."""
        return f"<@{self.id}>"

    def __repr__(self) -> str:
        return f"<User {self.name}>"


@dataclass(eq=False)
class Role:
    """A role of one guild; @everyone has the guild's id."""

    id: int
    name: str
    permissions: int
    position: int = 1

    @property
    def mention(self) -> str:
        """How one writes at all who have it."""
        return f"<@&{self.id}>"


@dataclass(eq=False)
class Member:
    """A user in a guild."""

    user: User
    joined_at: float
    roles: list[Role] = field(default_factory=list)
    nick: str | None = None


@dataclass
class Overwrite:
    """What a channel allows or denies to one role or member, as bits."""

    kind: Literal[0, 1]
    allow: int = 0
    deny: int = 0


@dataclass(eq=False)
class Guild:
    """A server."""

    id: int
    name: str
    owner: User
    premium_tier: int = 0
    locale: str = "en-US"
    roles: list[Role] = field(default_factory=list)
    members: dict[int, Member] = field(default_factory=dict)
    gone: bool = False

    @property
    def everyone(self) -> Role:
        """The role that all have."""
        return self.roles[0]

    def __repr__(self) -> str:
        return f"<Guild {self.name}>"


@dataclass(eq=False)
class Channel:
    """A text channel, a thread (with `parent`), or a DM (with `recipient`)."""

    id: int
    name: str
    type: int = TEXT
    guild: Guild | None = None
    parent: Channel | None = None
    recipient: User | None = None
    nsfw: bool = False
    overwrites: dict[int, Overwrite] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    nonces: dict[tuple[int, str], tuple[float, Message]] = field(default_factory=dict)
    typing: int = 0
    archived: bool = False
    gone: bool = False

    @property
    def mention(self) -> str:
        """A link to it."""
        return f"<#{self.id}>"

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"


@dataclass(eq=False)
class Attachment:
    """A file on the CDN. `size` is what Discord says, `data` what it serves; `serving` says how it misbehaves."""

    id: int
    filename: str
    data: bytes
    content_type: str | None
    size: int
    width: int | None = None
    height: int | None = None
    description: str | None = None
    folder: str = "ephemeral-attachments"
    origin: str = ""
    sign: Callable[[], str] = str
    ephemeral: bool = False
    serving: Serving = "plain"
    served_type: str | None = None
    redirect_to: str | None = None
    fetched: int = 0

    @property
    def path(self) -> str:
        """Where it lies on its origin."""
        return f"/{self.folder}/{self.id}/{self.filename}"

    @property
    def url(self) -> str:
        """Signed like Discord's (`ex`, `is`, `hm`); good for a day of the server's clock."""
        return f"{self.origin}{self.path}?{self.sign()}"

    def __repr__(self) -> str:
        return f"<Attachment {self.filename} {len(self.data)} bytes>"


@dataclass(frozen=True)
class Version:
    """What a message said from `at` on (seconds, the server's clock)."""

    at: float
    content: str
    components: list[Json]
    attachments: list[Attachment]
    embeds: list[Json]


@dataclass(eq=False)
class Message:
    """A message as Discord keeps it. `mentions` are written in it, `pinged` really got a notification."""

    id: int
    channel: Channel
    author: User
    created_at: float
    content: str = ""
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    type: int = 0
    tts: bool = False
    nonce: str | None = None
    reference: Message | None = None
    mentions: list[User] = field(default_factory=list)
    mention_roles: list[Role] = field(default_factory=list)
    mention_everyone: bool = False
    pinged: list[User] = field(default_factory=list)
    interaction: Any = None
    ephemeral_to: User | None = None
    edited_at: float | None = None
    reactions: dict[str, list[User]] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    deleted: bool = False

    @property
    def ephemeral(self) -> bool:
        """Only one person sees it."""
        return self.ephemeral_to is not None

    @property
    def loading(self) -> bool:
        """Still "… is thinking"."""
        return bool(self.flags & IS_LOADING)

    @property
    def edits(self) -> list[Version]:
        """Every later state, oldest first; what it said at first is `versions[0]`."""
        return self.versions[1:]

    @property
    def text(self) -> str:
        """All that a person reads in it: content, embeds' texts and Components V2 texts, one per line."""
        parts = [self.content]
        for embed in self.embeds:
            parts += [embed.get("title") or "", embed.get("description") or ""]
            parts += [f"{item['name']}: {item['value']}" for item in embed.get("fields", ())]
        parts += [component["content"] for component in walk(self.components) if component["type"] == 10]
        return "\n".join(part for part in parts if part)

    @property
    def buttons(self) -> list[Json]:
        """Every button, wherever it stands."""
        return [component for component in walk(self.components) if component["type"] == 2]

    def visible_to(self, user: User) -> bool:
        """Ephemeral messages are one person's."""
        return not self.deleted and (self.ephemeral_to is None or self.ephemeral_to is user)

    def remember(self, at: float) -> None:
        """Keep this state in the history."""
        now = (list(self.components), list(self.attachments), list(self.embeds))
        self.versions.append(Version(at, self.content, *now))

    def __repr__(self) -> str:
        files = [attachment.filename for attachment in self.attachments]
        return f"<Message {self.id} by {self.author.name}: {self.text[:60]!r} {files}>"


def walk(components: list[Json]) -> Iterator[Json]:
    """Every component, also those inside rows, containers, sections and labels."""
    for component in components:
        yield component
        yield from walk(component.get("components", []))
        for key in ("accessory", "component"):
            if key in component:
                yield from walk([component[key]])


def guess_type(filename: str) -> str | None:
    """Discord, too, goes by the name."""
    return mimetypes.guess_type(filename)[0]
