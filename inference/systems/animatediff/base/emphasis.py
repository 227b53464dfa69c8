r"""`(word:1.2)`, `((word))`, `[word]`: more or less of a word, as AUTOMATIC1111's web UI made it the custom.

Round brackets multiply by 1.1, square ones divide by it, a number before the closing round bracket says it outright;
nested ones multiply. `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves. Sources: that project's wiki,
"Features", "Attention/emphasis"; its `modules/prompt_parser.py` for odd brackets.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ROUND = 1.1
SQUARE = 1 / ROUND
MOST = 10.0
"""Nobody means more, either way; without a bound, many brackets run over into infinity."""

_MARKS = re.compile(
    r"""
    (?P<escaped>\\[()\[\]\\])
    | :\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)
    | (?P<mark>[()\[\]])
    | (?P<plain>[^\\()\[\]:]+|.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class Piece(NamedTuple):
    """A stretch of a prompt with one weight."""

    text: str
    weight: float


def parse(prompt: str) -> list[Piece]:
    """A prompt's pieces in order. Nothing is an error.

    A bracket that is never closed counts up to the end, one that was never opened is a character; and so is `:1.2)`
    without its bracket.
    """
    texts: list[str] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        for place in range(opened[bracket].pop(), len(texts)):
            weights[place] *= factor

    for found in _MARKS.finditer(prompt):
        mark, weight = found["mark"], found["weight"]
        if mark in opened:
            opened[mark].append(len(texts))
        elif weight and opened["("]:
            close("(", float(weight))
        elif mark == ")" and opened["("]:
            close("(", ROUND)
        elif mark == "]" and opened["["]:
            close("[", SQUARE)
        else:
            texts.append(found["escaped"][1] if found["escaped"] else found[0])
            weights.append(1.0)
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        while opened[bracket]:
            close(bracket, factor)
    return _joined([Piece(text, max(-MOST, min(weight, MOST))) for text, weight in zip(texts, weights, strict=True)])


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one weight as one piece: a word must not fall apart where nothing changes."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].weight == piece.weight:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.weight)
        else:
            joined.append(piece)
    return joined
