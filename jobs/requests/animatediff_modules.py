"""The motion modules that AnimateDiff's family has published, with the settings that each was made for.

Numbers from the authors' repositories and model cards: guoyww/AnimateDiff, ByteDance/AnimateDiff-Lightning,
G-U-N/AnimateLCM, hotshotco/Hotshot-XL, open-mmlab/PIA.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Family = Literal["sd15", "sdxl"]
Module = Literal[
    "v3", "v15-v2", "v15", "v14", "lightning-8", "lightning-4", "lightning-2", "lightning-1", "animatelcm", "pia",
    "sdxl", "hotshot-xl",
]  # fmt: skip
Sampler = Literal["ddim", "euler", "euler a", "dpm++ 2m", "lcm"]
Betas = Literal["linear", "scaled_linear"]
Spacing = Literal["leading", "trailing", "linspace"]


@dataclass(frozen=True)
class Profile:
    """What a module was made for."""

    weights: str
    """Name of the checkpoint."""
    family: Family = "sd15"
    num_frames: int = 16
    """At which it is best; also a window's length."""
    positions: int = 32
    """Most frames at once."""
    steps: int = 25
    guidance_scale: float = 8.0
    sampler: Sampler = "ddim"
    betas: Betas = "linear"
    beta_end: float = 0.012
    spacing: Spacing = "leading"
    side: int = 512
    """Of a square clip, in pixels; other shapes have the same area."""
    fps: int = 8
    camera: bool = False
    """Whether the eight published camera moves fit: they were learned on version 2, whose layers they need."""
    lora: float = 0.0
    """Strength of the LoRA for the image model that comes with it."""
    distilled: bool = False
    """Made for few steps and little guidance or none; at a scale of 1 the negative prompt has no say."""
    step_counts: tuple[int, ...] = ()
    """Of a module that was made for certain numbers of steps: these alone."""


def _lightning(steps: int, *others: int) -> Profile:
    return Profile(
        weights=f"animatediff-lightning-{steps}",
        steps=steps,
        guidance_scale=1.0,
        sampler="euler",
        spacing="trailing",
        camera=True,
        distilled=True,
        step_counts=(steps, *others),
    )


MODULES: Mapping[Module, Profile] = {
    "v3": Profile("animatediff-v3", guidance_scale=8.5),
    "v15-v2": Profile("animatediff-v15-v2", guidance_scale=7.5, camera=True),
    "v15": Profile("animatediff-v15", guidance_scale=7.5, positions=24),
    "v14": Profile("animatediff-v14", guidance_scale=7.5, positions=24),
    "lightning-8": _lightning(8),
    "lightning-4": _lightning(4),
    "lightning-2": _lightning(2, 3),  # the model card: three steps with the two-step file look good as well
    "lightning-1": _lightning(1),
    "animatelcm": Profile(
        "animatelcm", steps=6, guidance_scale=1.5, sampler="lcm", camera=True, distilled=True, lora=0.8
    ),
    "pia": Profile("pia", guidance_scale=7.5),
    "sdxl": Profile(
        "animatediff-sdxl", "sdxl", steps=100, guidance_scale=10.0, sampler="euler", betas="scaled_linear",
        beta_end=0.020, side=1024,
    ),
    "hotshot-xl": Profile(
        "hotshot-xl", "sdxl", num_frames=8, positions=24, steps=30, guidance_scale=5.0, sampler="euler a",
        betas="scaled_linear", side=512,
    ),
}  # fmt: skip
"""In the order of preference where nobody chose."""


def family_of(model: str) -> Family:
    """Which kind of image model bears this name: those of SDXL begin with `sdxl-`, by config.toml's rule."""
    return "sdxl" if model.startswith("sdxl-") else "sd15"
