"""Which systems can render, and with what."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from console.checks import Check
from inference.settings import SystemSettings, tables_of
from inference.systems import ROOMS
from inference.systems.animatediff.installed import lora_fault, loras_of, style_fault, styles_of
from inference.systems.animatediff.weights import CLIP_TOKENIZER
from jobs.workers import best_system

PULL = "python -m console models pull"
MEND = "It is not offered until this is mended"


def checkpoints(models: Path, systems: SystemSettings) -> list[Check]:
    """One line for each system, and the one that `/animate` takes."""
    found: dict[str, tuple[str, ...]] = {}
    checks: list[Check] = []
    tables = tables_of(systems)
    for name, room in ROOMS.items():
        installed = room.installed(models, tables[name])
        if installed is not None:
            found[name] = installed
        checks.append(_system(name, installed, enabled=tables[name]["enabled"]))
    return [*checks, *_own(models, tables["animatediff"]), _front_door(found)]


def _own(models: Path, table: Mapping[str, Any]) -> Iterator[Check]:
    """The owner's image models and LoRAs that cannot be used, each with the reason."""
    words = CLIP_TOKENIZER.layout_in(models) is not None
    for name in styles_of(table):
        if fault := style_fault(models, name, table, words=words):
            yield Check(f"style {name}", "warn", fault, MEND)
    for name in loras_of(table):
        if fault := lora_fault(models, name, table):
            yield Check(f"LoRA {name}", "warn", fault, MEND)


def _system(name: str, installed: tuple[str, ...] | None, *, enabled: bool) -> Check:
    room = ROOMS[name]
    if not enabled:
        return Check(name, "ok", f"switched off (systems.{name}.enabled)")
    if installed:
        return Check(name, "ok", ", ".join(installed))
    first = room.first or tuple(weights.name for weights in room.weights[:1])
    pull = f"{PULL} {' '.join(first)}" if first else ""
    if installed is None:
        return Check(name, "warn", "no checkpoint is installed", f"To offer it: {pull}")
    return Check(name, "ok", "works without a checkpoint" + (f"; better with one: {pull}" if pull else ""))


def _front_door(found: dict[str, tuple[str, ...]]) -> Check:
    best = best_system(found)
    if best is None:
        return Check(
            "systems", "fail", "none can render", "Set `enabled = true` under [systems.parallax], which needs no files."
        )
    return Check("systems", "ok", f"/animate takes {best.name()}")
