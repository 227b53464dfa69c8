"""State → the JSON of Discord's API (field lists from its OpenAPI document and discord-api-docs resources/*)."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.discord_server.model import DM, THREAD, Attachment, Channel, Guild, Json, Member, Message, Role, User
from tests.discord_server.permissions import in_channel
from tests.discord_server.world import World


def iso(at: float) -> str:
    """Discord's timestamps."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def user(one: User) -> Json:
    """A user as others see them."""
    return {
        "id": str(one.id),
        "username": one.name,
        "global_name": None if one.bot else one.name.title(),
        "discriminator": "0000" if one.bot else "0",
        "avatar": None,
        "public_flags": 0,
        "flags": 0,
        "primary_guild": None,
        "bot": one.bot,
    }


def me(world: World) -> Json:
    """The bot as it sees itself."""
    return {**user(world.bot), "mfa_enabled": True, "locale": "en-US", "verified": True, "email": None}


def member(one: Member, *, with_user: bool = True, permissions: int | None = None) -> Json:
    """A member; interactions add the permissions in their channel."""
    body: Json = {
        "roles": [str(role.id) for role in one.roles],
        "nick": one.nick,
        "avatar": None,
        "banner": None,
        "joined_at": iso(one.joined_at),
        "premium_since": None,
        "communication_disabled_until": None,
        "deaf": False,
        "mute": False,
        "pending": False,
        "flags": 0,
    }
    if with_user:
        body["user"] = user(one.user)
    if permissions is not None:
        body["permissions"] = str(permissions)
    return body


def role(one: Role) -> Json:
    """A role."""
    colors = {"primary_color": 0, "secondary_color": None, "tertiary_color": None}
    return {
        "id": str(one.id),
        "name": one.name,
        "permissions": str(one.permissions),
        "position": one.position,
        "color": 0,
        "colors": colors,
        "hoist": False,
        "managed": False,
        "mentionable": True,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def channel(one: Channel, *, permissions: int | None = None) -> Json:
    """A channel of any of our three kinds."""
    last = str(max(one.messages)) if one.messages else None
    body: Json = {"id": str(one.id), "type": one.type, "flags": 0, "last_message_id": last}
    if one.type == DM:
        assert one.recipient
        return {**body, "recipients": [user(one.recipient)]}
    assert one.guild
    body |= {"guild_id": str(one.guild.id), "name": one.name, "rate_limit_per_user": 0}
    body["parent_id"] = str(one.parent.id) if one.parent else None
    if permissions is not None:
        body["permissions"] = str(permissions)
    return body | (_thread(one) if one.type == THREAD else _text(one))


def _text(one: Channel) -> Json:
    rules = [
        {"id": str(id_), "type": rule.kind, "allow": str(rule.allow), "deny": str(rule.deny)}
        for id_, rule in one.overwrites.items()
    ]
    return {"position": 0, "nsfw": one.nsfw, "topic": None, "permission_overwrites": rules}


def _thread(one: Channel) -> Json:
    assert one.guild
    count = len(one.messages)
    metadata = {
        "archived": one.archived,
        "archive_timestamp": iso(0),
        "auto_archive_duration": 1440,
        "locked": False,
        "create_timestamp": iso(0),
    }
    return {
        "owner_id": str(one.guild.owner.id),
        "thread_metadata": metadata,
        "message_count": count,
        "member_count": 1,
        "total_message_sent": count,
    }


def guild(one: Guild) -> Json:
    """A guild as GET /guilds/{id} gives it."""
    nothing = (
        "icon",
        "banner",
        "splash",
        "discovery_splash",
        "description",
        "home_header",
        "public_updates_channel_id",
    )
    return dict.fromkeys((*nothing, "afk_channel_id", "application_id", "rules_channel_id")) | {
        "id": str(one.id),
        "name": one.name,
        "owner_id": str(one.owner.id),
        "premium_tier": one.premium_tier,
        "premium_subscription_count": one.premium_tier * 7,
        "premium_progress_bar_enabled": False,
        "preferred_locale": one.locale,
        "roles": [role(each) for each in one.roles],
        "emojis": [],
        "stickers": [],
        "features": [],
        "afk_timeout": 300,
        "region": "deprecated",
        "verification_level": 0,
        "default_message_notifications": 1,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw": False,
        "nsfw_level": 0,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "vanity_url_code": None,
        "safety_alerts_channel_id": None,
        "max_members": 500_000,
        "max_presences": None,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "incidents_data": None,
    }


def guild_create(world: World, one: Guild, *, all_members: bool) -> Json:
    """What the gateway sends when a guild becomes available: without the members intent only the bot is in it."""
    places = [each for each in world.channels.values() if each.guild is one and not each.gone]
    people = one.members.values() if all_members else [one.members[world.bot.id]]
    return guild(one) | {
        "joined_at": iso(one.members[world.bot.id].joined_at),
        "large": False,
        "unavailable": False,
        "member_count": len(one.members),
        "members": [member(each) for each in people],
        "channels": [channel(each) for each in places if each.type != THREAD],
        "threads": [channel(each) for each in places if each.type == THREAD],
        "voice_states": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def application(world: World) -> Json:
    """The bot's application as its owner's portal shows it."""
    guilds = sum(not each.gone for each in world.guilds.values())
    nothing = ("icon", "type", "interactions_endpoint_url", "role_connections_verification_url", "team")
    return dict.fromkeys(nothing) | {
        "id": str(world.application_id),
        "name": world.bot.name,
        "description": "",
        "summary": "",
        "verify_key": "0" * 64,
        "flags": world.application_flags,
        "flags_new": str(world.application_flags),
        "redirect_uris": [],
        "rpc_origins": [],
        "bot_public": False,
        "bot_require_code_grant": False,
        "bot": user(world.bot),
        "owner": user(world.owner),
        "approximate_guild_count": guilds,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "explicit_content_filter": 0,
        "eligible_oauth2_scopes": ["bot", "applications.commands"],
        "integration_types_config": {"0": {}},
    }


def attachment(one: Attachment) -> Json:
    """A file."""
    body: Json = {
        "id": str(one.id),
        "filename": one.filename,
        "size": one.size,
        "url": one.url,
        "proxy_url": one.url,
        "content_type": one.content_type,
        "width": one.width,
        "height": one.height,
        "description": one.description,
    }
    if one.ephemeral:
        body["ephemeral"] = True
    return {key: value for key, value in body.items() if value is not None}


def message(world: World, one: Message, *, readable: bool = True, nested: bool = True) -> Json:
    """A message; unreadable means without the content intent: the four fields are empty, the rest stays."""
    body: Json = {
        "id": str(one.id),
        "channel_id": str(one.channel.id),
        "author": user(one.author),
        "content": one.content if readable else "",
        "embeds": one.embeds if readable else [],
        "attachments": [attachment(each) for each in one.attachments] if readable else [],
        "components": one.components if readable else [],
        "timestamp": iso(one.created_at),
        "edited_timestamp": iso(one.edited_at) if one.edited_at else None,
        "type": one.type,
        "flags": one.flags,
        "tts": one.tts,
        "pinned": False,
        "mention_everyone": one.mention_everyone,
        "mentions": [user(each) for each in one.mentions],
        "mention_roles": [str(each.id) for each in one.mention_roles],
    }
    if one.nonce is not None:
        body["nonce"] = one.nonce
    if one.reactions:
        body["reactions"] = [_reaction(world, emoji, people) for emoji, people in one.reactions.items()]
    return body | _origin(world, one) | (_reference(world, one, nested) if one.reference else {})


def _reaction(world: World, emoji: str, people: list[User]) -> Json:
    count = len(people)
    return {
        "emoji": {"id": None, "name": emoji},
        "count": count,
        "count_details": {"burst": 0, "normal": count},
        "burst_colors": [],
        "me_burst": False,
        "burst_me": False,
        "burst_count": 0,
        "me": world.bot in people,
    }


def _origin(world: World, one: Message) -> Json:
    if one.interaction is None:
        return {}
    application_id = str(world.application_id)
    return {
        "application_id": application_id,
        "webhook_id": application_id,
        "interaction_metadata": one.interaction.metadata(one),
    }


def _reference(world: World, one: Message, nested: bool) -> Json:
    target = one.reference
    assert target
    link: Json = {"type": 0, "channel_id": str(target.channel.id), "message_id": str(target.id)}
    if target.channel.guild:
        link["guild_id"] = str(target.channel.guild.id)
    body: Json = {"message_reference": link}
    if nested:
        shown = None if target.deleted else message(world, target, readable=readable(world, target), nested=False)
        body["referenced_message"] = shown
    return body


def readable(world: World, one: Message, *, intent: bool | None = None) -> bool:
    """Whether the bot may read this message's content: the intent, or one of the documented exceptions.

    A third party's message does not become readable by being replied to (topics/gateway, Message Content Intent).
    """
    allowed = world.message_content_enabled if intent is None else intent
    own = one.author is world.bot or one.channel.type == DM
    return allowed or own or world.bot in one.mentions


def message_event(world: World, one: Message, *, intent: bool) -> Json:
    """MESSAGE_CREATE and MESSAGE_UPDATE: also the guild and the author as a member."""
    body = message(world, one, readable=readable(world, one, intent=intent))
    if one.reference and body.get("referenced_message"):
        target = one.reference
        shown = readable(world, target, intent=intent)
        body["referenced_message"] = message(world, target, readable=shown, nested=False)
    guild_ = one.channel.guild
    if guild_:
        body["guild_id"] = str(guild_.id)
        if one.author.id in guild_.members:
            body["member"] = member(guild_.members[one.author.id], with_user=False)
    return body


def interaction_channel(one: Channel, viewer: User) -> Json:
    """The partial channel inside an interaction, with the viewer's permissions."""
    return channel(one, permissions=in_channel(one, viewer) if one.guild else None)
