"""`python -m console models`: which checkpoints there are, fetch one, read them all again."""

import difflib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from console.exits import CANNOT_START
from console.screen import show_table
from inference.checksums import Checksums, UnsafeNameError, states
from inference.settings import ModelSettings, SystemSettings
from inference.systems import ROOMS
from inference.systems.animatediff.installed import style_weights
from inference.weights import Layout, Weights
from jobs.settings import BadSettings

if TYPE_CHECKING:
    from console.hub import Hub

app = typer.Typer(no_args_is_help=True)
PULL = "python -m console models pull"
ADVICE = {
    "bad": "is damaged; pull it again",
    "missing": "is missing; pull it again",
    "unknown": "is there, but nothing says what it should hash to; pull to compare it with the hub",
}


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _stop(sentence: str, code: int = 1) -> typer.Exit:
    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, style="red", markup=False)
    return typer.Exit(code)


def _models() -> Path:
    try:
        return ModelSettings.read().dir
    except BadSettings as error:
        raise _stop(str(error), CANNOT_START) from None


def checkpoints() -> Iterator[tuple[str, Weights]]:
    """Every published checkpoint with the system it is for, and the owner's own that are on the hub."""
    try:
        styles = style_weights(SystemSettings.read().animatediff.model_dump())
    except BadSettings as error:
        raise _stop(str(error), CANNOT_START) from None
    for system, room in ROOMS.items():
        for weights in (*room.weights, *(styles if system == "animatediff" else ())):
            yield system, weights


def find(name: str) -> Weights:
    """The checkpoint of that name; ends the command with the near ones where there is none."""
    known = {weights.name: weights for _, weights in checkpoints()}
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, cutoff=0.4)
        meant = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
        raise _stop(f"There is no checkpoint {name}. {meant}")
    return known[name]


def installed(weights: Weights, models: Path) -> str:
    """In a word: `yes`, `no`, or how much of it is there."""
    if weights.layout_in(models):
        return "yes"
    layout = weights.layouts[0]
    there = sum((models / weights.name / name).is_file() for name in layout.files)
    return f"{there} of {len(layout.files)} files" if there else "no"


@app.command(name="list")
def list_checkpoints() -> None:
    """Which checkpoints there are, and which are installed."""
    models, out = _models(), _out()
    rows = [
        (weights.name, system, installed(weights, models), _gigabytes(weights), licence(weights), weights.purpose)
        for system, weights in checkpoints()
    ]
    show_table(out, ("name", "system", "installed", "size", "licence", "what for"), rows)
    missing = [row[0] for row in rows if row[2] != "yes"]
    out.print(
        f"\nFolder: {models}. Next: " + (f"{PULL} {missing[0]}" if missing else "python -m console models verify")
    )


def _gigabytes(weights: Weights) -> str:
    return f"{weights.megabytes / 1000:.1f} GB"


def licence(weights: Weights) -> str:
    """Its name, and what is out of the ordinary."""
    marks = [mark for mark, on in (("non-commercial", not weights.commercial), ("gated", weights.gated)) if on]
    return f"{weights.licence} ({', '.join(marks)})" if marks else weights.licence


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(help="Which ones; `models list` names them.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="For scripts: the licence was read.")
    ] = False,
) -> None:
    """Fetch checkpoints. What broke off goes on; what is there and whole is left alone."""
    for weights in [find(name) for name in names]:
        _pull_one(weights, accept_licence=accept_licence)


def _pull_one(weights: Weights, *, accept_licence: bool) -> None:
    models, out, name = _models(), _out(), weights.name
    if importlib.util.find_spec("huggingface_hub") is None:
        raise _stop(
            "This installation cannot fetch (huggingface_hub is missing): run it where the worker runs, "
            f"with Docker as: docker compose run --rm worker {PULL} {name}"
        )
    from console.hub import Hub, PullError  # the bot's image has no huggingface_hub

    layout = weights.layout_in(models) or weights.layouts[0]
    wanted = needed(weights, layout, models, out)
    if not wanted:
        out.print(f"{name} is installed and whole. Next: python -m console doctor")
        return
    accept(weights, accepted=accept_licence, out=out)
    try:
        hub = Hub(weights, models)
        if weights.layout_in(models) is None and (published := hub.published(weights.layouts)) is not layout:
            layout, wanted = published, _not_good(weights, published, models)
        _pull(hub, layout, wanted, out)
    except (PullError, UnsafeNameError) as error:
        raise _stop(str(error)) from None
    except KeyboardInterrupt:
        raise _stop(f"Stopped. What came is kept, so go on with: {PULL} {name}") from None
    out.print(f"{name} is installed. A running worker sees it within seconds. Next: python -m console doctor")


def needed(weights: Weights, layout: Layout, models: Path, out: Console) -> list[str]:
    """The files that are missing, damaged, or of which nobody can say."""
    if weights.layout_in(models):
        out.print(f"Reading what is there of {weights.name} …")
    try:
        return _not_good(weights, layout, models)
    except UnsafeNameError as error:
        raise _stop(str(error)) from None


def _not_good(weights: Weights, layout: Layout, models: Path) -> list[str]:
    return [file for file, state in states(weights, layout, models) if state != "good"]


def accept(weights: Weights, *, accepted: bool, out: Console) -> None:
    """Show the licence; have it accepted where it is non-commercial, or gated by its publisher."""
    out.print(f"{weights.name}: {weights.purpose}. Licence: {licence(weights)}, {weights.licence_url}")
    if accepted or (weights.commercial and not weights.gated):
        return
    if not sys.stdin.isatty():
        raise _stop(f"Read the licence at {weights.licence_url}; if you accept it, add --accept-licence.")
    if not typer.confirm("Have you read the licence, and do you accept it?"):
        raise _stop("Nothing was fetched.")


def _pull(hub: "Hub", layout: Layout, wanted: list[str], out: Console) -> None:
    files = [file for file in hub.files(layout) if file.name in wanted]
    with hub.alone():
        digests = {file.name: hub.present(file) for file in files}
        missing = [file for file in files if digests[file.name] is None]
        hub.make_room(missing)
        out.print(f"Fetching {len(missing)} files, {hub.missing_bytes(missing) / 1e6:,.1f} MB, into {hub.folder}")
        for file in files:
            digest = digests[file.name] or hub.fetch(file)
            Checksums.read(hub.folder, hub.weights.revision).with_file(file.name, digest).write(hub.folder)
            out.print(f"  {file.name}  {file.size_bytes / 1e6:,.1f} MB  SHA-256 {digest[:12]}…  checked")


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Which one; by default all that are installed.")] = None,
) -> None:
    """Read every installed file again and compare it with its pinned or recorded SHA-256."""
    models, out = _models(), _out()
    chosen = [find(name)] if name else [weights for _, weights in checkpoints() if installed(weights, models) != "no"]
    if not chosen:
        out.print(f"Nothing is installed in {models}; parallax runs without. Next: python -m console models list")
        return
    wrong = [weights.name for weights in chosen if not _verified(weights, models, out)]
    if wrong:
        raise _stop("Next: " + "; ".join(f"{PULL} {one}" for one in wrong))
    out.print("Every file is what it should be. Next: python -m console doctor")


def _verified(weights: Weights, models: Path, out: Console) -> bool:
    layout = weights.layout_in(models) or weights.layouts[0]
    good = True
    for file, state in states(weights, layout, models):
        if state == "good":
            out.print(f"{weights.name}/{file} is good", markup=False)
        else:
            out.print(f"{weights.name}/{file} {ADVICE[state]}", style="red", markup=False)
            good = False
    return good
