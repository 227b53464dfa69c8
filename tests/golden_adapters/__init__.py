"""How our code answers each recorded case: one adapter for every (system, piece)."""

from collections.abc import Callable, Iterable

from tests.golden_adapters import animatediff_schedules, deflicker, rife, svd
from tests.golden_adapters.case import Case, Check

Adapter = Callable[[Case], Iterable[Check]]

ADAPTERS: dict[tuple[str, str], Adapter] = {
    ("animatediff", "prompt_schedule"): animatediff_schedules.prompt_schedules,
    ("animatediff", "value_schedule"): animatediff_schedules.value_schedules,
    ("deflicker", "atlas"): deflicker.atlas,
    ("deflicker", "atlas_mapping_small"): deflicker.atlas,
    ("deflicker", "ffmpeg_deflicker"): deflicker.ffmpeg_deflicker,
    ("deflicker", "filter"): deflicker.neural_filter,
    ("deflicker", "local"): deflicker.local,
    ("deflicker", "metrics_and_practical"): deflicker.metrics_and_practical,
    ("deflicker", "sequence"): deflicker.sequence,
    ("rife", "film"): rife.film,
    ("rife", "film_schedule"): rife.film_schedule,
    ("rife", "ifnet"): rife.ifnet,
    ("rife", "video"): rife.video,
    ("svd", "clip_preprocess"): svd.clip_preprocess,
    ("svd", "e2e"): svd.e2e,
    ("svd", "vae"): svd.vae,
    ("svd", "video_blocks"): svd.video_blocks,
    ("svd", "video_unet"): svd.video_unet,
}
