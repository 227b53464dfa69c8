"""`/help` fits a message, whatever is installed."""

import pytest

from commands.help import page
from jobs.requests import REQUESTS

NAMES = [kind.name() for kind in REQUESTS]


@pytest.mark.parametrize("installed", [[], NAMES[:1], NAMES[: len(NAMES) // 2], NAMES])
def test_every_command_is_named_and_all_of_it_fits(installed: list[str]) -> None:
    text = page(dict.fromkeys(installed, ()), None)

    assert all(f"`/{name}`" in text for name in (*NAMES, "animate", "storyboard"))
    assert len(text) <= 1950, "Discord's limit is 2000, and a mention of the bot is longer than its name"
    assert text.count("*Not installed here:*") == (len(installed) < len(NAMES))
