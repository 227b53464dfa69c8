"""The table of metrics in docs/monitoring.md, made from what bot and worker declare: `python -m console docs`."""

import re
from collections.abc import Iterable
from pathlib import Path

from arq.connections import ArqRedis
from prometheus_client import CollectorRegistry

from bot.meters import LineMeters
from bot.meters import Meters as BotMeters
from inference.meters import Meters as WorkerMeters
from jobs.watch import Watch
from jobs.workers import Workers

PAGE = Path("docs/monitoring.md")
BEGIN, END = "<!-- made by `python -m console docs` -->\n", "<!-- end -->\n"


def fresh(page: str) -> str:
    """The page with the table as the code has it now."""
    return re.sub(f"(?s){re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}{table()}{END}", page)


def table() -> str:
    """All metrics as Markdown."""
    both, bot, worker = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
    Watch(both, {}, [])
    BotMeters(bot)
    redis = ArqRedis()  # never connects: nobody looks
    LineMeters(bot, redis, Workers(redis))
    WorkerMeters(worker)
    rows = [*_rows("bot", bot), *_rows("worker", worker), *_rows("both", both)]
    return "| metric | of | is a | what it means |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _rows(owner: str, registry: CollectorRegistry) -> Iterable[str]:
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"| `{name}` | {owner} | {family.type} | {family.documentation} |\n"
