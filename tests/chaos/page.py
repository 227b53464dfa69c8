"""What a run printed, kept in docs/reliability.md between its markers."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import psutil

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def machine() -> str:
    """Where and when."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 0
    return f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {cores} cores, Python {platform.python_version()}"


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between the markers of this name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before = page.read_text("utf-8")
    block = f"{begin}\n{text}\n\nMeasured on {machine()}.\n{end}"
    after, count = re.subn(rf"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, before, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page} has no markers for {name!r}")
    page.write_text(after, "utf-8")
