"""How entries are written: times with a prompt or a number each, and what stands between them.

FizzNodes' `"0": "a cat", "24": "a dog"` is read with its habits (line breaks are taken out, so words on two lines are
glued together), and wherever the meaning is plain more than it allows. `0s: a cat | 2s: a dog` is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.schedules.passage import Passage
from jobs.schedules.refusals import (
    ScheduleAfterBrace,
    ScheduleBrace,
    ScheduleBreaksOff,
    ScheduleEmpty,
    ScheduleEscape,
    ScheduleLong,
    ScheduleManyEntries,
    ScheduleNoBar,
    ScheduleNoColon,
    ScheduleNoComma,
    ScheduleNoPrompt,
    ScheduleQuote,
    ScheduleUnquoted,
)

LONGEST = 8000
"""Characters; Discord lets 6000 through."""
MOST_ENTRIES = 200
EXAMPLE = '"0": "a cat", "24": "a dog"'
FRIENDLY_EXAMPLE = "0s: a cat | 2s: a dog"
CLOSING = {'"': '"', "'": "'", "“": "”“", "„": "“”", "‘": "’"}
"""What ends a text that begins with this; telephones write the curly ones."""
ESCAPED = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
QUOTED = re.compile(r"""\s*[{"'“„‘]|[^:|]*:\s*(?:["“„]|'[^']*'\s*(?:[,|}\n]|$))""")
"""Whether prompts stand in quotes: braces or a quote come first, or a quote comes after the first colon."""
COMMA = re.compile(r",\s*\d+(?:\.\d+)?\s*(?:s|%|f)?\s*:(?!\d)", re.ASCII)
"""What looks like an entry after a comma."""
TIME_LIKE = re.compile(r"\s*(?!--neg)(?:[-+.\d]|\w+\s*$|[-+*/%.()\w\s]*max_f)", re.ASCII)
"""What stands before a colon, where it seems to be meant as a time."""


@dataclass(frozen=True)
class Entry:
    """A time and what holds then."""

    time: Passage
    body: Passage


def checked(text: Passage, entries: list[Entry], example: str) -> list[Entry]:
    """As many entries as may be, and one at least."""
    if not entries:
        raise ScheduleEmpty(**text.place(), example=example)
    if len(entries) > MOST_ENTRIES:
        place = entries[MOST_ENTRIES].time.place()
        raise ScheduleManyEntries(**place, count=len(entries), limit=MOST_ENTRIES)
    return entries


def check_length(text: Passage) -> None:
    """No more than is read."""
    if len(text.text) > LONGEST:
        raise ScheduleLong(**text.place(LONGEST), length=len(text.text), limit=LONGEST)


def prompt_entries(text: Passage) -> list[Entry]:
    """The entries of a prompt schedule, as they come.

    Raises:
        Refusal: one of the `Schedule…` in `refusals`, with the place.
    """
    check_length(text)
    if not text.text.strip(" \t\r\n,|"):
        return checked(text, [], FRIENDLY_EXAMPLE)
    if QUOTED.match(text.text):
        return checked(text, Quoted(text.without_line_breaks()).entries(), EXAMPLE)
    return checked(text, _friendly(text), FRIENDLY_EXAMPLE)


class Quoted:
    """Reads entries whose prompts stand in quotes, from the first character to the last."""

    def __init__(self, text: Passage) -> None:
        self.text = text
        self.at = 0

    @property
    def next(self) -> str:
        """The character to be read, or nothing at the end."""
        return self.text.text[self.at : self.at + 1]

    def skip(self, extra: str = "") -> str:
        """Read over white space, and over these characters."""
        while self.next and (self.next.isspace() or self.next in extra):
            self.at += 1
        return self.next

    def need(self) -> str:
        """Read over white space; there has to be more."""
        if not self.skip():
            raise ScheduleBreaksOff(**self.text.place(self.at), last=self.text.last(), example=EXAMPLE)
        return self.next

    def entries(self) -> list[Entry]:
        """All of them, and both braces or neither."""
        opened = self.at if self.skip() == "{" else None
        self.at += opened is not None
        entries: list[Entry] = []
        while self.skip(",|") not in ("", "}"):
            if entries:
                self._parted()
            entries.append(self._entry())
        if (self.next == "}") != (opened is not None):
            raise ScheduleBrace(**self.text.place(self.at if opened is None else opened))
        self.at += 1
        if opened is not None and self.skip(","):
            raise ScheduleAfterBrace(**self.text.place(self.at), found=self.text.stands(self.at))
        return entries

    def _parted(self) -> None:
        """Something has to stand between two entries: a comma, a bar, or the end of a line."""
        end = len(self.text.text[: self.at].rstrip())
        if self.text.text[end - 1] not in ",|" and not self.text.breaks_line(end - 1, self.at):
            raise ScheduleNoComma(**self.text.place(self.at), found=self.text.stands(self.at), example=EXAMPLE)

    def _entry(self) -> Entry:
        time = self._string() if self.next in CLOSING else self._bare()
        if self.need() != ":":
            raise ScheduleNoColon(**self.text.place(self.at), found=self.text.stands(self.at), example=EXAMPLE)
        self.at += 1
        if self.need() not in CLOSING:
            raise ScheduleUnquoted(**self.text.place(self.at), found=self.text.stands(self.at), example=EXAMPLE)
        return Entry(time, self._string())

    def _bare(self) -> Passage:
        """A time without quotes: up to its colon."""
        start = self.at
        while self.next and self.next not in ':,|"':
            self.at += 1
        return self.text.cut(start, self.at).strip()

    def _string(self) -> Passage:
        """What stands in quotes, with its escapes resolved."""
        start, ends = self.at, CLOSING[self.next]
        chars: list[str] = []
        offsets: list[int] = []
        self.at += 1
        while self.next not in ends or not self.next:
            if not self.next:
                raise ScheduleQuote(**self.text.place(start), found=self.text.stands(start))
            offsets.append(self.text.offsets[self.at])
            chars.append(self._escape() if self.next == "\\" else self.next)
            self.at += 1
        string = self.text.drawn("".join(chars), (*offsets, self.text.offsets[self.at]))
        self.at += 1
        return string

    def _escape(self) -> str:
        """What a backslash and what follows it stand for, as in JSON; `at` is left on the last of them."""
        start = self.at
        self.at += 1
        if self.next in ESCAPED and self.next:
            return ESCAPED[self.next]
        pair = re.compile(r"u([dD][89abAB]\w\w)\\u([dD][c-fC-F]\w\w)", re.ASCII).match(self.text.text, self.at)
        digits = pair[1] + pair[2] if pair else self.text.text[self.at + 1 : self.at + 5]
        if self.next == "u" and re.fullmatch(r"[0-9a-fA-F]{4}|[0-9a-fA-F]{8}", digits):
            self.at += 10 if pair else 4
            code = bytes.fromhex(digits)
            if pair or not 0xD8 <= code[0] <= 0xDF:
                return code.decode("utf-16-be")
        raise ScheduleEscape(**self.text.place(start), found=self.text.stands(start))


def _friendly(text: Passage) -> list[Entry]:
    """`time: prompt`, with bars or line ends between them; a line that begins with no time goes on with the prompt."""
    entries: list[Entry] = []
    for segment, after_bar in _segments(text):
        head, colon, _ = segment.text.partition(":")
        if entries and not after_bar and not (colon and TIME_LIKE.match(head)):
            known = entries[-1]
            whole = text.cut(known.body.offsets[0], segment.offsets[-1])
            entries[-1] = Entry(known.time, whole)
            continue
        if not colon or not head.strip():
            place = segment.place()
            raise ScheduleNoColon(**place, found=segment.stands(), example=FRIENDLY_EXAMPLE)
        entries.append(Entry(segment.cut(0, len(head)).strip(), segment.cut(len(head) + 1)))
    return [Entry(entry.time, _prompt(entry)) for entry in entries]


def _prompt(entry: Entry) -> Passage:
    """The prompt of a friendly entry, in one line."""
    body = entry.body.in_one_line()
    body = body.cut(0, len(body.text.rstrip(", \t"))).strip()
    if not body:
        raise ScheduleNoPrompt(**entry.body.place(), found=entry.time.shown(), example=FRIENDLY_EXAMPLE)
    comma = COMMA.search(body.text)
    if comma:
        raise ScheduleNoBar(**body.place(comma.start()), found=body.stands(comma.start()), example=FRIENDLY_EXAMPLE)
    return body


def _segments(text: Passage) -> list[tuple[Passage, bool]]:
    """What stands between bars and line ends, and whether a bar came before. A prompt's own bars are no bars: those in
    brackets, braces or backticks, as in `[cat|dog]`."""
    segments: list[tuple[Passage, bool]] = []
    start, after_bar = 0, True
    for end in re.finditer(r"\[[^][\n]*\]|\{[^}{\n]*\}|`[^`\n]*`|[|\n]|$", text.text):
        if end[0] in ("|", "\n", ""):
            segment = text.cut(start, end.start()).strip()
            if segment:
                segments.append((segment, after_bar))
            start, after_bar = end.end(), end[0] == "|" or (after_bar and not segment)
    return segments
