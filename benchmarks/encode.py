"""How our files compare with the usual one-liners: bytes, likeness and seconds, on a clip made here.

    python -m benchmarks.encode

Needs `imageio-ffmpeg` besides (`pip install imageio-ffmpeg`); its ffmpeg is used for the comparison only.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
from PIL import Image

from media.frames import Frame, FrameSpool
from media.gif import encode_gif
from media.probe import probe, rgb
from media.video import encode_mp4

WIDTH, HEIGHT, NUM_FRAMES, FPS = 640, 352, 20, 12
PLENTY = 10**9


def clip() -> Iterator[Frame]:
    """A slow zoom over shapes, gradients, texture and a little film grain."""
    chance = np.random.default_rng(3)
    layers = [(5, 90), (24, 50), (120, 22), (500, 8)]
    still = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
    for cells, strength in layers:
        noise = Image.fromarray(chance.integers(0, 255, (cells, cells * 2, 3)).astype(np.uint8))
        still += (np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32) - 128) * strength / 90
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for x, y, radius in chance.integers(40, 400, (12, 3)):
        still[(rows - y) ** 2 + (columns - x * 1.8) ** 2 < (radius / 6) ** 2] = chance.integers(0, 255, 3)
    picture = Image.fromarray(np.clip(still, 0, 255).astype(np.uint8))
    for number in range(NUM_FRAMES):
        x, y = (side * 0.08 * number / NUM_FRAMES for side in (WIDTH, HEIGHT))
        seen = picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=(x, y, WIDTH - x, HEIGHT - y))
        yield np.clip(np.asarray(seen) + 2 * chance.standard_normal((HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)


def ssim(one: Frame, other: Frame) -> float:
    """Structural similarity (Wang et al. 2004) of luma over 8 × 8 blocks."""
    blocks = [
        (frame @ np.array([0.2126, 0.7152, 0.0722])).reshape(HEIGHT // 8, 8, WIDTH // 8, 8) for frame in (one, other)
    ]
    means = [block.mean((1, 3), keepdims=True) for block in blocks]
    a, b = (block - mean for block, mean in zip(blocks, means, strict=True))
    (mean_a, mean_b), c1, c2 = means, (0.01 * 255) ** 2, (0.03 * 255) ** 2
    variance_a, variance_b, covariance = ((x * y).mean((1, 3), keepdims=True) for x, y in ((a, a), (b, b), (a, b)))
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


def decoded(path: Path) -> list[Frame]:
    """All frames, by the tags that the file itself carries or lacks."""
    with av.open(str(path)) as container:
        return [rgb(frame) for frame in container.decode(video=0)]


def imageio_mp4(frames: list[Frame], path: Path) -> None:
    """What a quick script does."""
    iio.imwrite(path, np.stack(frames), extension=".mp4", fps=FPS)


def ffmpeg_gif(frames: list[Frame], path: Path) -> None:
    """The usual recipe: palettegen and paletteuse in one filter graph, at their defaults."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-",
        "-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse", str(path),
    ]  # fmt: skip
    subprocess.run(command, input=np.stack(frames).tobytes(), check=True)


def pillow_gif(frames: list[Frame], path: Path) -> None:
    """Pillow's own palette for each frame."""
    first, *others = (Image.fromarray(frame).quantize(256) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=1000 / FPS, loop=0)


def measured(name: str, encode: Callable[[], object], path: Path, frames: list[Frame]) -> str:
    """One row of the table."""
    start = time.perf_counter()
    encode()
    seconds = time.perf_counter() - start
    facts, seen = probe(path), decoded(path)
    likeness = np.mean([ssim(one, other) for one, other in zip(frames, seen, strict=False)])
    kind = f"{facts.codec} {facts.profile} {'moov first' if facts.moov_first else ''}".strip()
    return f"| {name} | {path.stat().st_size / 1000:.0f} | {likeness:.4f} | {seconds:.1f} | {facts.fps} | {kind} |"


def main() -> None:
    """Print the table."""
    frames = list(clip())
    print(f"{WIDTH} × {HEIGHT}, {NUM_FRAMES} frames at {FPS}\n")
    print("| file | kB | SSIM | seconds | fps | kind |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, FrameSpool.filled(frames, WIDTH, HEIGHT, Fraction(FPS)) as spool:
        mp4, gif = Path(name) / "a.mp4", Path(name) / "a.gif"
        print(measured("our MP4", lambda: encode_mp4(spool, mp4, PLENTY), mp4, frames))
        whole = mp4.stat().st_size
        print(measured("our MP4, a third", lambda: encode_mp4(spool, mp4, whole // 3), mp4, frames))
        print(measured("imageio MP4", lambda: imageio_mp4(frames, mp4), mp4, frames))
        print(measured("our GIF", lambda: encode_gif(spool, gif, PLENTY), gif, frames))
        print(measured("ffmpeg GIF", lambda: ffmpeg_gif(frames, gif), gif, frames))
        print(measured("Pillow GIF", lambda: pillow_gif(frames, gif), gif, frames))


if __name__ == "__main__":
    main()
