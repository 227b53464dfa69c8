"""Small image models, opened once."""

from functools import cache
from pathlib import Path

from inference.systems.animatediff.base.kinds import Family
from inference.systems.animatediff.base.loader import open_base
from inference.systems.animatediff.base.model import Base
from tests.tiny_models.stable_diffusion import TOKENIZER

FAMILIES: tuple[Family, ...] = ("sd15", "sdxl")


@cache
def opened(path: Path, shelf: Path) -> Base:
    return open_base("mine", path, shelf / TOKENIZER)
