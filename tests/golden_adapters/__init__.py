"""How our code answers each recorded case: one adapter for every (system, piece)."""

from collections.abc import Callable, Iterable

from tests.golden_adapters import animatediff, animatediff_schedules, animatediff_windows, deflicker, rife, svd
from tests.golden_adapters.case import Case, Check

Adapter = Callable[[Case], Iterable[Check]]

ADAPTERS: dict[tuple[str, str], Adapter] = {
    ("animatediff", "context_fuse"): animatediff_windows.context_fuse,
    ("animatediff", "context_weights"): animatediff_windows.context_weights,
    ("animatediff", "context_windows"): animatediff_windows.context_windows,
    ("animatediff", "freenoise_indices"): animatediff_windows.freenoise_indices,
    ("animatediff", "loras"): animatediff.loras,
    ("animatediff", "motion_module"): animatediff.motion_module,
    ("animatediff", "motion_scale"): animatediff.motion_scale,
    ("animatediff", "motiondirector"): animatediff_windows.motion_director,
    ("animatediff", "prompt_blend"): animatediff_windows.prompt_blend,
    ("animatediff", "prompt_schedule"): animatediff_schedules.prompt_schedules,
    ("animatediff", "sampling_loop"): animatediff.sampling_loop,
    ("animatediff", "sparsectrl"): animatediff.sparsectrl,
    ("animatediff", "unet_motion"): animatediff.unet_motion,
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
