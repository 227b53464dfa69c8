"""LoRAs of the image model, as people write them: `ghibli 0.8, detail 0.5`, or `<lora:ghibli:0.8>` amid a prompt."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import Family, family_of
from jobs.requests.strengths import STRONGEST, going_on, parts
from jobs.schedules.passage import quoted

PREFIX = "lora-"
"""Before an owner's name for one, among a machine's checkpoints."""
ENTRY = re.compile(r"([a-z0-9][a-z0-9._-]*)(?:(?:\s*:\s*|\s+)([+-]?(?:\d+(?:\.\d*)?|\.\d+)))?")
TAG = re.compile(r"<\s*(?:lora|lyco)\s*:\s*([^:<>]+?)\s*(?::([^<>]*))?>", re.IGNORECASE)
"""As AUTOMATIC1111 has it, and everybody who copies prompts from there; a second strength, for the words, is let go."""


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


class LoraInSchedule(Refusal):
    """A LoRA within a schedule, where it would hold for some frames only."""

    code = "lora_in_schedule"


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
    found = [_lora(part) for part in parts(text)]
    names = [lora.name for lora in found]
    for name in names:
        if names.count(name) > 1:
            raise LoraTwice(name=name)
    return tuple(found)


def _lora(part: str) -> NamedLora:
    entry = ENTRY.fullmatch(part.strip().lower())
    if entry is None:
        raise LoraUnread(found=quoted(part))
    strength = float(entry[2]) if entry[2] else 1.0
    if abs(strength) > STRONGEST:
        raise LoraStrength(name=entry[1], strength=strength, most=STRONGEST)
    return NamedLora(entry[1], strength)


def out_of_prompt(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same fields, with LoRAs that stand amid the prompt in the option that is made for them.

    Raises:
        LoraInSchedule: one stands in the schedule.
    """
    prompt, schedule, listed = (str(fields.get(name) or "") for name in ("prompt", "schedule", "lora"))
    if found := TAG.search(schedule):
        raise LoraInSchedule(found=quoted(found[0]))
    tags = [f"{name} {(strengths or '').split(':')[0]}".strip() for name, strengths in TAG.findall(prompt)]
    if not tags:
        return fields
    words = re.sub(r"\s*,(?:\s*,)+", ",", re.sub(r"\s+", " ", TAG.sub(" ", prompt))).strip(" ,")
    return {**fields, "prompt": words, "lora": ", ".join([*parts(listed), *tags])}


def check_installed(chosen: Sequence[NamedLora], installed: Collection[str]) -> None:
    """Whether some machine has each of them.

    Raises:
        LoraUnknown: naming the first that none has, and those that there are.
    """
    for lora in chosen:
        if lora.checkpoint not in installed:
            known = sorted(name.removeprefix(PREFIX) for name in installed if name.startswith(PREFIX))
            raise LoraUnknown(name=quoted(lora.name), known=", ".join(known) or "none")


def suggest_loras(typed: str, installed: Collection[str]) -> Sequence[str]:
    """Whole texts: what is there already, and each that could come next."""
    return going_on(typed, [name.removeprefix(PREFIX) for name in installed if name.startswith(PREFIX)])
