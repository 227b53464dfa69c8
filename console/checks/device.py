"""What renders: the graphics card, torch, main memory. Torch is asked in a process of its own, where it is there."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console.checks import Check
from inference.settings import ModelSettings

SMI = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits")
SMI_SECONDS = 20.0
TORCH_SECONDS = 120.0
SVD_BYTES = 8 * 10**9
"""Of GPU memory, with everything but the working network in main memory."""
RAM_BYTES = 8 * 10**9
PROBE = """
import json, torch
print(json.dumps({
    "version": torch.__version__,
    "cards": torch.cuda.device_count() if torch.cuda.is_available() else 0,
    "mps": torch.backends.mps.is_available(),
}))
"""


@dataclass(frozen=True)
class Card:
    """One graphics card, as the driver describes it."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str


@dataclass(frozen=True)
class Torch:
    """What torch can use here."""

    version: str
    cards: int
    mps: bool


async def device(settings: ModelSettings) -> list[Check]:
    """Card, torch and memory."""
    cards, torch = await asyncio.gather(_cards(), _torch())
    return [torch_check(torch), card_check(cards, torch, settings.device), memory_check(memory_bytes())]


async def _output(command: Sequence[str], seconds: float) -> str | None:
    """What a command prints; None where it is not there, fails, or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(seconds):
            printed, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    return printed.decode("utf-8", "replace") if process.returncode == 0 else None


async def _cards() -> list[Card]:
    return parse_cards(await _output(SMI, SMI_SECONDS) or "")


def parse_cards(printed: str) -> list[Card]:
    """The cards in nvidia-smi's table; a value it does not know ("[N/A]", on shared-memory boards) counts as 0."""
    cards: list[Card] = []
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4:
            total, free = (int(cell) * 2**20 if cell.isdigit() else 0 for cell in cells[1:3])
            cards.append(Card(cells[0], total, free, cells[3]))
    return cards


async def _torch() -> Torch | str | None:
    """None where it is not installed, a word where it does not start."""
    if importlib.util.find_spec("torch") is None:
        return None
    printed = await _output((sys.executable, "-c", PROBE), TORCH_SECONDS)
    try:
        return Torch(**json.loads(printed or ""))
    except ValueError:
        return "does not start"


def torch_check(torch: Torch | str | None) -> Check:
    """Whether the renderer could start at all."""
    if torch is None:
        advice = "Fine for the bot alone. To render here: pip install -c constraints.txt '.[worker]'"
        return Check("torch", "warn", "not installed", advice)
    if isinstance(torch, str):
        advice = (
            "Run python -c 'import torch' to see why; then install it again: pip install -c constraints.txt '.[worker]'"
        )
        return Check("torch", "fail", torch, advice)
    return Check("torch", "ok", torch.version)


def card_check(cards: Sequence[Card], torch: Torch | str | None, wanted: str) -> Check:
    """What will render, against what the settings ask for."""
    usable = torch.cards if isinstance(torch, Torch) else 0
    if wanted == "cpu":
        return Check("GPU", "ok", "not used (models.device is cpu)")
    if wanted.startswith("cuda") and isinstance(torch, Torch) and not usable:
        advice = 'Set `models.device` to "auto" or "cpu", or install the driver and a torch built for CUDA.'
        return Check("GPU", "fail", f"models.device is {wanted}, and torch {torch.version} sees no card", advice)
    if cards and isinstance(torch, Torch) and not usable:
        advice = "Install a torch built for CUDA, see https://pytorch.org/get-started/locally, or update the driver."
        return Check("GPU", "warn", f"{_named(cards)}, but torch {torch.version} cannot use it", advice)
    if cards:
        return _card_memory(cards)
    if isinstance(torch, Torch) and torch.mps:
        return Check("GPU", "ok", "Apple's, through mps")
    advice = "Parallax takes seconds without one; Stable Video Diffusion takes an hour or more for each clip."
    return Check("GPU", "warn", "none; the CPU renders", advice)


def _named(cards: Sequence[Card]) -> str:
    return "; ".join(
        f"{card.name}, {card.total_bytes / 1e9:.0f} GB, {card.free_bytes / 1e9:.0f} GB free, driver {card.driver}"
        for card in cards
    )


def _card_memory(cards: Sequence[Card]) -> Check:
    if all(0 < card.total_bytes < SVD_BYTES for card in cards):
        advice = "Stable Video Diffusion needs about 8 GB; parallax works with any."
        return Check("GPU", "warn", _named(cards), advice)
    if all(0 < card.free_bytes < SVD_BYTES <= card.total_bytes for card in cards):
        return Check("GPU", "warn", _named(cards), "Another program holds its memory: end it before the worker starts.")
    return Check("GPU", "ok", _named(cards))


def memory_bytes() -> int:
    """Main memory of this machine, or what its container may use of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text("utf-8").strip() if limit.is_file() else "max"
    return min(total, int(text)) if text.isdigit() else total


def memory_check(total_bytes: int) -> Check:
    """Networks that wait their turn lie in main memory."""
    found = f"{total_bytes / 1e9:.1f} GB"
    if total_bytes < RAM_BYTES:
        return Check(
            "memory", "warn", found, "Stable Video Diffusion wants 8 GB of main memory; parallax runs with less."
        )
    return Check("memory", "ok", found)
