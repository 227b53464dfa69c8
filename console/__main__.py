"""`python -m console`: demo, up, bot, worker, doctor, models, health."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from console import doctor as doctor_page
from console import models as models_page
from console import provenance as provenance_page
from console.exits import CANNOT_START
from console.settings import Settings
from jobs import logs
from jobs.queue import REDIS_AWAY
from jobs.settings import BadSettings

app = typer.Typer(
    help="Zoetrope: a Discord bot that makes pictures move.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_page.app, name="models", help="Checkpoints: which there are, fetch them, check them.")
app.add_typer(
    provenance_page.app,
    name="provenance",
    help="Content credentials: make a certificate, read what a file says.",
)
app.command(name="doctor", help="Look at everything that must be right, and say what to do where it is not.")(
    doctor_page.doctor
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def _complain(error: Exception) -> None:
    """One sentence, its brackets as they are."""
    errors.print(str(error), style="red", markup=False)


def _settings() -> Settings:
    try:
        return Settings.read()
    except BadSettings as error:
        _complain(error)
        raise typer.Exit(CANNOT_START) from None


def _run(work: Coroutine[Any, Any, int | None]) -> None:
    """Run to the end; Ctrl-C is an end like any other, an exit code is passed on."""
    try:
        code = asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except OSError as error:  # a folder that cannot be written, a network that is not there
        _complain(error)
        raise typer.Exit(1) from None
    if code:
        raise typer.Exit(code)


def _log(process: str) -> None:
    level = os.environ.get("ZOETROPE_LOG_LEVEL", "INFO").upper()
    logs.log_to_stderr(process, level=logging.getLevelNamesMapping().get(level, logging.INFO))


@app.command()
def demo(
    image: Annotated[Path | None, typer.Argument(help="A picture; by default a public-domain photograph.")] = None,
    system: Annotated[str | None, typer.Option(help="Which system; by default the best installed.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the MP4 and the GIF.")] = Path("out"),
) -> None:
    """Animate one picture without Discord: own Redis, a real worker, the real queue."""
    from console.demo import DemoFailed, run_demo
    from console.redis_server import RedisDidNotStart

    _log("demo")
    _settings()
    try:
        _run(run_demo(image, system, out, console))
    except (DemoFailed, RedisDidNotStart) as failure:
        _complain(failure)
        raise typer.Exit(1) from None


@app.command()
def up() -> None:
    """Everything on this machine: Redis unless one is configured, the bot, one worker for each GPU."""
    from console.redis_server import RedisDidNotStart
    from console.up import CannotStart, run_everything

    _log("up")
    try:
        _run(run_everything(_settings()))
    except (CannotStart, RedisDidNotStart) as reason:
        _complain(reason)
        raise typer.Exit(CANNOT_START) from None


@app.command()
def bot() -> None:
    """The bot alone; Redis and workers run elsewhere."""
    from console.up import CannotStart, Unreachable, run_bot

    _log("bot")
    try:
        _run(run_bot(_settings()))
    except CannotStart as reason:
        _complain(reason)
        raise typer.Exit(CANNOT_START) from None
    except Unreachable as reason:
        _complain(reason)
        raise typer.Exit(1) from None


@app.command()
def worker() -> None:
    """One worker alone; needs no token."""
    from inference.renderer import RendererDied
    from inference.serve import CannotRender, main

    _log("worker")
    _settings()
    try:
        _run(main())
    except (CannotRender, RendererDied) as reason:
        _complain(reason)
        raise typer.Exit(1) from None
    except REDIS_AWAY:
        errors.print("Redis does not answer; see [redis] url in config.toml.", markup=False)
        raise typer.Exit(1) from None


@app.command()
def health(what: Annotated[str, typer.Argument(help="bot or worker")]) -> None:
    """For healthchecks: exit 0 where the process of this container does its work."""
    from console.health import healthy

    if not asyncio.run(healthy(what, _settings())):
        raise typer.Exit(1)


@app.command(hidden=True)
def docs() -> None:
    """Write docs/systems.md, and the table in docs/monitoring.md, anew."""
    from console import metrics_table
    from console.systems_page import PAGE, page

    PAGE.write_text(page(), "utf-8")
    metrics_table.PAGE.write_text(metrics_table.fresh(metrics_table.PAGE.read_text("utf-8")), "utf-8")
    console.print(f"Wrote {PAGE} and {metrics_table.PAGE}.")


if __name__ == "__main__":
    app()
