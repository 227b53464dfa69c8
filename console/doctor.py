"""`python -m console doctor`: look at everything that must be right, and say what to do where it is not."""

import asyncio
from collections.abc import Awaitable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from console.checks import Check
from console.checks.checkpoints import checkpoints
from console.checks.codecs import codecs
from console.checks.credentials import credentials
from console.checks.device import device
from console.checks.disks import folder_of, free_space, store
from console.checks.portal import portal
from console.checks.queue_server import queue_server
from console.screen import show_table
from console.settings import Settings
from jobs.settings import BadSettings, config_path


class Side(StrEnum):
    """What runs on this machine."""

    ALL = "all"
    BOT = "bot"
    WORKER = "worker"


async def checks(side: Side = Side.ALL) -> list[Check]:
    """Everything there is to look at; only the settings where those do not fit."""
    try:
        settings = Settings.read()
    except BadSettings as error:
        return [Check("settings", "fail", str(error), "Every setting stands in the repository's config.toml.")]
    parts: list[Awaitable[list[Check]]] = []
    if side is not Side.WORKER:
        parts.append(_net("Discord", portal(settings.discord)))
    parts += [_net("Redis", queue_server(settings.redis)), _net("store", store(settings.store))]
    parts.append(_net("disk", asyncio.to_thread(free_space, _folders(settings))))
    if side is not Side.BOT:
        parts.append(_net("GPU", device(settings.models)))
        parts.append(_net("models", asyncio.to_thread(checkpoints, settings.models.dir, settings.systems)))
        parts.append(_net("codec", asyncio.to_thread(codecs)))
    parts.append(_net("credentials", asyncio.to_thread(credentials, settings.provenance, signs=side is not Side.BOT)))
    found = await asyncio.gather(*parts)
    return [_settings_check(), *(check for part in found for check in part)]


async def _net(name: str, part: Awaitable[list[Check]]) -> list[Check]:
    """A part that breaks is a line like any other: the rest must still be seen."""
    try:
        return await part
    except Exception as error:  # noqa: BLE001 - the one net of this process
        return [
            Check(name, "fail", f"could not be looked at ({type(error).__name__})", "This is a bug; please report it.")
        ]


def _settings_check() -> Check:
    path = config_path()
    if path.is_file():
        return Check("settings", "ok", str(path))
    return Check("settings", "ok", f"there is no {path}, so the defaults and the environment hold")


def _folders(settings: Settings) -> dict[str, Path]:
    folders = {"models": settings.models.dir, "scratch": settings.models.cache}
    if (folder := folder_of(settings.store.url)) is not None:
        folders["store"] = folder
    if not settings.redis.url.get_secret_value():
        folders["Redis"] = settings.redis.data
    return folders


def doctor(
    side: Annotated[Side, typer.Argument(help="What runs on this machine: all, bot or worker.")] = Side.ALL,
) -> None:
    """Look at everything that must be right, and say what to do where it is not."""
    found = asyncio.run(checks(side))
    out = Console(highlight=False, soft_wrap=True)
    show_table(out, ("", "what", "found"), [(check.state, check.name, check.found) for check in found])
    show_advice(out, found)
    if any(check.state == "fail" for check in found):
        raise typer.Exit(1)


def show_advice(out: Console, found: Sequence[Check]) -> None:
    """What to do, the gravest first; and what to do next."""
    for state, headline in (("fail", "Must be put right:"), ("warn", "Worth knowing:")):
        concerned = [check for check in found if check.state == state]
        if concerned:
            out.print(f"\n{headline}", style="bold")
        for check in concerned:
            out.print(f"  {check.name}: {check.advice}", markup=False)
    if any(check.state == "fail" for check in found):
        out.print("\nNext: put these right, then again: python -m console doctor")
    else:
        out.print("\nNext: make run")
