"""A Discord on 127.0.0.1 that the real discord.py talks to; see README.md."""

from tests.discord_server.interactions import Asked
from tests.discord_server.model import Attachment, Channel, Guild, Message, Role, User
from tests.discord_server.permissions import Permission
from tests.discord_server.server import LocalDiscord

__all__ = ["Asked", "Attachment", "Channel", "Guild", "LocalDiscord", "Message", "Permission", "Role", "User"]
