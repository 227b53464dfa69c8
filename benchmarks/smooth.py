"""Frames between frames: every way of making them against held-out middle frames of clips whose motion is known.

`python -m benchmarks.smooth` prints the table; `--tune` compares settings of the optical flow; `--models DIR` adds the
installed checkpoints. Networks with random numbers are timed, not judged.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from inference.flow import Dis
from inference.residency import Residency
from inference.systems.base import PLENTY, Frame, Place
from inference.systems.rife.driver import FilmMaker, Maker, RifeMaker
from inference.systems.rife.flow import MEASURED, FlowMaker
from inference.systems.rife.ifnet import IFNet
from inference.systems.rife.versions import VERSIONS
from inference.systems.rife.weights import FILM, RIFE, RIFE_4_26

WIDTH, HEIGHT = 480, 272
Scene = Callable[[float], Frame]
"""A clip at any moment, in frames."""


def texture(seed: int, width: int, height: int, grain: int) -> NDArray[np.float32]:
    """Soft random colours with detail of `grain` pixels."""
    random = np.random.default_rng(seed)
    sheet = np.zeros((height, width, 3), np.float32)
    for size, share in ((grain, 0.4), (4 * grain, 0.6)):
        noise = random.random((height // size + 2, width // size + 2, 3)).astype(np.float32)
        sheet += share * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(sheet, 0, 1)


def scene(seed: int, pan: float, spin: float, travel: float, grain: int = 6) -> Scene:
    """A background that pans, a textured disc before it that travels and turns; in pixels and degrees a frame."""
    back = texture(seed, 3 * WIDTH, 3 * HEIGHT, grain)
    disc = texture(seed + 1, HEIGHT, HEIGHT, grain)
    radius = HEIGHT * 0.3
    down, across = np.mgrid[0:HEIGHT, 0:HEIGHT].astype(np.float32) - HEIGHT / 2
    mask = np.clip(radius - np.hypot(down, across), 0, 1)[..., None]

    def at(moment: float) -> Frame:
        move = np.array([[1, 0, -WIDTH + pan * moment], [0, 1, -HEIGHT + 0.3 * pan * moment]], np.float32)
        ground = cv2.warpAffine(back, move, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((HEIGHT / 2, HEIGHT / 2), spin * moment, 1)
        turn[:, 2] += (WIDTH * 0.3 - HEIGHT / 2 + travel * moment, 0.2 * travel * moment)
        figure, shape = (cv2.warpAffine(sheet, turn, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR) for sheet in (disc, mask))
        shown = ground * (1 - shape[..., None]) + figure * shape[..., None]
        return np.clip(np.rint(shown * 255), 0, 255).astype(np.uint8)

    return at


SCENES: dict[str, Scene] = {
    "slow pan": scene(1, 2, 0.5, 1),
    "travel": scene(3, -3, 2, 8),
    "fast": scene(5, 6, 4, 16),
    "spin": scene(7, 1, 10, 3),
    "very fast": scene(9, -10, 5, 30, grain=10),
}


def psnr(ours: Frame, truth: Frame) -> float:
    """In decibels."""
    error = np.square(ours.astype(np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def ssim(ours: Frame, truth: Frame) -> float:
    """Wang et al. 2004 on grey, Gaussian window of 11."""
    x, y = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float64) for frame in (ours, truth))

    def blur(field: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(field, (11, 11), 1.5), np.float64)

    mean_x, mean_y = blur(x), blur(y)
    spread = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    shared = blur(x * y) - mean_x * mean_y
    low, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_x * mean_y + low) * (2 * shared + contrast)
    return float((likeness / ((mean_x**2 + mean_y**2 + low) * (spread + contrast))).mean())


class BlendMaker:
    """What a player does that mixes neighbours: the plain way, to measure the others by."""

    label = "blending"

    def between(self, first: Frame, second: Frame, times: Sequence[float]) -> Iterator[Frame]:
        """Weighted by time."""
        for t in times:
            yield np.rint(first * (1 - t) + second * t).astype(np.uint8)


@dataclass(frozen=True)
class Result:
    """Means over all scenes, and seconds for one frame."""

    psnr: float
    ssim: float
    seconds: float
    by_scene: tuple[float, ...]


def judged(maker: Maker, frames: int = 3) -> Result:
    """Every second frame is held back and made anew, at a half, and at a quarter of twice the gap."""
    quality: list[tuple[float, float]] = []
    by_scene: list[float] = []
    took = 0.0
    for at in SCENES.values():
        here: list[float] = []
        for index in range(frames):
            for t in (0.5, 0.25):
                begun = time.perf_counter()
                [ours] = maker.between(at(2 * index), at(2 * index + 2), [t])
                took += time.perf_counter() - begun
                truth = at(2 * index + 2 * t)
                quality.append((psnr(ours, truth), ssim(ours, truth)))
                here.append(quality[-1][0])
        by_scene.append(float(np.mean(here)))
    means = np.mean(quality, axis=0)
    return Result(float(means[0]), float(means[1]), took / len(quality), tuple(by_scene))


CANDIDATES: dict[str, Dis] = {
    f"{name}, finest scale {finest}": Dis(preset, finest)
    for name, preset in (
        ("ultrafast", cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
        ("fast", cv2.DISOPTICAL_FLOW_PRESET_FAST),
        ("medium", cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    )
    for finest in (2, 1, 0)
}
CANDIDATES["medium, finest scale 0, stride 2"] = replace(MEASURED, patch_stride=2)
CANDIDATES["medium, finest scale 0, 10 refinements"] = replace(MEASURED, iterations=10)


def printed(name: str, result: Result, plain: Result, *, judge: bool = True) -> None:
    """One row: quality against blending, cost as a multiple of it."""
    cost = f"{1000 * result.seconds:9.0f} ms {result.seconds / plain.seconds:7.1f}×"
    if not judge:
        print(f"| {name:40} | {'–':>8} | {'–':>8} | {'–':>12} | {cost} |")
        return
    gain = result.psnr - plain.psnr
    left = (1 - result.ssim) / (1 - plain.ssim)
    print(f"| {name:40} | {gain:+5.2f} dB | {result.ssim:8.4f} | {left:11.2f}× | {cost} |", flush=True)
    print("|   by scene: " + ", ".join(f"{at} {value:.1f}" for at, value in zip(SCENES, result.by_scene, strict=True)))


def place_of(models: Path) -> Place:
    """The CPU, on which the table is comparable."""
    device = torch.device("cpu")
    return Place(models=models, device=device, dtype=torch.float32, residency=Residency(device))


def untrained(folder: Path, divisor: int) -> Maker:
    """RIFE 4.26 with random numbers, an n-th as wide: what it takes, not what it can."""
    network = IFNet(VERSIONS["4.26"].narrowed(divisor))
    path = folder / RIFE_4_26.name / "rife426.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return RifeMaker(place_of(folder), RIFE_4_26, PLENTY)


def installed(models: Path) -> Iterator[Maker]:
    """Those whose weights are there."""
    place = place_of(models)
    yield from (RifeMaker(place, weights, PLENTY) for weights in RIFE if weights.layout_in(models))
    if FILM.layout_in(models):
        yield FilmMaker(place, FILM, PLENTY)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the installed checkpoints")
    parser.add_argument("--tune", action="store_true", help="compare settings of the optical flow")
    parser.add_argument("--frames", type=int, default=3, help="pairs for each scene")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    plain = judged(BlendMaker(), asked.frames)
    print(f"{len(SCENES)} scenes of {WIDTH} × {HEIGHT}, {2 * asked.frames} held-out frames each; blending: "
          f"{plain.psnr:.2f} dB, SSIM {plain.ssim:.4f}, {1000 * plain.seconds:.0f} ms. One CPU thread.\n")  # fmt: skip
    print("| maker | against blending | SSIM | what is left of its error in SSIM | a frame | of blending's time |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, how in (CANDIDATES if asked.tune else {"optical flow": MEASURED}).items():
        printed(name, judged(FlowMaker(how), asked.frames), plain)
    for maker in () if asked.tune else installed(asked.models):
        printed(maker.label, judged(maker, asked.frames), plain)
    with tempfile.TemporaryDirectory() as folder:
        for divisor in () if asked.tune else (8, 1):
            size = "full size" if divisor == 1 else f"1/{divisor} as wide"
            maker = untrained(Path(folder) / str(divisor), divisor)
            printed(f"RIFE 4.26 {size}, untrained", judged(maker, 1), plain, judge=False)


if __name__ == "__main__":
    main()
