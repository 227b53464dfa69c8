"""What a restyled clip is held by, as people say it: `depth`, or several with strengths, `depth, openpose 0.6`."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from jobs.errors import Refusal
from jobs.requests.strengths import STRONGEST, going_on, parts
from jobs.schedules.passage import quoted

HoldName = Literal["depth", "openpose", "lineart", "softedge", "tile"]
HOLDS: Mapping[HoldName, tuple[str, ...]] = {
    "depth": ("controlnet-depth", "depth-anything-v2-small"),
    "softedge": ("controlnet-softedge", "hed"),
    "lineart": ("controlnet-lineart", "lineart"),
    "openpose": ("controlnet-openpose", "rtdetr-r50", "vitpose-base"),
    "tile": ("controlnet-tile",),
}
"""Each with its checkpoints: the ControlNet, and what finds its condition. The preferred one first."""
ENTRY = re.compile(r"([a-z]+(?: [a-z]+)*)\s*:?\s*(\d+(?:\.\d+)?|\.\d+)?")


class HoldUnknown(Refusal):
    """Nothing that a clip can be held by."""

    code = "hold_unknown"


class HoldStrength(Refusal):
    """A strength beyond what still makes pictures."""

    code = "hold_strength"


class Hold(NamedTuple):
    """One ControlNet."""

    name: HoldName
    strength: float


def holds(text: str) -> tuple[Hold, ...]:
    """What was said, each once, in its order; `none` and nothing are nothing.

    Raises:
        Refusal: naming the part that cannot be understood.
    """
    found: dict[HoldName, Hold] = {}
    for part in parts("" if text.strip().lower() == "none" else text):
        hold = _hold(part)
        found[hold.name] = hold
    return tuple(found.values())


def _hold(part: str) -> Hold:
    entry = ENTRY.fullmatch(part.strip().lower())
    for name in HOLDS:
        if entry is not None and name == entry[1].replace(" ", ""):
            strength = float(entry[2] or 1)
            if strength > STRONGEST:
                raise HoldStrength(name=name, strength=strength, most=STRONGEST)
            return Hold(name, strength)
    raise HoldUnknown(found=quoted(part), known=", ".join(HOLDS))


def suggest_holds(typed: str, installed: Collection[str]) -> Sequence[str]:
    """Whole texts: what is there already, and each that could come next."""
    there = [name for name, weights in HOLDS.items() if set(weights) <= set(installed)] or list(HOLDS)
    return going_on(typed, there if "," in typed else ["auto", "none", *there])
