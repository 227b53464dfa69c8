"""Discord's side: whether it takes the token, what the developer portal allows, and how our clock compares."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from bot.settings import DiscordSettings
from console.checks import Check

MESSAGE_CONTENT = 1 << 18
MESSAGE_CONTENT_LIMITED = 1 << 19
"""Application flags: the intent is allowed, for large bots and for those in fewer than 100 servers."""
SECONDS = 10.0
CLOCK_WARN_SECONDS = 5.0
CLOCK_FAIL_SECONDS = 60.0
"""Buttons and interactions carry their time; a clock that is minutes off takes living ones for dead."""
USER_AGENT = "DiscordBot (self-hosted Zoetrope, 0.1)"


@dataclass(frozen=True)
class Answer:
    """What Discord said to one request."""

    status: int
    body: Mapping[str, Any]
    clock_ahead_seconds: float | None
    """How far our clock is ahead of Discord's; None where the answer has no date."""


async def portal(settings: DiscordSettings) -> list[Check]:
    """Token, intents and clock."""
    token = settings.token.get_secret_value()
    if not token:
        advice = "Set DISCORD_TOKEN in the environment; README says where to get one. `make demo` works without."
        return [Check("token", "fail", "there is none", advice)]
    if not re.fullmatch(r"[\w.=+-]+", token):
        advice = "Copy it again from the developer portal, alone: no quotes, no blanks, no line break."
        return [Check("token", "fail", "it has characters that no token has", advice)]
    headers = {"Authorization": f"Bot {token}", "User-Agent": USER_AGENT}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            return await _ask_all(session, settings)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        advice = "Check the connection, a firewall, and `discord.api` in config.toml."
        return [Check("Discord", "fail", f"{settings.api} cannot be reached ({type(error).__name__})", advice)]


async def _ask_all(session: aiohttp.ClientSession, settings: DiscordSettings) -> list[Check]:
    base = settings.api.rstrip("/")
    me = await _ask(session, f"{base}/users/@me")
    checks = [token_check(me), *clock_check(me)]
    if me.status == 200:
        checks.append(intents_check(await _ask(session, f"{base}/applications/@me"), settings.message_content))
    return checks


async def _ask(session: aiohttp.ClientSession, url: str) -> Answer:
    asked = time.time()
    async with session.get(url, allow_redirects=False) as response:
        body: Any = await response.json(content_type=None) if response.status == 200 else {}
        # Half a second, because the header's time is cut to whole seconds.
        told = parsedate_to_datetime(response.headers["Date"]).timestamp() + 0.5 if "Date" in response.headers else None
        ahead = None if told is None else (asked + time.time()) / 2 - told
        return Answer(response.status, body, ahead)


def token_check(me: Answer) -> Check:
    """Whether `/users/@me` knows who we are."""
    if me.status == 200:
        return Check("token", "ok", f"accepted; this bot is {me.body.get('username')} ({me.body.get('id')})")
    if me.status == 401:
        advice = "Copy it again from the developer portal (Bot → Reset Token), and set DISCORD_TOKEN to it."
        return Check("token", "fail", "Discord does not take it", advice)
    advice = "Try again in a few minutes; if it stays, check `discord.api` in config.toml."
    return Check("token", "fail", f"Discord answered with status {me.status}", advice)


def intents_check(application: Answer, wanted: str) -> Check:
    """Whether the message-content intent is allowed, against what the settings ask for."""
    if wanted == "off":
        return Check("intents", "ok", "message content is not used (message_content is off)")
    if application.status != 200:
        return Check(
            "intents", "warn", f"Discord answered with status {application.status}", "Try again in a few minutes."
        )
    if int(application.body.get("flags", 0)) & (MESSAGE_CONTENT | MESSAGE_CONTENT_LIMITED):
        return Check("intents", "ok", "message content is allowed")
    advice = "Switch on Bot → Message Content Intent in the developer portal"
    if wanted == "on":
        return Check("intents", "fail", "message content is not allowed", f"{advice}, or set message_content to auto.")
    found = "message content is not allowed; replying to other people's pictures will point to the menu instead"
    return Check("intents", "warn", found, f"{advice} if you want that; all else works without.")


def clock_check(me: Answer) -> list[Check]:
    """Our clock against Discord's; nothing where the answer has no date."""
    if me.clock_ahead_seconds is None:
        return []
    off = abs(me.clock_ahead_seconds)
    if off <= CLOCK_WARN_SECONDS:
        return [Check("clock", "ok", "agrees with Discord's")]
    direction = "ahead of" if me.clock_ahead_seconds > 0 else "behind"
    advice = "Switch on time synchronisation: sudo timedatectl set-ntp true"
    state = "warn" if off <= CLOCK_FAIL_SECONDS else "fail"
    return [Check("clock", state, f"{off:.0f} s {direction} Discord's", advice)]
