"""Small random checkpoints of every system, in exactly the published layouts and names.

`python -m tests.tiny_models DIR` writes them; `DIR` can then serve as `models.dir`.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.tiny_models.animatediff import write_animatediff
from tests.tiny_models.controls import write_controls
from tests.tiny_models.depth import write_depth
from tests.tiny_models.pictures import write_pictures
from tests.tiny_models.rife import write_film, write_rife
from tests.tiny_models.stable_diffusion import write_stable_diffusion
from tests.tiny_models.svd import write_svd
from tests.tiny_models.swin2sr import write_swin2sr

WRITERS: tuple[Callable[[Path], None], ...] = (write_svd, write_depth, write_rife, write_film, write_swin2sr)
FAMILY: tuple[Callable[[Path], None], ...] = (write_stable_diffusion, write_animatediff, write_pictures, write_controls)
"""AnimateDiff's, some forty checkpoints: only for whoever renders with them."""


def write_all(folder: Path) -> None:
    """One folder for each checkpoint, by its name."""
    for write in (*WRITERS, *FAMILY):
        write(folder)


def write_usual(folder: Path) -> None:
    """All but AnimateDiff's: made once in a process, and copied, for making them takes seconds."""
    shutil.copytree(_usual(), folder, dirs_exist_ok=True)


@cache
def _usual() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for write in WRITERS:
        write(folder)
    return folder
