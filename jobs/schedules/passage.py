"""A piece of what a person wrote, every character of which still knows where it stood."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.errors import Fact

GLANCE = 24
"""Characters of a text that a sentence quotes."""


def quoted(text: str) -> str:
    """Text as a sentence shows it between backticks: one short line without any."""
    line = " ".join(text.replace("`", "'").split())
    return line if len(line) <= GLANCE else line[: GLANCE - 1].rstrip() + "…"


@dataclass(frozen=True)
class Passage:
    """Characters, the place of each in the whole text, and the option that the whole text was given to."""

    text: str
    offsets: tuple[int, ...]
    """One more than characters: where the passage ends, too."""
    option: str
    whole: str

    @classmethod
    def of(cls, option: str, whole: str) -> Passage:
        """The whole of what was written."""
        return cls(whole, tuple(range(len(whole) + 1)), option, whole)

    def __bool__(self) -> bool:
        return bool(self.text)

    def cut(self, start: int, stop: int | None = None) -> Passage:
        """Some of it."""
        stop = len(self.text) if stop is None else stop
        return self.drawn(self.text[start:stop], self.offsets[start : stop + 1])

    def drawn(self, text: str, offsets: tuple[int, ...]) -> Passage:
        """Other characters of the same whole."""
        return Passage(text, offsets, self.option, self.whole)

    def strip(self) -> Passage:
        """Without the white space around it."""
        start = len(self.text) - len(self.text.lstrip())
        return self.cut(start, max(start, len(self.text.rstrip())))

    def without_line_breaks(self) -> Passage:
        """Its lines glued together, as FizzNodes reads them."""
        kept = [index for index, char in enumerate(self.text) if char not in "\r\n"]
        return self.drawn(
            "".join(self.text[index] for index in kept), (*(self.offsets[i] for i in kept), self.offsets[-1])
        )

    def in_one_line(self) -> Passage:
        """Each line break, and the white space around it, a space."""
        chars: list[str] = []
        offsets: list[int] = []
        for run in re.finditer(r"\s+|\S+", self.text):
            piece = " " if run[0].isspace() and re.search(r"[\r\n]", run[0]) else run[0]
            chars += piece
            offsets += self.offsets[run.start() : run.start() + len(piece)]
        return self.drawn("".join(chars), (*offsets, self.offsets[-1]))

    def split(self, separator: str) -> list[Passage]:
        """As `str.split`."""
        pieces: list[Passage] = []
        start = 0
        for piece in self.text.split(separator):
            pieces.append(self.cut(start, start + len(piece)))
            start += len(piece) + len(separator)
        return pieces

    def breaks_line(self, start: int, stop: int) -> bool:
        """Whether a line ended between two of its characters, also where line breaks were taken out."""
        return "\n" in self.whole[self.offsets[start] : self.offsets[stop]]

    def place(self, index: int = 0) -> dict[str, Fact]:
        """Where one of its characters stands, as facts of a sentence; both counts begin with 1."""
        offset = self.offsets[index]
        line = self.whole.count("\n", 0, offset) + 1
        return {"option": self.option, "line": line, "column": offset - self.whole.rfind("\n", 0, offset)}

    def stands(self, index: int = 0) -> str:
        """What stands there, for a sentence."""
        rest = self.whole[self.offsets[index] :][: 4 * GLANCE]
        return quoted(rest.lstrip().split("\n")[0])

    def shown(self) -> str:
        """All of it, for a sentence; where it is empty, what stands there instead."""
        return quoted(self.text) or self.stands()

    def last(self) -> str:
        """What it ends with, for a sentence that says it breaks off."""
        line = " ".join(self.whole[: self.offsets[-1]].replace("`", "'").split())
        return line if len(line) <= GLANCE else "…" + line[1 - GLANCE :].lstrip()
