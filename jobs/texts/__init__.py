"""The catalogue of sentences: `texts/en/*.toml`, one key for each code, filled with the facts that came with it."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jobs.errors import Fact, UserError

LONGEST = 1900
"""Characters; Discord takes 2000 in a message, and refuses it whole where there are more."""


@cache
def catalogue() -> dict[str, str]:
    """Every sentence by its code.

    Raises:
        ValueError: two files word the same code.
    """
    sentences: dict[str, str] = {}
    for page in sorted(files(__name__).joinpath("en").iterdir(), key=lambda page: page.name):
        for code, sentence in tomllib.loads(page.read_text("utf-8")).items():
            if code in sentences:
                raise ValueError(f"{page.name} words {code!r} a second time")
            sentences[code] = sentence
    return sentences


def say(code: str, facts: Mapping[str, Fact] | None = None) -> str:
    """The sentence for `code` with `facts` filled in, and cut where no message could hold it."""
    sentence = catalogue()[code].format(**(facts or {}))
    return sentence if len(sentence) <= LONGEST else sentence[: LONGEST - 1].rstrip() + "…"


def word(error: UserError) -> str:
    """The sentence for an error that a person may read."""
    return say(error.code, error.facts)
