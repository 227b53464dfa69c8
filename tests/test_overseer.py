"""An encode that takes too long, or that nobody waits for, ends from within: a thread cannot be cancelled."""

from pathlib import Path

import numpy as np
import pytest

from inference.finish import Abandoned, EncodingTooLong, Overseer
from jobs.texts import word
from media.formats import encode
from media.growing import GrowingSpool


@pytest.fixture
def spool() -> GrowingSpool:
    spool = GrowingSpool(64, 48, 8, 8)
    for number in range(8):
        spool.append(np.full((48, 64, 3), 20 * number, np.uint8))
    return spool


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "webm", "apng"])
def test_past_the_owners_limit_it_is_a_failure_in_words(kind: str, spool: GrowingSpool, tmp_path: Path) -> None:
    with spool, pytest.raises(EncodingTooLong) as failure:
        encode(kind, spool, tmp_path / "clip", 10**6, on_frame=Overseer(spool, -1.0))

    assert "took longer than 1 min," in word(failure.value)
    assert not (tmp_path / "clip").exists()


def test_an_encode_that_nobody_waits_for_stops_at_its_next_frame(spool: GrowingSpool, tmp_path: Path) -> None:
    overseer = Overseer(spool, 60.0)
    overseer.abandoned = True
    with spool, pytest.raises(Abandoned):
        encode("mp4", spool, tmp_path / "clip.mp4", 10**6, on_frame=overseer)
