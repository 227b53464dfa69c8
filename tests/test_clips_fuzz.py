"""Damaged files by the hundred: each gives a clip or a sentence, from a child that stays within its memory and time.

The child is the real one, with the kernel's own measure of what it took; see `tests/clip_zygote.py`.
"""

import asyncio
import random
import resource
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from jobs.errors import Refusal
from jobs.texts import word
from media.clip_limits import ClipLimits
from media.clip_process import Child, Launch
from media.clips import decode_clip, probe_clip
from media.sounds import probe_sound
from tests.clip_zygote import Forked, Zygote
from tests.odd_clips import CLIPS, made, sound

LIMITS = replace(ClipLimits(), decode_seconds=5, max_seconds=20.0, max_frames=600)
PEAK_KIB = LIMITS.memory_bytes // 1024
"""The kernel holds the whole address space below this. Undamaged files of these sizes take less than a tenth of it."""
CPU_SECONDS = 6.0
GROWTH_KIB = 96 * 1024
"""Decoded clips never enter the reading process; sounds do, of 20 seconds at most."""
ANSWERS = {"clip_broken", "clip_still", "clip_heavy", "clip_slow", "clip_pixels", "clip_small", "clip_frames"}
ANSWERS |= {"clip_lasts_too_long", "clip_no_picture", "clip_codec", "clip_kind", "clip_not", "clip_empty"}
ANSWERS |= {"sound_none", "sound_broken", "sound_too_long", "sound_not"}

WHOLE = [
    *(name for name, clip in CLIPS.items() if clip.expectation == "ok" and name != "large"),
    "thousands of tracks",
    "video bomb",
]
SOUNDS = {"mp3": "libmp3lame", "wav": "pcm_s16le", "ogg": "libopus", "flac": "flac", "mp4": "aac", "adts": "aac"}


@dataclass
class Tally:
    """What came of all files."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    crashes: list[int] = field(default_factory=list[int])
    peak_kib: int = 0
    cpu_seconds: float = 0.0
    grown_kib: int = 0
    """By so much the reading process grew over all files."""

    def told(self) -> str:
        """The figures in a line."""
        ends = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common())
        took = f"at most {self.peak_kib / 1024:.0f} MiB and {self.cpu_seconds:.1f} CPU s for a file"
        died = f"{len(self.crashes)} children died {sorted(set(self.crashes))}"
        return f"{ends}; {died}; {took}; {self.grown_kib / 1024:.0f} MiB more here"

    def count(self, outcome: str, children: Sequence[Forked]) -> None:
        """One file's outcome, and what its children took."""
        self.outcomes[outcome] += 1
        for child in children:
            assert child.measured is not None, "no child is left behind"
            self.peak_kib = max(self.peak_kib, child.measured.peak_kib)
            self.cpu_seconds = max(self.cpu_seconds, child.measured.cpu_seconds)
            if child.measured.status not in (0, -9):  # it is killed when its answer is there
                self.crashes.append(child.measured.status)


def injured(whole: bytes, chance: random.Random) -> bytes:
    """Flips, holes, cuts, insertions, exchanged pieces and lying lengths; at least one of them."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 4, 12))):
        at = chance.randrange(12, max(13, len(data)))
        if chance.random() < 0.4:
            at = min(at, chance.randrange(12, 1200))  # headers are where the harm is done
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 400)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 64))
            case 3:
                data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\1"))
            case 4:
                other = chance.randrange(len(data) or 1)
                data[at : at + 60] = data[other : other + 60]
            case _:
                del data[max(64, at) :]
    return bytes(data)


async def outcome_of(path: Path, chance: random.Random, launch: Launch, *, as_sound: bool) -> str:
    """What a person is told; "ok" for a clip. Every fourth clip is decoded in full."""
    try:
        if as_sound:
            await probe_sound(path, LIMITS, launch)
            return "ok"
        facts = await probe_clip(path, LIMITS, launch)
        if chance.random() < 0.25:
            with await decode_clip(path, LIMITS, path.parent, launch) as spool:
                assert (spool.count, spool.fps) == (facts.num_frames, facts.fps), "probe and decode disagree"
                assert spool[spool.count - 1].shape == (facts.height, facts.width, facts.channels)
    except Refusal as refusal:
        return refusal.code if word(refusal) else "without a sentence"
    return "ok"


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def damaged(number: int, seed: int) -> tuple[bytes, random.Random, bool]:
    """A file, the chance that made it, and whether it is read as a sound; always the same for the same numbers."""
    chance = random.Random(f"{seed} {number}")
    as_sound = chance.random() < 0.15
    whole = tone(chance.choice(list(SOUNDS))) if as_sound else made(chance.choice(WHOLE))
    return injured(whole, chance), chance, as_sound


_tones: dict[str, bytes] = {}


def tone(kind: str) -> bytes:
    return _tones.setdefault(kind, sound(kind, SOUNDS[kind], 0.5))


async def fuzzed(count: int, seed: int, folder: Path) -> Tally:
    """Read so many, two at a time."""
    tally, numbers = Tally(), iter(range(count))
    for name in WHOLE:
        made(name)  # what making them takes is none of the reader's growth
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Zygote() as zygote:
        async with asyncio.TaskGroup() as group:
            for reader in range(2):
                group.create_task(_read_all(numbers, seed, folder / f"{reader}", zygote, tally))
    tally.grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return tally


async def _read_all(numbers: Iterator[int], seed: int, path: Path, zygote: Zygote, tally: Tally) -> None:
    for number in numbers:
        data, chance, as_sound = damaged(number, seed)
        put(path, data)
        mine: list[Forked] = []

        async def launch(passed: Sequence[int], mine: list[Forked] = mine) -> Child:
            mine.append(await zygote.launch(passed))
            return mine[-1]

        tally.count(await outcome_of(path, chance, launch, as_sound=as_sound), mine)
    zygote.children.clear()


def check(tally: Tally, count: int) -> None:
    assert sum(tally.outcomes.values()) == count
    assert set(tally.outcomes) <= ANSWERS | {"ok"}
    assert tally.outcomes["clip_broken"] > count // 20, "the damage is felt"
    assert tally.outcomes["ok"] > count // 20, "and not everything is given up for a scratch"
    assert tally.peak_kib < PEAK_KIB
    assert tally.cpu_seconds < CPU_SECONDS
    assert tally.grown_kib < GROWTH_KIB


async def test_three_hundred_damaged_files_give_a_clip_or_a_sentence(tmp_path: Path) -> None:
    check(await fuzzed(300, 1, tmp_path), 300)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_five_thousand_damaged_files_give_a_clip_or_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = await fuzzed(5000, 2, tmp_path)
    with capsys.disabled():
        print(f"\n{tally.told()}")  # noqa: T201 (the figures are what this is run for)
    check(tally, 5000)
