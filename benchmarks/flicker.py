"""How much flicker each way of deflickering takes out of made clips, and what it costs them.

    python -m benchmarks.flicker                # a minute or two on one core
    python -m benchmarks.flicker --size 640x360 --frames 16

Clips move in known ways, so the warping error is told by true flows; beside it stands what a blurred or frozen clip
would lose. `ffmpeg` is ffmpeg's filter with its defaults, luma only, by our model of it, which gives the same bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.flicker_baselines import ffmpeg_deflicker, mean_and_spread
from benchmarks.flicker_metrics import detail, luma_flicker, psnr, warping_error
from inference.residency import Residency
from inference.systems.base import Place, Sources
from inference.systems.deflicker.system import Deflicker
from jobs.requests.deflicker import DeflickerRequest
from tests.flickering import KINDS, Floats, Made, eight_bit, flickered, floats, parallax, spooled

Way = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Trial:
    """A clip as it is given, as it should be, and how its things move; no flows where a cut makes them senseless."""

    name: str
    given: Floats
    wanted: Made


def untouched(frames: Floats) -> Floats:
    """Nothing is done."""
    return frames


def by_ffmpeg(frames: Floats) -> Floats:
    """Luma scaled, colour differences as they were, as ffmpeg does with a YUV clip."""
    planes = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb) for frame in eight_bit(frames)])
    planes[..., 0] = ffmpeg_deflicker(planes[..., 0])
    return floats([np.asarray(cv2.cvtColor(plane, cv2.COLOR_YCrCb2RGB), np.uint8) for plane in planes])


def ours(**options: object) -> Way:
    """Our step, as a render runs it."""
    cpu = torch.device("cpu")
    room = Deflicker(Place(models=Path(), device=cpu, dtype=torch.float32, residency=Residency(cpu)))
    request = DeflickerRequest.model_validate(options)

    def unheard(stage: str, step: int, total: int) -> None:
        """Nobody watches."""

    def way(frames: Floats) -> Floats:
        with spooled(frames) as spool:
            return floats(list(room.render(request, Sources({}, {"clip": spool}), unheard).frames))

    return way


WAYS: dict[str, Way] = {
    "nothing": untouched,
    "ffmpeg pm 5": by_ffmpeg,
    "mean and spread": mean_and_spread,
    "ours, exposure": ours(mode="exposure"),
    "ours, auto": ours(),
    "ours, full": ours(mode="full"),
    "ours, auto, strong": ours(strength="strong"),
}


def trials(count: int, width: int, height: int) -> list[Trial]:
    """Flicker of every kind on a moving clip, and clips that must stay as they are."""
    clean, other = parallax(count, height, width), parallax(count, height, width, seed=40)
    course = np.interp(np.arange(count), [0, count / 3, count * 0.8], [1, 1, 0.1]).astype(np.float32)
    fading = Made(clean.frames * course[:, None, None, None], clean.flows)
    half = count // 2
    cut = Made(np.concatenate([clean.frames[:half], 0.6 * other.frames[half:]]), ())
    fast = parallax(count, height, width, pace=3.0)
    return [
        *(Trial(kind, flickered(clean.frames, kind), clean) for kind in KINDS),
        Trial("mixed, fast", flickered(fast.frames, "mixed"), fast),
        Trial("clean", floats(eight_bit(clean.frames)), clean),
        Trial("fade", floats(eight_bit(fading.frames)), fading),
        Trial("fade, exposure", flickered(fading.frames, "exposure"), fading),
        Trial("cut", floats(eight_bit(cut.frames)), cut),
        Trial("cut, exposure", flickered(cut.frames, "exposure"), cut),
    ]


def row(trial: Trial, name: str, way: Way) -> str:
    """One line of the table."""
    started = time.process_time()
    frames = way(trial.given)
    ms = (time.process_time() - started) / len(frames) * 1000
    flows, wanted = trial.wanted.flows, trial.wanted.frames
    error = f"{1e5 * warping_error(frames, flows):.1f}" if flows else "–"
    return (
        f"| {trial.name} | {name} | {error} | {1000 * luma_flicker(frames):.1f} | {psnr(frames, wanted):.1f} "
        f"| {psnr(frames, trial.given):.1f} | {detail(frames, wanted):.3f} | {ms:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="192x144", help="width x height of the clips")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--only", help="the trials whose names hold this")
    given = parser.parse_args(arguments)
    width, height = (int(side) for side in given.size.split("x"))
    cv2.setNumThreads(1)
    print(f"{given.frames} frames of {width} × {height}, one core\n")
    print(
        "| clip | way | E_warp · 10⁵ | luma flicker · 10³ | PSNR to clean | PSNR to given | detail kept | ms a frame |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for trial in trials(given.frames, width, height):
        if given.only is None or given.only in trial.name:
            for name, way in WAYS.items():
                print(row(trial, name, way), flush=True)


if __name__ == "__main__":
    main()
