"""One interaction: its token and deadlines, the bot's answers to it, and what the person saw."""

# ruff: noqa: ASYNC109 - whoever waits here says how long

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.discord_server import payloads
from tests.discord_server.components import settle_modal
from tests.discord_server.errors import already_acknowledged, dead_token, invalid_form, unknown
from tests.discord_server.model import DM, IS_EPHEMERAL, Channel, Json, Message, User
from tests.discord_server.permissions import in_channel
from tests.discord_server.posting import Posting, Upload
from tests.discord_server.world import Event, World

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
REPLY, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
FITTING = {
    COMMAND: (REPLY, DEFER, MODAL),
    COMPONENT: (REPLY, DEFER, DEFER_UPDATE, UPDATE, MODAL),
    AUTOCOMPLETE: (CHOICES,),
    MODAL_SUBMIT: (REPLY, DEFER, DEFER_UPDATE, UPDATE),
}
"""Which answers fit which interaction."""


@dataclass(eq=False)
class Asked:
    """What a person did and what came of it. Messages in `responses` are live: an edit shows in them."""

    world: World
    type: int
    user: User
    channel: Channel
    data: Json
    token: str
    message: Message | None = None
    """The message whose component was used (also when a modal came between)."""
    parent: Asked | None = None
    """The interaction that opened the modal."""
    id: str = ""
    asked_at: float = 0.0
    acknowledged_after: float | None = None
    answer_type: int | None = None
    original: Message | None = None
    responses: list[Message] = field(default_factory=list)
    updates: int = 0
    """How often a component's own message was changed by way of this interaction."""
    modal: Json | None = None
    choices: list[Json] | None = None
    dead: bool = False

    # --- what a test asks ---

    @property
    def acknowledged(self) -> bool:
        """The bot answered at all."""
        return self.answer_type is not None

    @property
    def text(self) -> str:
        """All visible answers as one text."""
        return "\n".join(message.text for message in self.shown)

    @property
    def shown(self) -> list[Message]:
        """Answers that say something and were not taken back."""
        return [message for message in self.responses if not message.loading and message.visible_to(self.user)]

    async def answered(self, timeout: float = 10.0) -> Asked:
        """Wait for something to see: a message that is no longer "thinking", an update, a modal, choices."""
        what = f"an answer to {self!r}"
        await self.world.wait_for(self._answered, timeout, what)
        return self

    async def acknowledgement(self, timeout: float = 5.0) -> Asked:
        """Wait for any first response, also a bare deferral."""
        await self.world.wait_for(lambda: self.acknowledged, timeout, f"an acknowledgement of {self!r}")
        return self

    def expire(self) -> None:
        """As if its 15 minutes were over."""
        self.dead = True

    def _answered(self) -> bool:
        return bool(self.shown or self.updates or self.modal is not None or self.choices is not None)

    def __repr__(self) -> str:
        name = self.data.get("name") or self.data.get("custom_id")
        return f"<Asked {name!r} by {self.user.name}, answer type {self.answer_type}>"

    # --- how it reaches the bot ---

    def dispatch(self) -> Asked:
        """Send INTERACTION_CREATE and start the three seconds."""
        self.id = str(self.world.new_id())
        self.asked_at = self.world.clock.now()
        self.world.asked[self.token] = self
        self.world.publish(Event("INTERACTION_CREATE", self._payload(), self.channel.guild))
        return self

    def _payload(self) -> Json:
        world, guild = self.world, self.channel.guild
        body: Json = {
            "id": self.id,
            "application_id": str(world.application_id),
            "type": self.type,
            "data": self.data,
            "token": self.token,
            "version": 1,
            "channel_id": str(self.channel.id),
            "channel": payloads.interaction_channel(self.channel, self.user),
            "locale": self.user.locale,
            "app_permissions": str(in_channel(self.channel, world.bot)),
            "entitlements": [],
            "authorizing_integration_owners": {"0": str(guild.id) if guild else "0"},
            "context": 0 if guild else 1,
            "attachment_size_limit": world.file_limit(guild, self.user),
        }
        if guild:
            permissions = in_channel(self.channel, self.user)
            body["member"] = payloads.member(guild.members[self.user.id], permissions=permissions)
            body["guild_id"] = str(guild.id)
            body["guild_locale"] = guild.locale
            body["guild"] = {"id": str(guild.id), "locale": guild.locale, "features": []}
        else:
            body["user"] = payloads.user(self.user)
        if self.message:
            body["message"] = payloads.message(world, self.message)
        return body

    def metadata(self, message: Message) -> Json:
        """`interaction_metadata` of a message that answers this."""
        body: Json = {
            "id": self.id,
            "type": self.type,
            "user": payloads.user(self.user),
            "authorizing_integration_owners": {"0": str(self.channel.guild.id) if self.channel.guild else "0"},
        }
        if self.type == COMMAND:
            body |= {"name": self.data["name"], "command_type": self.data.get("type", 1)}
        if self.type == COMPONENT and self.message:
            body["interacted_message_id"] = str(self.message.id)
        if self.type == MODAL_SUBMIT and self.parent:
            body["triggering_interaction_metadata"] = self.parent.metadata(message)
        if self.original and message is not self.original:
            body["original_response_message_id"] = str(self.original.id)
        return body

    # --- the bot's answers ---

    def callback(self, body: Json, files: dict[int, Upload]) -> Json:
        """The first response. Too late is 10062, twice is 40060; the answer is the `with_response` body."""
        after = self.world.clock.now() - self.asked_at
        if self.acknowledged:
            raise already_acknowledged()
        if after > self.world.answer_within or self.dead:
            raise unknown("Interaction")
        kind: int = body.get("type", 0)
        fits = FITTING[self.type] if not (self.type == MODAL_SUBMIT and self.message is None) else (REPLY, DEFER)
        if kind not in fits:
            raise invalid_form("type", "BASE_TYPE_CHOICES", f"Value must be one of {fits}.")
        self._answer(kind, body.get("data") or {}, files)
        self.answer_type, self.acknowledged_after = kind, after
        self.world.touch()
        return self._callback_answer(kind)

    def _answer(self, kind: int, data: Json, files: dict[int, Upload]) -> None:
        if kind == CHOICES:
            if len(data.get("choices") or []) > 25:
                raise invalid_form("data.choices", "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
            self.choices = data.get("choices") or []
        elif kind == MODAL:
            self.modal = settle_modal(data)
        elif kind in (DEFER_UPDATE, UPDATE):
            self.original = self.message
            if kind == UPDATE and self.message:
                self._posting(data, files).edit(self.message)
                self.updates += 1
        else:
            person = self.user if (data.get("flags") or 0) & IS_EPHEMERAL else None
            posting = self._posting(data, files)
            new = posting.placeholder(self, person) if kind == DEFER else self._create(posting, person, 20)
            self.original = new
            self.responses.append(new)

    def _create(self, posting: Posting, person: User | None, kind: int) -> Message:
        return posting.create(interaction=self, ephemeral_to=person, kind=kind)

    def _posting(self, body: Json, files: dict[int, Upload]) -> Posting:
        limit = self.world.file_limit(self.channel.guild, self.user)
        return Posting(self.world, self.channel, self.world.bot, body, files, limit)

    def _callback_answer(self, kind: int) -> Json:
        interaction: Json = {"id": self.id, "type": self.type}
        if self.original and kind not in (CHOICES, MODAL):
            interaction["response_message_id"] = str(self.original.id)
            interaction["response_message_loading"] = self.original.loading
            interaction["response_message_ephemeral"] = self.original.ephemeral
        if self.original is None or kind not in (REPLY, UPDATE):
            return {"interaction": interaction}
        message = payloads.message(self.world, self.original)
        return {"interaction": interaction, "resource": {"type": kind, "message": message}}

    # --- by way of the webhook, for 15 minutes ---

    def check_token(self) -> None:
        """50027 when it is over, 10015 before the first response."""
        if self.dead or self.world.clock.now() - self.asked_at > self.world.token_life:
            raise dead_token()
        if not self.acknowledged:
            raise unknown("Webhook")

    def follow_up(self, body: Json, files: dict[int, Upload]) -> Message:
        """A further message. The first one after a deferral fills the placeholder, whose ephemerality counts."""
        if self.answer_type in (CHOICES, MODAL):
            raise unknown("Webhook")
        posting = self._posting(body, files)
        if self.answer_type == DEFER and self.original and self.original.loading and not self.original.deleted:
            return posting.edit(self.original)
        person = self.user if (body.get("flags") or 0) & IS_EPHEMERAL else None
        message = self._create(posting, person, 19 if self.original else 0)
        self.responses.append(message)
        return message

    def find(self, message_id: str) -> Message:
        """`@original` or a message that this interaction made or came from."""
        if message_id == "@original":
            found = self.original
        else:
            mine = [*self.responses, *([self.message] if self.message else [])]
            found = next((message for message in mine if str(message.id) == message_id), None)
        if found is None or found.deleted:
            raise unknown("Message")
        return found

    def edit(self, message_id: str, body: Json, files: dict[int, Upload]) -> Message:
        """PATCH of one of its messages."""
        message = self._posting(body, files).edit(self.find(message_id))
        if message is self.message:
            self.updates += 1
        self.world.touch()
        return message


def asked_by_token(world: World, token: str) -> Asked:
    """Or 50027."""
    if token not in world.asked:
        raise dead_token()
    return world.asked[token]


def allowed_context(command: Json, channel: Channel) -> bool:
    """Whether the client would offer the command here."""
    contexts: list[Any] | None = command.get("contexts")
    if contexts is not None:
        return (1 if channel.type == DM else 0) in contexts
    return channel.type != DM or command.get("dm_permission") is not False
