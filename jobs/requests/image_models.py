"""Which image models there are, and what a job is called by image model and motion module."""

from collections.abc import Collection, Iterable, Sequence

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import MODULES, Module, family_of
from jobs.requests.loras import PREFIX

BASES = ("stable-diffusion-v1-5", "sdxl-base")
"""The published image models; what else the owner lists comes before them."""
ADAPTER = "animatediff-v3-adapter"
OTHERS = frozenset({"clip-tokenizer", "clip-vit-h", ADAPTER, "hed", "lineart", "rtdetr-r50", "vitpose-base"})
PREFIXES = ("sparsectrl-", "ip-adapter-", "controlnet-", "motion-lora-", "depth-anything-", PREFIX)


class ModelUnknown(Refusal):
    """An image model that is not installed."""

    code = "model_unknown"


class ModuleMissing(Refusal):
    """No motion module is installed that could do it."""

    code = "module_missing"


def image_models(installed: Collection[str]) -> Sequence[str]:
    """Of all checkpoints the image models: the owner's own first."""
    modules = {profile.weights for profile in MODULES.values()}
    own = [
        name
        for name in installed
        if name not in modules | OTHERS and not name.startswith(PREFIXES) and name not in BASES
    ]
    return [*own, *(name for name in BASES if name in installed)]


def suggest_models(typed: str, installed: Collection[str]) -> Sequence[str]:
    """Image models that are installed and hold what is typed."""
    return [name for name in image_models(installed) if typed.strip().lower() in name.lower()]


def kind_of(system: str, model: str | None, module: str | None) -> str:
    """`system/model+module`; while one is open, by the other."""
    chosen = "+".join(filter(None, (model, module)))
    return f"{system}/{chosen}" if chosen else system


def kinds_with(system: str, checkpoints: Iterable[str]) -> frozenset[str]:
    """All of them, where these checkpoints are installed."""
    there = set(checkpoints)
    modules: list[Module] = [module for module, profile in MODULES.items() if profile.weights in there]
    models = image_models(checkpoints if isinstance(checkpoints, Collection) else list(there))
    pairs = {
        kind_of(system, model, module)
        for model in models
        for module in modules
        if family_of(model) == MODULES[module].family
    }
    singles = {kind_of(system, name, None) for name in (*models, *modules)}
    return frozenset({system, *singles, *pairs})
