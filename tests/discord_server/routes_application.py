"""The bot itself, its commands, and the guilds and users it looks at."""

from __future__ import annotations

import re
from typing import Any

from tests.discord_server import payloads
from tests.discord_server.errors import ApiError, Json, invalid_form, missing_access, unknown
from tests.discord_server.model import User
from tests.discord_server.permissions import in_guild
from tests.discord_server.rest import Call, Reply, Routes

routes = Routes()
LIMITS = {1: 100, 2: 15, 3: 15}
"""Commands by type: slash, user menu, message menu (PEERS 3.3)."""
MAX_COMMAND_CHARACTERS = 8000


@routes("GET", "/gateway")
def gateway(call: Call) -> Json:
    """Only the address."""
    return {"url": call.world.gateway_url}


@routes("GET", "/gateway/bot")
def gateway_bot(call: Call) -> Json:
    """Address, shards and how often one may identify."""
    limit = {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 1}
    return {"url": call.world.gateway_url, "shards": call.world.shards, "session_start_limit": limit}


@routes("GET", "/users/@me")
def me(call: Call) -> Json:
    """The bot's user."""
    return payloads.me(call.world)


@routes("GET", "/applications/@me")
@routes("GET", "/oauth2/applications/@me")
@routes("PATCH", "/applications/@me")
def application(call: Call) -> Json:
    """The application with its intent flags; changes are taken and forgotten."""
    return payloads.application(call.world)


@routes("GET", "/applications/{application_id}/emojis")
def emojis(call: Call) -> Json:
    """None."""
    return {"items": []}


@routes("POST", "/users/@me/channels")
def create_dm(call: Call) -> Json:
    """The DM with one user. 50007 comes only when one posts, as at Discord."""
    return payloads.channel(call.world.dm(_user(call, call.body["recipient_id"])))


@routes("GET", "/users/@me/guilds")
def my_guilds(call: Call) -> list[Json]:
    """Where the bot is."""
    bot = call.world.bot
    return [
        {
            "id": str(guild.id),
            "name": guild.name,
            "icon": None,
            "banner": None,
            "owner": False,
            "permissions": str(in_guild(guild, bot)),
            "features": [],
        }
        for guild in call.world.guilds.values()
        if not guild.gone
    ]


@routes("GET", "/users/{user_id}")
def get_user(call: Call) -> Json:
    """Anybody."""
    return payloads.user(_user(call, call.params["user_id"]))


def _user(call: Call, user_id: str | int) -> User:
    if int(user_id) not in call.world.users:
        raise unknown("User")
    return call.world.users[int(user_id)]


@routes("GET", "/guilds/{guild_id}")
def get_guild(call: Call) -> Json:
    """A guild the bot is in (50001 otherwise)."""
    return payloads.guild(_guild(call))


@routes("GET", "/guilds/{guild_id}/channels")
def guild_channels(call: Call) -> list[Json]:
    """Without threads."""
    guild = _guild(call)
    places = call.world.channels.values()
    return [payloads.channel(each) for each in places if each.guild is guild and not each.parent and not each.gone]


@routes("GET", "/guilds/{guild_id}/roles")
def guild_roles(call: Call) -> list[Json]:
    """All roles."""
    return [payloads.role(each) for each in _guild(call).roles]


@routes("GET", "/guilds/{guild_id}/members/{user_id}")
def guild_member(call: Call) -> Json:
    """One member (10007)."""
    guild = _guild(call)
    if int(call.params["user_id"]) not in guild.members:
        raise unknown("Member")
    return payloads.member(guild.members[int(call.params["user_id"])])


def _guild(call: Call) -> Any:
    guild = call.world.guild(call.params["guild_id"])
    if call.world.bot.id not in guild.members:
        raise missing_access()
    return guild


# --- commands ---

GLOBAL = "/applications/{application_id}/commands"
LOCAL = "/applications/{application_id}/guilds/{guild_id}/commands"


@routes("GET", GLOBAL)
@routes("GET", LOCAL)
def list_commands(call: Call) -> list[Json]:
    """Of this scope."""
    return _scope(call)


@routes("PUT", GLOBAL)
@routes("PUT", LOCAL)
def overwrite_commands(call: Call) -> list[Json]:
    """All at once; a command keeps its id while name and type stay."""
    for kind, limit in LIMITS.items():
        if sum(each.get("type", 1) == kind for each in call.body) > limit:
            raise ApiError(400, 30032, f"Maximum number of application commands reached ({limit})")
    fresh = [_command(call, each, f"{place}.") for place, each in enumerate(call.body)]
    old = _scope(call)
    call.world.commands[:] = [each for each in call.world.commands if each not in old] + fresh
    return fresh


@routes("POST", GLOBAL)
@routes("POST", LOCAL)
def create_command(call: Call) -> Reply:
    """201 for a new one, 200 for one that takes an old one's place."""
    fresh = _command(call, call.body, "")
    old = [each for each in _scope(call) if each["id"] == fresh["id"]]
    call.world.commands[:] = [each for each in call.world.commands if each not in old] + [fresh]
    return Reply(200 if old else 201, fresh)


@routes("GET", GLOBAL + "/{command_id}")
@routes("GET", LOCAL + "/{command_id}")
def get_command(call: Call) -> Json:
    """One command."""
    return _one(call)


@routes("DELETE", GLOBAL + "/{command_id}")
@routes("DELETE", LOCAL + "/{command_id}")
def delete_command(call: Call) -> None:
    """Gone."""
    call.world.commands.remove(_one(call))


def _one(call: Call) -> Json:
    for each in _scope(call):
        if each["id"] == call.params["command_id"]:
            return each
    raise unknown("Application Command")


def _scope(call: Call) -> list[Json]:
    guild_id = call.params.get("guild_id")
    return [each for each in call.world.commands if each.get("guild_id") == guild_id]


def _command(call: Call, body: Json, place: str) -> Json:
    """Checked, completed and numbered."""
    kind = body.get("type") or 1
    _check_names(body, kind, place)
    _check_options(body.get("options") or [], place)
    if _characters(body) > MAX_COMMAND_CHARACTERS:
        raise invalid_form(f"{place}name", "APPLICATION_COMMAND_TOO_LARGE", "Command exceeds maximum size (8000)")
    old = [each for each in _scope(call) if each["name"] == body["name"] and each["type"] == kind]
    fresh_id = str(call.world.new_id())
    usual: Json = {"description": "", "dm_permission": True, "contexts": None, "integration_types": [0], "nsfw": False}
    permissions = body.get("default_member_permissions")
    scope = {"guild_id": call.params["guild_id"]} if "guild_id" in call.params else {}
    return {
        **usual,
        **{key: value for key, value in body.items() if value is not None or key == "contexts"},
        **scope,
        "type": kind,
        "default_member_permissions": None if permissions is None else str(permissions),
        "id": old[0]["id"] if old else fresh_id,
        "application_id": str(call.world.application_id),
        "version": fresh_id,
    }


def _characters(body: Json) -> int:
    """What counts towards a command's 8000: names, descriptions and choices' values, also of all options."""
    texts = [body.get("name"), body.get("description"), body.get("value")]
    inner = [*(body.get("options") or []), *(body.get("choices") or [])]
    return sum(len(text) for text in texts if isinstance(text, str)) + sum(_characters(each) for each in inner)


def _check_names(body: Json, kind: int, place: str) -> None:
    name = body.get("name", "")
    if kind == 1 and (not re.fullmatch(r"[-_'\w]{1,32}", name) or name != name.lower()):
        raise invalid_form(f"{place}name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    if kind == 1 and not body.get("description"):
        raise invalid_form(f"{place}description", "BASE_TYPE_REQUIRED", "This field is required")


def _check_options(options: list[Json], place: str) -> None:
    """Names, descriptions, no name twice, and required ones first."""
    names = [each["name"] for each in options]
    if len(set(names)) != len(names):
        raise invalid_form(f"{place}options", "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option name twice")
    optional_seen = False
    for number, option in enumerate(options):
        inside = f"{place}options.{number}."
        _check_names(option, 1, inside)
        if option.get("required") and optional_seen:
            text = "Required options must be placed before non-required options"
            raise invalid_form(inside + "required", "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", text)
        optional_seen = optional_seen or not option.get("required")
        if option["type"] in (1, 2):
            optional_seen = False
            _check_options(option.get("options") or [], inside)
