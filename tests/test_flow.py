"""Optical flow: it finds motion, and no size of picture ends the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inference.flow import LEAST_SIDE, flow_between, resized_flow, warp

ROOT = Path(__file__).resolve().parents[1]
EVERY_SMALL_SIZE = """
import numpy as np
from inference.flow import Dis, dis
draw = np.random.default_rng(0).integers
for side in range(1, 36):
    for other in (1, 8, 13, 16, 40, 64, 90, 128, 200, 640, 960):
        for shape in ((side, other), (other, side)):
            start, end = (draw(0, 256, shape, np.uint8) for _ in range(2))
            for how in (Dis(), Dis(finest_scale=0)):
                assert dis(start, end, how).shape == (*shape, 2)
print("through")
"""


@pytest.mark.slow
def test_no_size_ends_the_process() -> None:
    """OpenCV ends it at pictures of 12 to 15 pixels, without an exception: hence in another one."""
    done = subprocess.run(
        [sys.executable, "-c", EVERY_SMALL_SIZE], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert (done.returncode, done.stdout) == (0, "through\n"), done.stderr


def test_motion_is_found_and_undone_and_grows_with_the_picture() -> None:
    noise = np.random.default_rng(2).random((40, 60, 3)).astype(np.float32)
    world = np.asarray(255 * noise.repeat(4, axis=0).repeat(4, axis=1), np.float32)
    start, end = world[:, 8:200], world[:, 4:196]  # 4 pixels to the right
    flow = flow_between(start, end)
    inner = np.s_[20:-20, 20:-20]

    assert np.abs(flow[inner] - (4, 0)).mean() < 0.2
    assert np.abs(warp(end, flow) - start)[inner].mean() < 5
    assert np.allclose(
        resized_flow(flow, 384, 160)[::1, ::2].mean(axis=(0, 1)), flow.mean(axis=(0, 1)) * (2, 1), atol=0.1
    )


def test_what_is_too_small_stays_where_it_is() -> None:
    small = np.zeros((LEAST_SIDE - 1, 300, 3), np.float32)

    assert not flow_between(small, small + 9).any()
