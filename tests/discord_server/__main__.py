"""`python -m tests.discord_server`: a Discord to point a bot at by hand."""

from __future__ import annotations

import asyncio
import sys

from tests.discord_server import LocalDiscord

HINT = """A Discord for one bot is running (Ctrl-C ends it).

  REST      {api}
  gateway   {gateway}
  CDN       {cdn}
  token     {token}

Point discord.py at it before the client is made (example_bot.py does):

  discord.http.Route.BASE = "{api}"
  discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL("{gateway}")

or try:  python -m tests.discord_server.example_bot {api} {gateway} {token}

Server "workshop", channel #general ({channel}).
"""


async def main() -> None:
    """Run until interrupted, telling what the bot does wrong."""
    async with LocalDiscord(message_content=True, port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as server:
        facts = {"api": server.api, "gateway": server.gateway_url, "cdn": server.cdn, "token": server.token}
        sys.stdout.write(HINT.format(**facts, channel=server.channel.id))
        sys.stdout.flush()
        told = 0
        while True:
            await asyncio.sleep(0.5)
            sys.stdout.writelines(f"does not fit: {each}\n" for each in server.violations[told:])
            told = len(server.violations)


try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(0)
