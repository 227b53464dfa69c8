"""LoRAs of the image model, as people write them: `ghibli 0.8, detail 0.5`, or `<lora:ghibli:0.8>` amid a prompt."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import Family, family_of
from jobs.requests.strengths import MOST_LISTED, STRONGEST, going_on, some
from jobs.schedules.passage import quoted

PREFIX = "lora-"
"""Before an owner's name for one, among a machine's checkpoints."""
ENTRY = re.compile(r"([a-z0-9][a-z0-9._-]*)(?:(?:\s*:\s*|\s+)([+-]?(?:\d+(?:\.\d*)?|\.\d+)))?")
TAG = re.compile(r"<\s*(?:lora|lyco)\s*:([^<>]*)>", re.IGNORECASE)
"""As AUTOMATIC1111 has it, and everybody who copies prompts from there; a second strength, for the words, is let go."""
BEGUN = re.compile(r"<\s*(?:lora|lyco)\s*:[^<>]{0,40}", re.IGNORECASE)
BETWEEN = re.compile(r"[,;|\n]|\+(?=\s*[A-Za-z])")
LONGEST = 8000
"""Characters that are looked through for tags; no option takes so many."""

FAMILIES: Mapping[Family, str] = {"sd15": "SD 1.5", "sdxl": "SDXL"}


class LoraUnread(Refusal):
    """A part of the list that is no name with a strength."""

    code = "lora_unread"


class LoraUnknown(Refusal):
    """A LoRA that no machine has."""

    code = "lora_unknown"


class LoraStrength(Refusal):
    """A strength beyond what still makes pictures."""

    code = "lora_strength"


class LoraTwice(Refusal):
    """One LoRA twice: which strength is meant?"""

    code = "lora_twice"


class LoraFamily(Refusal):
    """A LoRA of SDXL with an image model of SD 1.5, or the other way round."""

    code = "lora_family"


class LoraElsewhere(Refusal):
    """A LoRA of SDXL with something that is made for SD 1.5 alone, or the other way round."""

    code = "lora_elsewhere"


class LoraMisplaced(Refusal):
    """A LoRA within a schedule, where it would hold for some frames only, or among what the clip must not show."""

    code = "lora_misplaced"


class NamedLora(NamedTuple):
    """One of them."""

    name: str
    strength: float

    @property
    def checkpoint(self) -> str:
        """What machines call it."""
        return f"{PREFIX}{self.name}"

    @property
    def family(self) -> Family:
        """Of the image models that it is for."""
        return family_of(self.name)


def loras(text: str) -> tuple[NamedLora, ...]:
    """What was said, in its order; without a number a LoRA has strength 1.

    Raises:
        Refusal: naming the part that cannot be understood.
    """
    found = [_lora(part) for part in BETWEEN.split(text) if part.strip()]
    names = [lora.name for lora in found]
    for name in names:
        if names.count(name) > 1:
            raise LoraTwice(name=name)
    return tuple(found)


def _lora(part: str) -> NamedLora:
    entry = ENTRY.fullmatch(part.strip().lower())
    if entry is None:
        raise LoraUnread(found=quoted(part))
    name, strength = entry[1].removesuffix(".safetensors"), float(entry[2]) if entry[2] else 1.0
    if abs(strength) > STRONGEST:
        raise LoraStrength(name=name, strength=strength, most=STRONGEST)
    return NamedLora(name, strength)


def _tagged(inside: str) -> NamedLora:
    """What stands between `<lora:` and `>`."""
    name, *strengths = inside.split(":")
    if not name.strip() or re.search(r"[\s,;|+]", name.strip()):
        raise LoraUnread(found=quoted(f"<lora:{inside}>"))
    return _lora(" ".join([name, *strengths[:1]]))


def out_of_prompt(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same fields, with LoRAs that stand amid the prompt in the option that is made for them.

    One that stands in both goes by the prompt: it was changed there in a form that had listed it already.

    Raises:
        LoraMisplaced: one stands in the schedule, or in the negative prompt.
        LoraUnread: one is not finished.
    """
    texts = {name: str(fields.get(name) or "")[:LONGEST] for name in ("prompt", "negative", "schedule", "lora")}
    for option in ("schedule", "negative"):
        if found := BEGUN.search(texts[option]):
            raise LoraMisplaced(found=quoted(found[0]), option=option)
    words = TAG.sub(" ", texts["prompt"])
    if found := BEGUN.search(words):
        raise LoraUnread(found=quoted(found[0]))
    tags = [_tagged(inside) for text in (texts["prompt"], texts["lora"]) for inside in TAG.findall(text)]
    if not tags:
        return fields
    listed = [part.strip() for part in BETWEEN.split(TAG.sub(",", texts["lora"])) if part.strip()]
    names = {lora.name for lora in tags}
    kept = [part for part in listed if ENTRY.fullmatch(part.lower()) is None or _lora(part).name not in names]
    said = ", ".join([*kept, *(f"{lora.name} {lora.strength:g}" for lora in tags)])
    return {**fields, "prompt": _tidied(words), "lora": said}


def _tidied(words: str) -> str:
    """Without what tags leave behind: blanks, and commas with nothing between them."""
    parts = [" ".join(part.split()) for part in words.split(",")]
    return ", ".join(filter(None, parts))


def check_installed(chosen: Sequence[NamedLora], installed: Collection[str]) -> None:
    """Whether some machine has each of them.

    Raises:
        LoraUnknown: naming the first that none has, and those that there are.
    """
    for lora in chosen:
        if lora.checkpoint not in installed:
            known = sorted(_names(installed))
            near = get_close_matches(lora.name, known, MOST_LISTED)
            others = [name for name in known if name not in near]
            raise LoraUnknown(name=quoted(lora.name), known=some([*near, *others]))


def suggest_loras(typed: str, installed: Collection[str]) -> Sequence[str]:
    """Whole texts: what is there already, and each that could come next."""
    return going_on(typed, _names(installed))


def _names(installed: Collection[str]) -> Sequence[str]:
    """Of all checkpoints the owner's LoRAs, as people type them."""
    return [name.removeprefix(PREFIX) for name in installed if name.startswith(PREFIX)]
