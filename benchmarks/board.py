"""How far status messages are behind the truth while Discord's limits hold, with many of them live at once.

    python -m benchmarks.board                                # 10, 50 and 200 messages in one and in five channels
    python -m benchmarks.board --messages 200 --channels 1    # one row
    python -m benchmarks.board --seconds 60 --render 15       # longer, with renders of 15 s

Real bot process and Redis; Discord is the local one of the tests, with its limits on; two workers and the people who
ask are simulated on the real queue (`tests/crowd.py`). What people read is held against the records four times a
second, from outside (`tests/truth.py`): *any* is the longest that a message was not true in all it said.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.live import EDITS, POSTS, busiest, evening
from tests.truth import KINDS

NEWCOMERS_SECONDS = 3.0
"""One channel takes five posts in five seconds, clips included: more people than this cannot all be answered there."""


async def row(messages: int, channels: int, seconds: float, render: float) -> str:
    """One evening as a row of the table."""
    with tempfile.TemporaryDirectory(prefix="zoetrope-board-") as folder:
        async with evening(Path(folder), messages=messages, channels=channels, seconds=render) as scene:
            async with scene.crowd.at_work(newcomers_every=NEWCOMERS_SECONDS), scene.truth.watched():
                await asyncio.sleep(seconds)
            edits, posts = scene.requests(EDITS), scene.requests(POSTS)
            truth, refused = scene.truth, len(scene.server.refused_for_haste())
        cells = [
            f"{truth.fewest_live}–{truth.most_live}",
            channels,
            len(scene.crowd.ended),
            f"{len(edits) / seconds:.2f}",
            f"{len(posts) / seconds:.2f}",
            busiest(edits),
            refused,
            *(f"{truth.worst(kind):.1f}" for kind in KINDS),
        ]
    return f"| {' | '.join(map(str, cells))} |"


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seconds", type=float, default=45.0, help="how long each is watched")
    parser.add_argument("--render", type=float, default=4.0, help="seconds of one render, more or less")
    asked = parser.parse_args()
    titles = ["live", "channels", "ended", "edits/s", "posts/s", "edits in 5 s of a channel", "429"]
    print(f"| {' | '.join([*titles, *KINDS])} |\n|{' ---: |' * (len(titles) + len(KINDS))}")
    for channels in asked.channels:
        for messages in asked.messages:
            print(await row(messages, channels, asked.seconds, asked.render), flush=True)
    print(f"\n{', '.join(KINDS)}: the longest, in seconds, that a message was behind the truth in that.")


if __name__ == "__main__":
    asyncio.run(main())
