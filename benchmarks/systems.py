"""Seconds, memory and start of every feature, ours beside diffusers' own call with the same networks and steps.

    python -m benchmarks.systems >> benchmarks/RESULTS.md     # middle-sized networks on a CPU
    python -m benchmarks.systems --full >> …                  # full size, needs CUDA
    python -m benchmarks.systems --tiny                       # proves the script, measures nothing
    python -m benchmarks.systems --only SDXL --only SVD       # some rows

Each side has a process of its own; on a CPU the two take turns, so that whatever disturbs the machine disturbs both.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import logging
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import diffusers
import torch
import transformers

from benchmarks.systems_networks import FULL, MIDDLE, TINY, Sizes, write

if TYPE_CHECKING:
    from benchmarks.systems_runs import Setting, Side

MEGABYTE = 10**6
CLIP_LENGTHS = (16, 64, 128)
"""Frames, in the table of long clips."""
TINY_LENGTHS = (16, 32)
M_MMAP_THRESHOLD = -3
"""glibc's name for: from which size on a block is given back to the system as soon as it is freed."""


@dataclass(frozen=True)
class Reading:
    """One clip."""

    first: float
    """Seconds until the first frame was there."""
    total: float
    peak: int
    """Bytes beyond what the process held before anything was loaded; networks are in it."""
    held: int
    """Bytes that stay, likewise."""


class Memory:
    """What a process takes: on a CPU its resident set, on CUDA what torch has handed out."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.before = 0
        self.before = self.held()

    def be_exact(self) -> None:
        """From here on what is freed goes back at once; slower, and without it a heap's gaps are counted too."""
        if not self.cuda:
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MEGABYTE)

    def held(self) -> int:
        """Now, once everything that can be given back was given back."""
        gc.collect()
        if self.cuda:
            return torch.cuda.memory_allocated() - self.before
        ctypes.CDLL(None).malloc_trim(0)
        return _status("VmRSS") - self.before

    def watch(self) -> None:
        """The peak is counted from here on."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        """Since `watch`."""
        return (torch.cuda.max_memory_allocated() if self.cuda else _status("VmHWM")) - self.before


def _status(name: str) -> int:
    """A line of Linux's own account, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


# -- in the process that is measured --


def measured(wire: Connection, setting: Setting, feature: str, ours: bool) -> None:
    """Gets a number of frames, renders, answers with a `Reading`; the first one counts the loading too."""
    _quiet()
    runs = importlib.import_module("benchmarks.systems_runs")
    side: Side = runs.LONG[feature] if feature in runs.LONG else _side(runs.FEATURES[feature], ours)
    memory = Memory(setting.device)
    run = None
    while (wanted := _asked(wire)) is not None:
        num_frames, exact = wanted
        if exact:
            memory.be_exact()
        memory.watch()
        begun = time.perf_counter()
        with torch.inference_mode() if ours else torch.no_grad():
            run = run or side(setting)
            frames = iter(run(num_frames))
            next(frames)
            first = time.perf_counter() - begun
            for _ in frames:
                pass
        total = time.perf_counter() - begun
        peak = memory.peak()
        del frames
        wire.send(Reading(first, total, peak, memory.held()))


def _asked(wire: Connection) -> tuple[int, bool] | None:
    """How many frames, and whether for their memory; None where nobody asks any more."""
    try:
        return wire.recv()
    except EOFError:
        return None


def _side(feature: Any, ours: bool) -> Side:
    return feature.ours if ours else feature.theirs


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


# -- in the process that asks --


class Ask(Protocol):
    """Has a clip made in the other process."""

    def __call__(self, num_frames: int, *, exact: bool = False) -> Reading:
        """Of so many frames; `exact` for memory, not for seconds."""
        ...


@contextmanager
def asked(setting: Setting, feature: str, *, ours: bool) -> Generator[Ask]:
    """A process that has imported everything and loaded nothing."""
    context = multiprocessing.get_context("forkserver")
    wire, end = context.Pipe()
    process = context.Process(target=measured, args=(end, setting, feature, ours), daemon=True)
    process.start()
    end.close()

    def ask(num_frames: int, *, exact: bool = False) -> Reading:
        wire.send((num_frames, exact))
        try:
            return wire.recv()
        except EOFError:
            raise SystemExit(f"{feature}: the process of {'ours' if ours else 'diffusers'} died") from None

    try:
        yield ask
    finally:
        wire.close()
        process.join()


@dataclass(frozen=True)
class Readings:
    """Of one side."""

    cold: Reading
    warm: Sequence[Reading]
    exact: Reading
    """Whose memory counts."""


@dataclass(frozen=True)
class Compared:
    """Both sides."""

    ours: Readings
    theirs: Readings


def _median(readings: Sequence[Reading], what: str) -> float:
    return statistics.median(float(getattr(reading, what)) for reading in readings)


def compare(setting: Setting, feature: str, num_frames: int, rounds: int) -> Compared:
    """Ours and diffusers', in turns on a CPU, one after the other where both would have to share a card's memory."""
    if setting.device.type != "cpu":
        sides: list[Readings] = []
        for ours in (True, False):
            with asked(setting, feature, ours=ours) as ask:
                sides.append(_read([ask], num_frames, rounds)[0])
        return Compared(*sides)
    with asked(setting, feature, ours=True) as we, asked(setting, feature, ours=False) as they:
        return Compared(*_read([we, they], num_frames, rounds))


def _read(sides: Sequence[Ask], num_frames: int, rounds: int) -> list[Readings]:
    """Of each of them, in turns."""
    cold = [ask(num_frames) for ask in sides]
    turns = [[ask(num_frames) for ask in sides] for _ in range(rounds)]
    exact = [ask(num_frames, exact=True) for ask in sides]
    return [Readings(*of_one) for of_one in zip(cold, zip(*turns, strict=True), exact, strict=True)]


def features(setting: Setting, names: Collection[str], rounds: int) -> Mapping[str, Compared]:
    """Each that is wanted."""
    from benchmarks.systems_runs import FEATURES

    found: dict[str, Compared] = {}
    for name in names:
        print(name, file=sys.stderr)
        _write(setting, FEATURES[name].needs)
        found[name] = compare(setting, name, setting.sizes.num_frames, rounds)
    return found


def _write(setting: Setting, names: Collection[str]) -> None:
    for name in names:
        write(name, setting.models, setting.sizes)


def print_speed(found: Mapping[str, Compared]) -> None:
    """Markdown."""
    from benchmarks.systems_runs import FEATURES

    print("| feature | diffusers' call | ours s | diffusers s | ratio |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, compared in found.items():
        ours, theirs = (_median(side.warm, "total") for side in (compared.ours, compared.theirs))
        print(f"| {name} | {FEATURES[name].beside} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |")


def print_start(found: Mapping[str, Compared]) -> None:
    """Markdown."""
    print("| feature | cold s: ours | diffusers | warm s: ours | diffusers | peak MB: ours | diffusers | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, compared in found.items():
        sides = compared.ours, compared.theirs
        cold = " | ".join(f"{side.cold.first:.2f}" for side in sides)
        warm = " | ".join(f"{_median(side.warm, 'first'):.2f}" for side in sides)
        peaks = [side.exact.peak for side in sides]
        peak = " | ".join(f"{peak / MEGABYTE:.0f}" for peak in peaks)
        print(f"| {name} | {cold} | {warm} | {peak} | {peaks[0] / peaks[1]:.2f} |")


def print_long(setting: Setting) -> None:
    """Markdown: what clips of several lengths take beside the networks."""
    from benchmarks.systems_runs import LONG, LONG_NEEDS

    _write(setting, LONG_NEEDS)
    lengths = TINY_LENGTHS if setting.sizes is TINY else CLIP_LENGTHS
    heads = " | ".join(f"{length} frames: MB | s" for length in lengths)
    print(f"| | {heads} |")
    print(f"| --- |{' ---: | ---: |' * len(lengths)}")
    for name in LONG:
        with asked(setting, name, ours=name.startswith("ours")) as ask:
            networks = ask(lengths[0], exact=True).held
            readings = [ask(length, exact=True) for length in lengths]
        cells = " | ".join(f"{(at.peak - networks) / MEGABYTE:.0f} | {at.total:.2f}" for at in readings)
        print(f"| {name} | {cells} |", flush=True)


def report(setting: Setting, names: Collection[str], rounds: int, imports: float) -> None:
    """Everything, to be appended to RESULTS.md."""
    from benchmarks.systems_runs import SEED, STRENGTH

    sizes, cuda = setting.sizes, setting.device.type == "cuda"
    place = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads"
    print(f"## Systems on {place}, {datetime.now(UTC):%Y-%m-%d}\n")
    print(
        f"diffusers {diffusers.__version__}, torch {torch.__version__}; random networks, UNet of"
        f" {'/'.join(map(str, sizes.channels))} channels, {sizes.num_frames} frames of {sizes.side} × {sizes.side},"
        f" {sizes.steps} steps, guidance on, seed {SEED}; SDXL {sizes.xl_side}², SVD {sizes.svd_frames} frames of"
        f" {sizes.svd.sample_size * 8}², video to video {sizes.restyle_side}² at strength {STRENGTH}."
        f" Median of {rounds} after the first.\n"
    )
    found = features(setting, [name for name in names if name != "long"], rounds)
    if found:
        print_speed(found)
        print(f"\nStart and memory; *cold* reads the networks too, imports ({imports:.1f} s) are apart.\n")
        print_start(found)
    if "long" in names:
        print("\nLong clips: peak memory beyond the networks, Lightning in 1 step.\n")
        print_long(setting)


def import_seconds() -> float:
    """In a process of its own, from its start."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import benchmarks.systems_runs"], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def settings(arguments: argparse.Namespace, models: Path) -> Setting:
    """What was asked for."""
    from benchmarks.systems_runs import Setting

    sizes: Sizes = FULL if arguments.full else TINY if arguments.tiny else MIDDLE
    return Setting(models, sizes, torch.device("cuda" if arguments.full else "cpu"))


def main() -> None:
    """Measure and print."""
    runs = importlib.import_module("benchmarks.systems_runs")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="full size; needs CUDA and some 40 GB of disk")
    size.add_argument("--tiny", action="store_true", help="a toy, to prove the script")
    parser.add_argument("--only", action="append", choices=[*runs.FEATURES, "long"], help="some of it")
    parser.add_argument("--rounds", type=int, default=None, help="warm runs of each (3; tiny: 1)")
    asked_for = parser.parse_args()
    if asked_for.full and not torch.cuda.is_available():
        print("--full needs a CUDA card and found none; without it, middle-sized networks run on the CPU.")
        return
    _quiet()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.systems_runs"])
    with tempfile.TemporaryDirectory() as folder:
        setting = settings(asked_for, Path(folder))
        rounds = asked_for.rounds or (1 if asked_for.tiny else 3)
        report(setting, asked_for.only or [*runs.FEATURES, "long"], rounds, import_seconds())


if __name__ == "__main__":
    main()
