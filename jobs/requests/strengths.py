"""Lists of things with strengths, as people write them: `zoom in 0.8, pan left`."""

import re
from collections.abc import Iterable, Iterator, Sequence

STRONGEST = 2.0
"""Beyond it nothing still makes pictures."""
MOST_LISTED = 12
"""Names in a sentence."""
BETWEEN = re.compile(r"[,+|;\n]")


def parts(text: str) -> Iterator[str]:
    """What stands between commas and their like, where anything does."""
    return filter(str.strip, BETWEEN.split(text))


def some(names: Sequence[str], most: int = MOST_LISTED) -> str:
    """As many as a sentence can hold, and how many more there are; `none` where there is none."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "") if names else "none"


def going_on(typed: str, names: Iterable[str]) -> Sequence[str]:
    """Whole texts to choose from: what is typed already, and each name that it has not, and that the rest begins."""
    before, comma, begun = typed.rpartition(",")
    kept = f"{before.strip()}, " if comma else ""
    begun = begun.strip().lower()
    there = [part.strip().lower() for part in before.split(",")]
    fresh = [
        name for name in names if not any(part == name or part.startswith((f"{name} ", f"{name}:")) for part in there)
    ]
    return [f"{kept}{name}" for name in fresh if begun in name]
