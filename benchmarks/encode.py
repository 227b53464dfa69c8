"""How our files compare with ffmpeg's own at equal size: bytes, likeness and seconds; and what memory they take.

    python -m benchmarks.encode

Needs `imageio-ffmpeg` besides (`pip install imageio-ffmpeg`); its ffmpeg is used for the comparison only.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image

from media.formats import FORMATS, encode
from media.frames import Frame, FrameSpool
from media.gif import encode_gif
from media.likeness import psnr, ssim
from media.probe import rgb
from media.video import encode_mp4

WIDTH, HEIGHT, NUM_FRAMES, FPS = 640, 352, 48, 12
PLENTY = 10**9
SHARES = (0.5, 0.2)
"""Budgets, as shares of what the clip weighs without one."""
MEMORY_SECONDS, MEMORY_FPS = (2, 10, 60), 24
HEAD = "| file | kB | of budget | SSIM | PSNR | seconds | encodes |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


def clip(num_frames: int = NUM_FRAMES, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Frame]:
    """A slow zoom over shapes, gradients, texture and a little film grain."""
    chance = np.random.default_rng(3)
    layers = [(5, 90), (24, 50), (120, 22), (500, 8)]
    still = np.full((height, width, 3), 128, np.float32)
    for cells, strength in layers:
        noise = Image.fromarray(chance.integers(0, 255, (cells, cells * 2, 3)).astype(np.uint8))
        still += (np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) - 128) * strength / 90
    rows, columns = np.mgrid[:height, :width]
    for x, y, radius in chance.integers(40, 400, (12, 3)):
        still[(rows - y) ** 2 + (columns - x * 1.8) ** 2 < (radius / 6) ** 2] = chance.integers(0, 255, 3)
    picture = Image.fromarray(np.clip(still, 0, 255).astype(np.uint8))
    for number in range(num_frames):
        x, y = (side * 0.08 * number / num_frames for side in (width, height))
        seen = picture.resize((width, height), Image.Resampling.BICUBIC, box=(x, y, width - x, height - y))
        yield np.clip(np.asarray(seen) + 2 * chance.standard_normal((height, width, 1)), 0, 255).astype(np.uint8)


def decoded(path: Path) -> list[Frame]:
    """All frames, by the tags that the file itself carries or lacks."""
    with av.open(str(path)) as container:
        return [rgb(frame) for frame in container.decode(video=0)]


def ffmpeg(spool: FrameSpool, *options: str) -> None:
    """Run the stand-alone ffmpeg over the clip's raw frames."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame in spool:
            process.stdin.write(frame.tobytes())
        process.stdin.close()
        if process.wait():
            raise RuntimeError(f"ffmpeg ended with {process.returncode}")


def ffmpeg_mp4(spool: FrameSpool, path: Path, size_bytes: int) -> None:
    """Two passes to a bit rate, as its own guide has it, at the preset that we use."""
    rate = str(round(size_bytes * 8 * FPS / spool.count))
    common = [
        "-c:v",
        "libx264",
        "-preset",
        "medium",
        "-pix_fmt",
        "yuv420p",
        "-b:v",
        rate,
        "-passlogfile",
        f"{path}.log",
    ]
    colours = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_range", "tv"]
    ffmpeg(spool, *colours, *common, "-pass", "1", "-f", "null", os.devnull)
    ffmpeg(spool, *colours, *common, "-pass", "2", "-movflags", "+faststart", str(path))


def ffmpeg_gif(spool: FrameSpool, path: Path, scale: float = 1.0) -> None:
    """The usual recipe: palettegen and paletteuse in one filter graph, at their defaults."""
    shape = f"{round(WIDTH * scale)}:{round(HEIGHT * scale)}"
    ffmpeg(spool, "-vf", f"scale={shape}:flags=lanczos,split[a][b];[a]palettegen[p];[b][p]paletteuse", str(path))


def row(name: str, work: Callable[[], object], path: Path, frames: list[Frame], budget: int = 0) -> float:
    """Print one row of the table; the seconds that `work` took."""
    start = time.perf_counter()
    made = work()
    seconds = time.perf_counter() - start
    weight, seen = path.stat().st_size, [np.asarray(Image.fromarray(f).resize((WIDTH, HEIGHT))) for f in decoded(path)]
    pairs = list(zip(frames, seen, strict=False))[::4]
    alike = np.mean([ssim(*pair) for pair in pairs])
    noise = np.mean([psnr(*pair) for pair in pairs])
    share = f"{weight / budget:.2f}" if budget else ""
    print(
        f"| {name} | {weight / 1000:.0f} | {share} | {alike:.4f} | {noise:.2f} | {seconds:.1f} "
        f"| {getattr(made, 'passes', '')} |",
        flush=True,
    )
    return seconds


def compare(folder: Path) -> None:
    """MP4 and GIF against ffmpeg's, each at the size that ours came to."""
    frames = list(clip())
    mine, theirs = folder / "a", folder / "b"
    print(f"{WIDTH} × {HEIGHT}, {NUM_FRAMES} frames at {FPS}\n\n{HEAD}")
    with FrameSpool.filled(frames, WIDTH, HEIGHT, Fraction(FPS)) as spool:
        row("our MP4", lambda: encode_mp4(spool, mine, PLENTY), mine, frames)
        whole = mine.stat().st_size
        for share in SHARES:
            budget = round(whole * share)
            ours = row(f"our MP4, {share:.0%}", lambda b=budget: encode_mp4(spool, mine, b), mine, frames, budget)
            out, aim = theirs.with_suffix(".mp4"), mine.stat().st_size
            other = row("ffmpeg, two passes", lambda o=out, a=aim: ffmpeg_mp4(spool, o, a), out, frames, budget)
            print(f"| | | | | | {ours / other:.2f} × | |")
        out = theirs.with_suffix(".gif")
        ours = row("our GIF", lambda: encode_gif(spool, mine, PLENTY), mine, frames)
        whole = mine.stat().st_size
        other = row("ffmpeg, palettegen", lambda: ffmpeg_gif(spool, out), out, frames)
        print(f"| | | | | | {ours / other:.2f} × | |")
        ours = row("our GIF at ffmpeg's size", lambda: encode_gif(spool, mine, out.stat().st_size), mine, frames)
        ours = row("our GIF, 50%", lambda: encode_gif(spool, mine, whole // 2), mine, frames, whole // 2)
        scale = (mine.stat().st_size / out.stat().st_size) ** 0.5
        other = row("ffmpeg, scaled to it", lambda: ffmpeg_gif(spool, out, scale), out, frames, whole // 2)
        print(f"| | | | | | {ours / other:.2f} × | |")
        for kind in ("webp", "webm"):
            path = folder / f"c.{kind}"
            start = time.perf_counter()
            made = encode(kind, spool, path, PLENTY)
            seconds = time.perf_counter() - start
            print(
                f"| our {kind} | {made.size_bytes / 1000:.0f} | | {made.ssim:.4f} | | {seconds:.1f} | {made.passes} |"
            )


def memory(kinds: tuple[str, ...] = ("mp4", "gif", "webm", "webp")) -> None:
    """Peak resident memory of a fresh process for each kind and length."""
    lengths = " | ".join(f"{seconds} s" for seconds in MEMORY_SECONDS)
    print(f"\nPeak MiB, 320 × 176 at {MEMORY_FPS}\n\n| kind | {lengths} |\n| --- |{' ---: |' * len(MEMORY_SECONDS)}")
    for kind in kinds:
        peaks = [
            subprocess.run(
                [sys.executable, "-m", "benchmarks.encode", kind, str(seconds)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seconds in MEMORY_SECONDS
        ]
        print(f"| {kind} | {' | '.join(peaks)} |", flush=True)


def peak(kind: str, seconds: int) -> None:
    """Encode a clip of so many seconds and print this process's peak in MiB."""
    import resource

    count = seconds * MEMORY_FPS
    with tempfile.TemporaryDirectory() as name, FrameSpool(320, 176, MEMORY_FPS) as spool:
        for frame in clip(count, 320, 176):
            spool.append(frame)
        encode(kind, spool, Path(name) / f"a{FORMATS[kind].suffix}", PLENTY)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    """Print the tables, or, with a kind and seconds, one figure of the second."""
    if len(sys.argv) == 3:
        return peak(sys.argv[1], int(sys.argv[2]))
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name))
    return memory()


if __name__ == "__main__":
    main()
