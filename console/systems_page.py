"""docs/systems.md, made from the Request classes and the rooms: `python -m console docs`."""

from pathlib import Path

from pydantic.fields import FieldInfo

from bot.options import attached, described, hint, offered
from inference.systems import ROOMS
from inference.weights import Weights
from jobs.recipe import Output
from jobs.requests import REQUESTS, Request

PAGE = Path("docs/systems.md")


def page() -> str:
    """The whole page as Markdown."""
    head = "# Systems\n\nMade by `python -m console docs` from what is declared; not written by hand.\n"
    return head + "".join(_section(kind) for kind in REQUESTS)


def _section(kind: type[Request]) -> str:
    room = ROOMS[kind.name()]
    title = f"\n## /{kind.name()}\n\n{(kind.__doc__ or '').strip()}\n"
    options = "\n| option | what it is |\n| --- | --- |\n" + "".join(
        _row(name, field) for name, field in offered(kind, Output).items()
    )
    need = "Runs without any checkpoint.\n" if room.runs_without else "Needs one of these checkpoints.\n"
    weights = "\n| checkpoint | what for | download | licence |\n| --- | --- | --- | --- |\n" + "".join(
        _weights(one) for one in room.weights
    )
    return f"{title}{options}\n{need}{weights if room.weights else ''}"


def _row(name: str, field: FieldInfo) -> str:
    fits = "" if attached(field) else f" {hint(field)}".rstrip()
    return f"| `{name}` | {described(name, field)}.{fits} |\n"


def _weights(one: Weights) -> str:
    gated = ", gated" if one.gated else ""
    name, licence = f"[{one.name}](https://huggingface.co/{one.repo})", f"[{one.licence}]({one.licence_url}){gated}"
    return f"| {name} | {one.purpose} | {one.megabytes / 1000:.1f} GB | {licence} |\n"
