"""A request's body and files → a message, new or edited, under Discord's rules (resources/message)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePath
from typing import Any

from tests.discord_server import announce
from tests.discord_server.components import settle
from tests.discord_server.errors import ApiError, invalid_form, too_large, too_long
from tests.discord_server.model import (
    DM,
    IS_EPHEMERAL,
    IS_LOADING,
    IS_V2,
    Attachment,
    Channel,
    Json,
    Message,
    User,
    guess_type,
    walk,
)
from tests.discord_server.permissions import Permission, in_channel
from tests.discord_server.world import World

MAX_CONTENT, MAX_FILES, MAX_NONCE = 2000, 10, 25
REPLY = 19
SETTABLE_FLAGS = 1 << 2 | IS_EPHEMERAL | 1 << 12 | 1 << 13 | IS_V2


@dataclass
class Upload:
    """One `files[n]` part."""

    filename: str
    data: bytes
    content_type: str | None = None


@dataclass
class Posting:
    """Who posts what, where, and how big its files may be."""

    world: World
    channel: Channel
    author: User
    body: Json
    files: dict[int, Upload] = field(default_factory=dict)
    limit: int = 0
    """Bytes per file; 0 is what the place allows."""

    def create(self, *, interaction: Any = None, ephemeral_to: User | None = None, kind: int = 0) -> Message:
        """A new message, announced. With `enforce_nonce` a recent one with this nonce comes back instead."""
        body = self.body
        if earlier := self._earlier():
            return earlier
        reference = self._reference()
        message = Message(
            self.world.new_id(),
            self.channel,
            self.author,
            self.world.clock.now(),
            flags=(body.get("flags") or 0) & SETTABLE_FLAGS,
            tts=bool(body.get("tts")),
            type=REPLY if reference else kind,
            reference=reference,
            interaction=interaction,
            ephemeral_to=ephemeral_to,
            nonce=str(body["nonce"]) if body.get("nonce") is not None else None,
        )
        self._fill(message)
        self._refuse_empty(message)
        self._mention(message)
        self._keep(message)
        announce.message_event(self.world, "MESSAGE_CREATE", message)
        return message

    def placeholder(self, interaction: Any, ephemeral_to: User | None) -> Message:
        """ "… is thinking": what a deferred answer shows."""
        flags = IS_LOADING | (IS_EPHEMERAL if ephemeral_to else 0)
        now = self.world.clock.now()
        message = Message(self.world.new_id(), self.channel, self.author, now, flags=flags, type=20)
        message.interaction, message.ephemeral_to = interaction, ephemeral_to
        self._keep(message)
        announce.message_event(self.world, "MESSAGE_CREATE", message)
        return message

    def edit(self, message: Message) -> Message:
        """Change what the body names. The first edit of a placeholder is the answer, not an edit in people's eyes."""
        if message.flags & IS_V2 and self.body.get("flags") is not None and not self.body["flags"] & IS_V2:
            raise invalid_form("flags", "MESSAGE_CANNOT_REMOVE_COMPONENTS_V2_FLAG", "The flag cannot be removed.")
        was_loading = message.loading
        before = (message.content, message.embeds, message.attachments, message.components, message.flags)
        try:
            message.flags |= (self.body.get("flags") or 0) & (IS_V2 | 1 << 2)
            self._fill(message)
            self._refuse_empty(message)
        except ApiError:
            message.content, message.embeds, message.attachments, message.components, message.flags = before
            raise
        message.flags &= ~IS_LOADING
        if was_loading:
            self._mention(message)
            message.versions.clear()
        else:
            message.edited_at = self.world.clock.now()
        message.remember(self.world.clock.now())
        announce.message_event(self.world, "MESSAGE_UPDATE", message)
        return message

    # --- the parts ---

    def _earlier(self) -> Message | None:
        nonce = self.body.get("nonce")
        if nonce is None:
            return None
        if len(str(nonce)) > MAX_NONCE:
            raise too_long("nonce", MAX_NONCE)
        if not self.body.get("enforce_nonce"):
            return None
        at, message = self.channel.nonces.get((self.author.id, str(nonce)), (0.0, None))
        return message if message and self.world.clock.now() - at <= self.world.nonce_life else None

    def _keep(self, message: Message) -> None:
        message.remember(message.created_at)
        self.channel.messages[message.id] = message
        if message.nonce is not None:
            self.channel.nonces[self.author.id, message.nonce] = (message.created_at, message)

    def _fill(self, message: Message) -> None:
        body = self.body
        if len(body.get("content") or "") > MAX_CONTENT:
            raise too_long("content", MAX_CONTENT)
        if body.get("poll") or body.get("sticker_ids"):
            self.world.violations.append("the local Discord does not know polls and stickers")
        if "content" in body:
            message.content = body["content"] or ""
        if body.get("embeds") is not None:
            message.embeds = [{"type": "rich", **embed} for embed in body["embeds"]]
        if self.files or body.get("attachments") is not None:
            message.attachments = self._attachments(message)
        v2 = bool(message.flags & IS_V2)
        if body.get("components") is not None:
            message.components = settle(body["components"], message.attachments, v2=v2)
        if v2 and (message.content or message.embeds):
            text = "The 'content' and 'embeds' fields cannot be used with the flag MessageFlags.IS_COMPONENTS_V2"
            raise invalid_form("content", "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", text)

    def _refuse_empty(self, message: Message) -> None:
        parts = (message.content, message.embeds, message.attachments, message.components)
        if not any(parts) and not self.body.get("poll") and not self.body.get("sticker_ids"):
            raise ApiError(400, 50006, "Cannot send an empty message")

    def _attachments(self, message: Message) -> list[Attachment]:
        """The listed old ones stay, new files come after; files that are not listed are taken on, too."""
        listed = self.body.get("attachments")
        old = {each.id: each for each in message.attachments}
        if listed is None:
            kept, fresh = list(old.values()), [{"id": index} for index in self.files]
        else:
            kept = [old[int(each["id"])] for each in listed if int(each["id"]) in old]
            fresh = [each for each in listed if int(each["id"]) in self.files and int(each["id"]) not in old]
            named = {int(each["id"]) for each in listed}
            fresh += [{"id": index} for index in self.files if index not in named]
        if len(kept) + len(fresh) > MAX_FILES:
            raise invalid_form("attachments", "BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length.")
        return [*kept, *(self._attachment(each, message) for each in fresh)]

    def _attachment(self, entry: Json, message: Message) -> Attachment:
        upload = self.files[int(entry["id"])]
        limit = self.limit or self.world.file_limit(self.channel.guild)
        if len(upload.data) > limit:
            raise too_large()
        name = PurePath(entry.get("filename") or upload.filename).name.replace(" ", "_")
        folder = f"attachments/{self.channel.id}"
        return host(self.world, name, upload.data, folder=folder, description=entry.get("description"),
                    ephemeral=message.ephemeral)  # fmt: skip

    def _reference(self) -> Message | None:
        link = self.body.get("message_reference")
        if not link or link.get("message_id") is None:
            return None
        if link.get("type"):
            raise invalid_form("message_reference", "NOT_COVERED", "The local Discord does not forward.")
        target = self.channel.messages.get(int(link["message_id"]))
        if target is None or target.deleted or target.ephemeral:
            if link.get("fail_if_not_exists", True):
                raise invalid_form("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            return None
        if self.channel.type != DM and not in_channel(self.channel, self.author) & Permission.READ_MESSAGE_HISTORY:
            raise ApiError(400, 160002, "Cannot reply without permission to read message history")
        return target

    def _mention(self, message: Message) -> None:
        """What is written, and who really gets a notification after `allowed_mentions`."""
        text = "\n".join([message.content, *(c["content"] for c in walk(message.components) if c["type"] == 10)])
        rules = self.body.get("allowed_mentions")
        users = [self.world.users[int(id_)] for id_ in _ids("@!?", text) if int(id_) in self.world.users]
        guild = self.channel.guild
        roles = [role for role in guild.roles if str(role.id) in _ids("@&", text)] if guild else []
        message.mentions, message.mention_roles = users, roles
        message.pinged = [user for user in users if _allows(rules, "users", user.id)]
        everyone = re.search(r"@(everyone|here)\b", text) and _allows(rules, "everyone", 0)
        can = in_channel(self.channel, self.author) & Permission.MENTION_EVERYONE
        message.mention_everyone = bool(everyone and can and guild)
        for role in roles:
            if _allows(rules, "roles", role.id) and guild:
                message.pinged += [each.user for each in guild.members.values() if role in each.roles]
        self._mention_replied(message, rules)

    def _mention_replied(self, message: Message, rules: Json | None) -> None:
        if message.reference and (rules is None or rules.get("replied_user")):
            author = message.reference.author
            for group in (message.mentions, message.pinged):
                if author not in group and author is not message.author:
                    group.append(author)


def host(world: World, filename: str, data: bytes, **rest: Any) -> Attachment:
    """Put a file on the CDN; `size`, `width`, `height`, `content_type` and `origin` are found out when not given."""
    width, height = _dimensions(filename, data)
    given = {key: value for key, value in rest.items() if value is not None}
    usual: Json = {"content_type": guess_type(filename), "size": len(data), "width": width, "height": height}
    usual |= {"origin": world.cdn, "sign": world.sign}
    attachment = Attachment(world.new_id(), filename, data, **(usual | given))
    world.files[attachment.id] = attachment
    return attachment


def _dimensions(filename: str, data: bytes) -> tuple[int | None, int | None]:
    """In pixels, for pictures and films that Pillow or PyAV can open."""
    kind = guess_type(filename) or ""
    try:
        if kind.startswith("image/"):
            from PIL import Image

            with Image.open(BytesIO(data)) as picture:
                return picture.size
        if kind.startswith("video/"):
            import av

            with av.open(BytesIO(data)) as film:
                stream = film.streams.video[0]
                return stream.width, stream.height
    except Exception:  # noqa: BLE001 - whatever is wrong with the bytes, Discord then just gives no size
        return None, None
    return None, None


def _ids(mark: str, text: str) -> list[str]:
    """Ids mentioned in a text, each once."""
    return list(dict.fromkeys(re.findall(rf"<{mark}(\d+)>", text)))


def _allows(rules: Json | None, kind: str, id_: int) -> bool:
    """`allowed_mentions`: absent allows all; otherwise `parse` allows a kind and the list single ids."""
    if rules is None:
        return True
    return kind in (rules.get("parse") or []) or str(id_) in [str(each) for each in rules.get(kind) or []]
