"""What a person may read, as types. Anything else that is raised is a bug: logged whole, shown as an incident number.

A `UserError` carries a code and facts, never a sentence: both cross the queue as JSON, and `jobs.texts` words them
at the edge in one place. A room declares its own subclasses beside the code that raises them, and its own lines
in `texts/en/`.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

Fact = str | int | float
Facts = dict[str, Fact]


@dataclass(frozen=True)
class Note:
    """Something to tell a person, not yet in words: a code of `jobs.texts` and the facts of its sentence."""

    code: str
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])


class UserError(Exception):
    """Says what is wrong and what would do. `code` is the key of its sentence in `jobs/texts`, one per class."""

    code: ClassVar[str] = "unexpected"

    def __init__(self, **facts: Fact) -> None:
        super().__init__(self.code, facts)
        self.facts: Facts = facts

    @property
    def note(self) -> Note:
        """The same as a value, as it crosses the queue."""
        return Note(self.code, self.facts)


class Refusal(UserError):
    """Before a job is accepted: that person alone sees it, and it costs nobody queue time."""


class Failure(UserError):
    """After a job was accepted: it becomes the job's one final message."""


def new_incident() -> str:
    """A short id (6 characters, no look-alikes) that stands in the message and in the log line of the same event."""
    return "".join(secrets.choice("23456789abcdefghjkmnpqrstuvwxyz") for _ in range(6))
