"""What a person can type, right-click or reply in Discord: thin cogs over `bot`."""

from commands.help import Help
from commands.make import Make
from commands.mention import Mention

COGS = (Make, Mention, Help)
