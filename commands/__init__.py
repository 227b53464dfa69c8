"""What a person can type, right-click or reply in Discord: thin cogs over `bot`."""

from commands.clips import Clips
from commands.help import Help
from commands.make import Make
from commands.mention import Mention
from commands.motions import MotionCog
from commands.owner import Owner
from commands.presets import PresetCog
from commands.privacy import Privacy
from commands.queue import Queue
from commands.storyboard import Storyboard

COGS = (Make, Storyboard, Clips, PresetCog, MotionCog, Mention, Queue, Privacy, Help, Owner)
