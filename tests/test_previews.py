"""Small pictures of a clip that is still being made: what they show, what they weigh, and when they are drawn."""

import asyncio
import io
import logging
import time

import numpy as np
import pytest
import torch
from PIL import Image

from inference import latent_colours
from inference.chatter import KEPT_LINES, LONGEST_LINE, Chatter
from inference.preview import SIDE, Previews, webp
from jobs import logs

MOST_BYTES = 64 * 1024
Pixels = np.ndarray


def picture(width: int, height: int) -> torch.Tensor:
    """Smooth colours, `[1, 3, H, W]` in -1 … 1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y, x * y])[None]


def test_latents_of_a_linear_code_are_shown_in_their_colours() -> None:
    """The map is fitted to the job's own picture: where latents are any linear code of colours, it finds them."""
    still = picture(160, 96)
    code = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    small = torch.nn.functional.avg_pool2d(still, 8)[0]
    latents = torch.einsum("ck,khw->chw", code, small)[None] + 0.3
    shown = latent_colours.look(latent_colours.fit_colours(latents, still), latents[0].flip(-1))
    wanted = ((small.flip(-1) + 1) / 2 * 255).permute(1, 2, 0).numpy()

    assert shown.shape == (12, 20, 3)
    assert np.abs(shown - wanted).max() <= 2


def test_a_picture_of_one_colour_gives_that_colour() -> None:
    grey = torch.zeros(1, 3, 64, 64)
    latents = torch.ones(1, 4, 8, 8)
    shown = latent_colours.look(latent_colours.fit_colours(latents, grey), latents[0])

    assert set(np.unique(shown)) <= {126, 127, 128}


@pytest.mark.parametrize("size", [(1024, 576), (36, 64), (1, 1), (3000, 2)])
def test_a_preview_is_small_whatever_it_shows(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    data = webp(noise)
    shown = Image.open(io.BytesIO(data))

    assert shown.format == "WEBP"
    assert max(shown.size) == SIDE
    assert len(data) <= MOST_BYTES


def test_they_are_drawn_only_when_they_are_due() -> None:
    sent, drawn = list[bytes](), list[int]()

    def draw() -> Pixels:
        drawn.append(1)
        return np.zeros((8, 8, 3), np.uint8)

    previews = Previews(0.2, sent.append)
    previews.begin()
    previews.show(draw)
    assert drawn == [], "not at once: a quick render needs none"
    time.sleep(0.25)
    previews.show(draw)
    previews.show(draw)
    assert len(sent) == len(drawn) == 1
    off = Previews(None, sent.append)
    off.begin()
    off.show(draw)
    assert len(drawn) == 1


# --- what the child writes besides ---


async def heard(chatter: Chatter, *pieces: bytes) -> None:
    stream = asyncio.StreamReader()
    for piece in pieces:
        stream.feed_data(piece)
    stream.feed_eof()
    await chatter.listen(stream)


async def test_lines_are_logged_under_the_jobs_id_and_the_last_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    chatter, ids = Chatter(), list[str]()
    chatter.job_id = "1001"

    class Ids(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            ids.append(logs.job_id.get())
            return True

    logger = logging.getLogger("inference.child")
    watching = Ids()
    logger.addFilter(watching)
    try:
        await heard(chatter, b"half ", b"a line\rprogress 1\rprogress 2\n\n", b"the end")
    finally:
        logger.removeFilter(watching)

    assert chatter.tail.splitlines() == ["half a line", "progress 1", "progress 2", "the end"]
    assert set(ids) == {"1001"}


async def test_what_is_kept_is_bounded_and_without_secrets() -> None:
    chatter = Chatter()
    await heard(chatter, *(f"line {number}\n".encode() for number in range(1000)))
    await heard(chatter, b"x" * 100_000, b"\nredis://bot:hunter2@host\n")
    lines = chatter.tail.splitlines()

    assert len(lines) == KEPT_LINES
    assert all(len(line) <= LONGEST_LINE for line in lines)
    assert lines[-1] == "redis://***@host"
