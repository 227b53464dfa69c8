"""How our files compare with ffmpeg's own at equal size: bytes, likeness and seconds; and what memory they take.

    python -m benchmarks.encode

Needs `imageio-ffmpeg` besides (`pip install imageio-ffmpeg`); its ffmpeg is used for the comparison only.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageSequence

from media.formats import FORMATS, Encode, encode
from media.frames import Frame, FrameSpool
from media.gif import encode_gif
from media.likeness import psnr, ssim
from media.probe import rgb
from media.video import encode_mp4

NUM_FRAMES = 48
PLENTY = 10**9
SHARES = (0.5, 0.2)
"""Budgets, as shares of what the clip weighs without one."""
TRIES, EQUAL = 4, 0.01
"""So often, or until the sizes differ by less, another size is asked of ffmpeg."""
MEMORY_SECONDS, MEMORY_FPS = (2, 10, 60), 24
HEAD = "| file | kB | of budget | SSIM | PSNR | seconds | encodes |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


@dataclass(frozen=True)
class Shot:
    """One clip that is compared."""

    name: str
    fps: int
    frames: list[Frame]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.frames[0].shape[1], self.frames[0].shape[0]


def zoom(num_frames: int = NUM_FRAMES, width: int = 640, height: int = 352, seed: int = 3) -> Iterator[Frame]:
    """A slow zoom over shapes, gradients, texture and a little film grain."""
    chance = np.random.default_rng(seed)
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


def cuts() -> Iterator[Frame]:
    """Four shots of 15 frames, each with a picture of its own."""
    for seed in (5, 6, 7, 8):
        yield from zoom(15, 480, 272, seed)


def drawn(num_frames: int = 60, width: int = 512, height: int = 320) -> Iterator[Frame]:
    """Flat discs with outlines before a soft sky, as a drawn film has them; no grain."""
    rows, columns = np.mgrid[:height, :width]
    sky = np.stack([120 + rows / 4, 170 + rows / 8, 230 - rows / 5], axis=-1)
    discs = [((200, 40, 40), 1.0), ((30, 90, 200), -1.7), ((20, 160, 80), 2.3)]
    for number in range(num_frames):
        frame = sky.copy()
        for place, (colour, speed) in enumerate(discs):
            x, y = (100 + 130 * place + speed * 3 * number) % width, height / 2 + 60 * math.sin(number / 9 + place)
            far = np.hypot(columns - x, rows - y) - (30 + 8 * place)
            frame[far < 0], frame[abs(far) < 2] = colour, 20
        yield frame.astype(np.uint8)


def grainy() -> Iterator[Frame]:
    """24 frames under strong grain: the hardest to weigh beforehand."""
    chance = np.random.default_rng(9)
    for frame in zoom(24):
        yield np.clip(frame + 8 * chance.standard_normal(frame.shape), 0, 255).astype(np.uint8)


SHOTS = {"zoom": (zoom, 12), "cuts": (cuts, 15), "drawn": (drawn, 24), "grainy": (grainy, 12)}


def decoded(path: Path) -> list[tuple[float, Frame]]:
    """All frames with the second from which on each is shown, by the tags that the file itself carries or lacks."""
    if path.suffix == ".webp":  # which this build of PyAV does not know
        with Image.open(path) as picture:
            seen = ((each.load(), each) for each in ImageSequence.Iterator(picture))  # loading tells the duration
            frames = [(each.info["duration"], np.asarray(each.convert("RGB"))) for _, each in seen]
        ends = np.cumsum([milliseconds for milliseconds, _ in frames]) / 1000
        return [(end - frame[0] / 1000, frame[1]) for end, frame in zip(ends.tolist(), frames, strict=True)]
    with av.open(str(path)) as container:
        return [(frame.time or 0.0, rgb(frame)) for frame in container.decode(video=0)]


def shown(path: Path, shot: Shot) -> list[Frame]:
    """For each frame of the shot what the file shows in the middle of its time, at the shot's size."""
    frames = decoded(path)
    moments = [moment - frames[0][0] for moment, _ in frames]
    at = np.searchsorted(moments, (np.arange(len(shot.frames)) + 0.5) / shot.fps, side="right") - 1
    sized = [np.asarray(Image.fromarray(frame).resize(shot.size)) for _, frame in frames]
    return [sized[place] for place in at]


def ffmpeg(spool: FrameSpool, *options: str) -> None:
    """Run the stand-alone ffmpeg over the clip's raw frames."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{spool.width}x{spool.height}", "-r", str(spool.fps), "-i", "-", *options,
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
    rate = str(round(size_bytes * 8 * spool.fps / spool.count))
    common = [
        "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_range", "tv",
        "-c:v", "libx264", "-preset", "medium", "-pix_fmt", "yuv420p", "-b:v", rate, "-passlogfile", f"{path}.log",
    ]  # fmt: skip
    ffmpeg(spool, *common, "-pass", "1", "-f", "null", os.devnull)
    ffmpeg(spool, *common, "-pass", "2", "-movflags", "+faststart", str(path))


def ffmpeg_gif(spool: FrameSpool, path: Path, scale: float = 1.0) -> None:
    """The usual recipe: palettegen and paletteuse in one filter graph, at their defaults."""
    shape = f"{round(spool.width * scale)}:{round(spool.height * scale)}"
    ffmpeg(spool, "-vf", f"scale={shape}:flags=lanczos,split[a][b];[a]palettegen[p];[b][p]paletteuse", str(path))


@dataclass(frozen=True)
class Row:
    """How one file came out."""

    size_bytes: int
    ssim: float
    psnr: float
    seconds: float
    encodes: int | str = ""

    def line(self, name: str, budget: int = 0) -> str:
        """As a row of the table."""
        share = f"{self.size_bytes / budget:.2f}" if budget else ""
        return (
            f"| {name} | {self.size_bytes / 1000:.0f} | {share} | {self.ssim:.4f} | {self.psnr:.2f} "
            f"| {self.seconds:.1f} | {self.encodes} |"
        )


def made(shot: Shot, path: Path, work: Callable[[], object]) -> Row:
    """Make a file and judge it at the shot's own size."""
    start = time.perf_counter()
    encoded = work()
    seconds = time.perf_counter() - start
    pairs = list(zip(shot.frames, shown(path, shot), strict=True))[::2]
    alike, noise = (float(np.mean([measure(*pair) for pair in pairs])) for measure in (ssim, psnr))
    return Row(path.stat().st_size, alike, noise, seconds, getattr(encoded, "passes", ""))


def at_equal_size(size_bytes: int, make: Callable[[float], Row]) -> Row:
    """ffmpeg's file, asked for more or less until it weighs the same: it misses its size too. Timed is the last try."""
    asked = float(size_bytes)
    row = make(asked)
    for _ in range(TRIES):
        if abs(row.size_bytes / size_bytes - 1) < EQUAL:
            break
        asked *= size_bytes / row.size_bytes
        row = make(asked)
    return row


def verdict(ours: Row, theirs: Row) -> str:
    """How ours differs, as a row."""
    size, seconds = ours.size_bytes / theirs.size_bytes, ours.seconds / theirs.seconds
    return f"| | {size:.2f} × | | {ours.ssim - theirs.ssim:+.4f} | {ours.psnr - theirs.psnr:+.2f} | {seconds:.2f} × | |"


def compare(folder: Path, shot: Shot) -> None:
    """MP4 and GIF against ffmpeg's, each at the size that ours came to."""
    mine, mp4, gif = folder / "mine", folder / "theirs.mp4", folder / "theirs.gif"
    width, height = shot.size
    print(f"\n{shot.name}: {width} × {height}, {len(shot.frames)} frames at {shot.fps}\n\n{HEAD}")
    with FrameSpool.filled(shot.frames, width, height, Fraction(shot.fps)) as spool:

        def ours(encode_: Encode, budget: int = PLENTY) -> Row:
            return made(shot, mine, lambda: encode_(spool, mine, budget))

        def pair(names: tuple[str, str], encode_: Encode, budget: int, theirs: Callable[[int], Row]) -> None:
            row = ours(encode_, budget)
            print(row.line(names[0], budget))
            other = theirs(row.size_bytes)
            print(f"{other.line(names[1])}\n{verdict(row, other)}", flush=True)

        def two_passes(size: int) -> Row:
            return at_equal_size(size, lambda asked: made(shot, mp4, lambda: ffmpeg_mp4(spool, mp4, round(asked))))

        whole = ours(encode_mp4)
        print(whole.line("our MP4"))
        for share in SHARES:
            budget = round(whole.size_bytes * share)
            pair((f"our MP4, {share:.0%}", "ffmpeg, two passes"), encode_mp4, budget, two_passes)
        whole = ours(encode_gif)
        theirs = made(shot, gif, lambda: ffmpeg_gif(spool, gif))
        print(f"{whole.line('our GIF')}\n{theirs.line('ffmpeg, palettegen')}\n{verdict(whole, theirs)}", flush=True)

        def scaled(size: int) -> Row:
            return at_equal_size(
                size,
                lambda asked: made(
                    shot, gif, lambda: ffmpeg_gif(spool, gif, min(1.0, (asked / theirs.size_bytes) ** 0.5))
                ),
            )

        half = min(whole.size_bytes, theirs.size_bytes) // 2
        pair(("our GIF, 50%", "ffmpeg, scaled to it"), encode_gif, half, scaled)
        for kind in ("webp", "webm"):
            path = folder / f"c.{kind}"
            print(made(shot, path, partial(encode, kind, spool, path, PLENTY)).line(f"our {kind}"), flush=True)


def memory(kinds: tuple[str, ...] = ("mp4", "gif", "webm", "webp", "apng")) -> None:
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
        for frame in zoom(count, 320, 176):
            spool.append(frame)
        encode(kind, spool, Path(name) / f"a{FORMATS[kind].suffix}", PLENTY)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    """Print the tables, or, with a kind and seconds, one figure of the second."""
    if len(sys.argv) == 3:
        return peak(sys.argv[1], int(sys.argv[2]))
    with tempfile.TemporaryDirectory() as name:
        for title, (frames, fps) in SHOTS.items():
            compare(Path(name), Shot(title, fps, list(frames())))
    return memory()


if __name__ == "__main__":
    main()
