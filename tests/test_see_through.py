"""Clips with alpha whose hidden pixels have colours: what an MP4 shows of them is what counts."""

from pathlib import Path

import numpy as np
import pytest

from media.examine import looks_of
from media.fingerprint import ALIKE, distance, of_footage
from media.formats import encode
from media.frames import Frame, FrameSpool


def discs(count: int = 12) -> list[Frame]:
    """A textured disc that moves; around it, unseen, noise."""
    chance = np.random.default_rng(4)
    rows, columns = np.mgrid[:96, :128]
    frames: list[Frame] = []
    for number in range(count):
        frame = chance.integers(0, 255, (96, 128, 4)).astype(np.uint8)
        shade = (rows * 2 + columns + 5 * number) % 256
        disc = np.hypot(rows - 48, columns - 40 - 4 * number) < 30
        frame[disc, :3] = shade[disc, None]
        frame[..., 3] = np.where(disc, 255, 0)
        frames.append(frame)
    return frames


@pytest.fixture
def spool() -> FrameSpool:
    return FrameSpool.filled(discs(), 128, 96, 12, channels=4)


def test_an_mp4_is_compared_with_what_it_shows(spool: FrameSpool, tmp_path: Path) -> None:
    with spool:
        encoded = encode("mp4", spool, tmp_path / "a.mp4", 10**7)

    assert (encoded.ssim or 0) > 0.98
    assert [note.code for note in encoded.notes] == ["alpha_over_white"]


@pytest.mark.parametrize("kind", ["mp4", "apng", "gif"])
def test_what_nobody_sees_is_no_part_of_how_it_looks(spool: FrameSpool, tmp_path: Path, kind: str) -> None:
    with spool:
        known = of_footage(spool)
        path = encode(kind, spool, tmp_path / f"a.{kind}", 10**7).path
    seen = looks_of(path.read_bytes())

    assert known
    assert seen
    assert distance(known, seen) <= ALIKE
