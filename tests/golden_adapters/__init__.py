"""How our code answers each recorded case: one adapter for every (system, piece)."""

from collections.abc import Callable, Iterable

from tests.golden_adapters import svd
from tests.golden_adapters.case import Case, Check

Adapter = Callable[[Case], Iterable[Check]]

ADAPTERS: dict[tuple[str, str], Adapter] = {
    ("svd", "clip_preprocess"): svd.clip_preprocess,
    ("svd", "e2e"): svd.e2e,
    ("svd", "vae"): svd.vae,
    ("svd", "video_blocks"): svd.video_blocks,
    ("svd", "video_unet"): svd.video_unet,
}
