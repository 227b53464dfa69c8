"""The Discord client: joins the bot's parts, and words every error a person may meet."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence

import aiohttp
import discord
from arq.connections import ArqRedis
from discord import app_commands
from discord.app_commands import AppCommandContext, AppInstallationType
from discord.ext.commands import AutoShardedBot, Cog, when_mentioned
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from bot import wording
from bot.asked import find_room
from bot.board import Board
from bot.buttons import BUTTONS
from bot.chores import Chores
from bot.confirm import ANSWERS, Confirm
from bot.delivery import Delivery
from bot.download import Downloads
from bot.forecasts import Forecasts
from bot.forms import FOUND
from bot.gate import Gate
from bot.intake import Intake
from bot.meters import Meters
from bot.settings import DiscordSettings
from bot.strays import Strays
from bot.uploads import Uploads
from bot.whose import Asker
from jobs.costs import Costs
from jobs.errors import Refusal, UserError, new_incident
from jobs.policy import TermsSettings
from jobs.previews import Previews
from jobs.queue import SERVER_AWAY, JobQueue
from jobs.record import Job
from jobs.rulebook import Rulebook
from jobs.settings import LimitSettings
from jobs.texts import say, word
from jobs.workers import Workers
from media.identity import Trusted
from media.store import MediaStore
from media.sweep import Sweeper

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 5.0
ALIVE_KEY = "zoetrope:bot"
ALIVE_SECONDS = 20
"""Healthchecks look at this key; it lives a little longer than the pause between two writes."""
POSTING_SECONDS = 5.0


class FormLost(Refusal):
    """A form that was sent after the bot which opened it had ended."""

    code = "form_lost"


def sentence_for(error: BaseException) -> str:
    """What a person reads of an error. What is nobody's sentence is logged whole under an incident number."""
    original = error.original if isinstance(error, app_commands.CommandInvokeError) else error
    if isinstance(original, UserError):
        return word(original)
    incident = new_incident()
    if isinstance(original, SERVER_AWAY):
        log.error("incident %s: Redis is away: %s", incident, original)
        return say("queue_away", {"incident": incident})
    log.error("incident %s", incident, exc_info=original)
    return say("unexpected", {"incident": incident})


class Tree(app_commands.CommandTree["Zoetrope"]):
    """The command tree; its `on_error` is the one place where commands' errors become sentences."""

    async def on_error(self, interaction: discord.Interaction[Zoetrope], error: app_commands.AppCommandError) -> None:
        """Answer in private."""
        await interaction.client.answer_error(interaction, error)


class Zoetrope(AutoShardedBot):
    """The bot. Its collaborators are built from settings by the composition root."""

    def __init__(
        self,
        settings: DiscordSettings,
        limits: LimitSettings,
        terms: TermsSettings,
        redis: ArqRedis,
        queue: JobQueue,
        store: MediaStore,
        sweeper: Sweeper,
        cogs: Sequence[type[Cog]],
        meters: Meters,
        trusted: Trusted,
        *,
        message_content: bool,
    ) -> None:
        Route.BASE = settings.api.rstrip("/")
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=message_content)
        super().__init__(
            command_prefix=when_mentioned,
            intents=intents,
            tree_cls=Tree,
            help_command=None,
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            allowed_installs=AppInstallationType(guild=True, user=False),  # where the bot is not, it cannot deliver
            allowed_contexts=AppCommandContext(guild=True, dm_channel=True, private_channel=False),
            http_trace=meters.trace(),
        )
        self.settings = settings
        self.limits = limits
        self.redis = redis
        self.queue = queue
        self.uploads = Uploads(redis, settings.upload_mib)
        self.workers = Workers(redis)
        self.downloads = Downloads(settings.cdn, most_bytes=limits.picture_bytes, most_seconds=limits.download_seconds)
        self.rulebook = Rulebook(redis)
        find = functools.partial(find_room, self)
        self.gate = Gate(self.rulebook, terms, self.workers, find, limits)
        self.costs = Costs(redis)
        self.intake = Intake(queue, store, self.gate, self.costs, self.downloads, limits)
        self.strays = Strays(queue, self.workers, limits.wait_for_worker_minutes)
        self.forecasts = Forecasts(queue, self.workers, self.costs)
        self.confirm = Confirm(redis, limits.confirm_gpu_seconds, self.forecasts.of)
        self.board = Board(self, queue, self.forecasts, Previews(redis))
        self.delivery = Delivery(self, queue, store, self.board, self.uploads, meters)
        self.asker = Asker(redis, trusted)
        self.sweeper = sweeper
        self._cog_classes = cogs
        self.meters = meters
        self.chores = Chores(meters)

    async def setup_hook(self) -> None:
        """Register commands and buttons, then start to listen, edit and deliver."""
        await self._find_gateway()
        for cog in self._cog_classes:
            await self.add_cog(cog(self))  # type: ignore[call-arg]
        self.add_dynamic_items(*BUTTONS, *ANSWERS)
        await self._register_commands()
        self.chores.begin(
            {
                "board.listen": self.board.listen,
                "board.sweep": self.board.sweep,
                "deliver": self._deliver,
                "reconcile": self._reconcile,
                "strays": self.strays.watch,
                "sweeper": self.sweeper.run,
            }
        )

    async def _find_gateway(self) -> None:
        """After a lost session the library connects to a fixed address without asking; let it be the right one."""
        _, url, _ = await self.http.get_bot_gateway()
        DiscordWebSocket.DEFAULT_GATEWAY = URL(url)

    async def _register_commands(self) -> None:
        if not self.settings.guilds:
            await self.tree.sync()
        for guild in map(discord.Object, self.settings.guilds):
            self.tree.copy_global_to(guild=guild)
            await self.tree.sync(guild=guild)

    async def _deliver(self) -> None:
        """Consume deliveries; arq's worker gives up when Redis is away for a second, and is then begun again."""
        consumer = self.delivery.consumer(self.redis)
        try:
            await consumer.async_run()
        finally:
            await self._finish_posting(list(consumer.tasks.values()))

    async def _finish_posting(self, tasks: list[asyncio.Task[None]]) -> None:
        """Let posts that are under way arrive; what takes longer is given back to the queue."""
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=POSTING_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reconcile(self) -> None:
        while True:
            if self.is_ready():
                await self.redis.set(ALIVE_KEY, "1", ex=ALIVE_SECONDS)
            await self.queue.reconcile()
            self.chores.beat()
            await asyncio.sleep(RECONCILE_SECONDS)

    async def on_ready(self) -> None:
        """Say so in the log; `up` and the tests wait for this line."""
        log.info("ready as %s in %d servers", self.user, len(self.guilds))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Answer forms that nobody knows: the library keeps them in memory, and drops what it does not find there.

        A form that is there was handed what was sent before this event, and has marked it.
        """
        if interaction.type is discord.InteractionType.modal_submit and FOUND not in interaction.extras:
            await self.answer_error(interaction, FormLost())

    async def process_commands(self, message: discord.Message, /) -> None:
        """Nothing: mentions are no prefix commands (`commands/mention.py` reads them)."""

    async def started(self, job: Job) -> str:
        """After acceptance: the status message in the channel, and what to answer in private, which points to it."""
        status = await self.board.open(job)
        link = f" → {self.link(job, status)}" if status else ""
        return f"Queued with **{job.submission.recipe.title}**{link}{wording.notes(job.submission.said)}"

    @staticmethod
    def link(job: Job, message_id: str) -> str:
        """Discord's address of a message in the job's channel."""
        channel = job.submission.channel
        return f"https://discord.com/channels/{channel.guild_id or '@me'}/{channel.id}/{message_id}"

    async def answer_error(self, interaction: discord.Interaction, error: BaseException) -> None:
        """Answer an interaction that went wrong, in private, whatever state it is in."""
        sentence = sentence_for(error)
        try:
            if interaction.response.is_done():
                await interaction.followup.send(sentence, ephemeral=True)
            else:
                await interaction.response.send_message(sentence, ephemeral=True)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as lost:
            log.warning("the answer did not arrive: %s", lost)

    async def close(self) -> None:
        """Stop the chores and let go of everything."""
        await self.chores.end()
        await self.downloads.close()
        await super().close()


async def wants_message_content(settings: DiscordSettings) -> bool:
    """Whether to ask for the message-content intent: as the settings say, or as the developer portal allows.

    Asking for an intent that the portal does not allow would close the gateway with 4014.
    """
    if settings.message_content != "auto":
        return settings.message_content == "on"
    Route.BASE = settings.api.rstrip("/")
    async with discord.Client(intents=discord.Intents(guilds=True)) as client:
        await client.login(settings.token.get_secret_value())
        flags = (await client.application_info()).flags
    return flags.gateway_message_content or flags.gateway_message_content_limited
