"""What `doctor` looks at: each module knows one part of an installation, and what to do where it is not right."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of `doctor`. Nothing in it is ever secret: people paste it into bug reports."""

    name: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where nothing needs doing."""
