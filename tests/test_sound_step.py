"""Sound: as loud as the standard says, as long as the picture, stretched without changing its pitch."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.residency import Residency
from inference.systems.base import Clip, Place, Sources
from inference.systems.sound.system import AddSound
from inference.systems.speed.wsola import stretched
from jobs.errors import Note
from jobs.requests.base import Shape
from jobs.requests.sound import SoundRequest
from media.frames import SOUND_RATE, FrameSpool, Sound
from media.loudness import PEAK, TARGET_LUFS, levels_of, limited, loudness, normalised
from media.tracks import joined, repeated, ring, samples, silence

CPU = torch.device("cpu")


def go_on(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


def tone(seconds: float, dbfs: float = -20.0, hertz: float = 1000.0, sides: tuple[int, int] = (1, 1)) -> Sound:
    """A sine of this peak level on one side or both."""
    t = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    wave = np.sin(2 * np.pi * hertz * t) * 10 ** (dbfs / 20) * 32767
    return np.stack([side * wave for side in sides], axis=1).round().astype(np.int16)


def music(seconds: float, seed: int = 0) -> Sound:
    """Decaying chords over faint noise: something with peaks and pauses."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    beat = np.exp(-6 * (t % 0.5))
    wave = sum(np.sin(2 * np.pi * hertz * t + random.uniform(0, 6)) for hertz in (220, 277, 330, 1320)) * beat
    return np.stack([wave * 2500, wave * 2000], axis=1).astype(np.int16) + random.integers(-9, 9, (len(t), 2), np.int16)


def pitch(sound: Sound) -> float:
    """The strongest frequency, in hertz."""
    middle = sound[len(sound) // 4 : -len(sound) // 4, 0].astype(float)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.argmax(spectrum) * SOUND_RATE / len(middle))


def spool_with(sound: Sound | None, num_frames: int = 40, fps: int = 10) -> FrameSpool:
    spool = FrameSpool.filled((np.full((8, 8, 3), i, np.uint8) for i in range(num_frames)), 8, 8, fps)
    spool.sound = sound
    return spool


def sounded(spool: FrameSpool, sound: Sound, **fields: object) -> Clip:
    place = Place(models=Path("none"), device=CPU, dtype=torch.float32, residency=Residency(CPU))
    request = SoundRequest.model_validate(fields)
    return AddSound(place).render(request, Sources({}, {"clip": spool}, {"sound": sound}), go_on)


# -- loudness: the known answers of ITU-R BS.1770 and EBU Tech 3341 --


@pytest.mark.parametrize(
    ("sound", "lufs"),
    [
        (tone(5, 0, 997, (1, 0)), -3.01),  # BS.1770-4, annex 1
        (tone(20, -23), -23.0),  # Tech 3341, cases 1 to 5, the long ones at half their length
        (tone(20, -33), -33.0),
        (np.concatenate([tone(5, -36), tone(30, -23), tone(5, -36)]), -23.0),
        (np.concatenate([tone(5, -72), tone(5, -36), tone(30, -23), tone(5, -36), tone(5, -72)]), -23.0),
        (np.concatenate([tone(10, -26), tone(10.05, -20), tone(10, -26)]), -23.0),
    ],
    ids=["one side", "-23", "-33", "quiet ends", "silent ends", "louder middle"],
)
def test_loudness_is_what_the_standards_say(sound: Sound, lufs: float) -> None:
    assert loudness(sound) == pytest.approx(lufs, abs=0.1)


def test_low_tones_count_less_and_high_ones_more() -> None:
    low, middle, high = (loudness(tone(3, -20, hertz)) for hertz in (40, 1000, 8000))

    assert low < middle - 4
    assert high == pytest.approx(middle + 3.3, abs=0.3)


def test_silence_has_no_loudness_and_stays_silent() -> None:
    for sound in (silence(SOUND_RATE), silence(0), silence(100)):
        assert loudness(sound) == -math.inf
        levels, heard = normalised(sound)
        assert (limited(levels).any(), heard) == (False, -math.inf)


@pytest.mark.parametrize(
    "sound", [music(4), tone(2, -50), tone(3, -1), tone(0.2)], ids=["music", "faint", "loud", "short"]
)
def test_a_track_becomes_as_loud_as_the_web_plays(sound: Sound) -> None:
    levels, was = normalised(sound)
    heard = limited(levels)

    assert was == loudness(sound)
    assert loudness(heard) == pytest.approx(-20 if loudness(sound) < -46 else TARGET_LUFS, abs=0.5)
    assert np.abs(heard.astype(int)).max() <= PEAK * 32768 + 1


def test_peaks_are_turned_down_not_clipped() -> None:
    loud = levels_of(tone(1, -12, 200))
    loud[20_000:20_010] *= 6
    heard = limited(loud).astype(float) / 32768

    assert np.abs(heard).max() <= PEAK + 1e-4
    far = np.r_[0:19_000, 21_000:48_000]
    assert np.abs(heard[far] - loud[far]).max() < 1e-4  # elsewhere nothing changes
    near = slice(19_800, 20_000)
    ratio = heard[near, 0][np.abs(loud[near, 0]) > 0.05] / loud[near, 0][np.abs(loud[near, 0]) > 0.05]
    assert np.abs(np.diff(ratio)).max() < 0.04  # and the way there is smooth


# -- length --


@given(st.integers(0, 30_000), st.integers(0, 90_000))
@settings(max_examples=60, deadline=None)
def test_a_sound_is_brought_to_any_length(length: int, wanted: int) -> None:
    assert repeated(silence(length), wanted).shape == (wanted, 2)


def test_a_repeated_sound_begins_again_without_a_click() -> None:
    sound = tone(0.333, -6, 440)
    steps = np.abs(np.diff(repeated(sound, 3 * SOUND_RATE)[:, 0].astype(int)))

    assert steps.max() < 1.5 * np.abs(np.diff(sound[:, 0].astype(int))).max()


def test_a_ring_of_sound_closes_and_two_joined_stay_as_loud() -> None:
    sound = music(2)
    closed = ring(sound, 9600)
    assert len(closed) == len(sound) - 9600
    assert np.array_equal(closed[: len(sound) - 2 * 9600], sound[9600:-9600])
    assert np.abs(closed[-1].astype(int) - sound[9599]).max() < 20  # where it ends, its begin goes on

    noises = [np.random.default_rng(seed).integers(-9000, 9000, (SOUND_RATE, 2), np.int16) for seed in (1, 2)]
    over = joined(*noises, 24_000)
    assert len(over) == 2 * SOUND_RATE - 24_000
    assert float(over[30_000:42_000].std()) == pytest.approx(float(noises[0].std()), rel=0.03)


# -- the step --


@pytest.mark.parametrize("seconds", [1.3, 4.0, 9.0])
def test_a_clip_gets_a_track_as_long_as_itself_and_as_loud_as_usual(seconds: float) -> None:
    with spool_with(None) as spool:
        clip = sounded(spool, music(seconds), fade=0)
        frames = list(clip.frames)

    assert clip.sound is not None
    assert len(clip.sound) == 4 * SOUND_RATE
    assert loudness(clip.sound) == pytest.approx(TARGET_LUFS, abs=0.5)
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(40))
    assert clip.notes == ()


def test_a_track_that_plays_once_leaves_silence_behind_it_and_ends_softly() -> None:
    with spool_with(None) as spool:
        once = sounded(spool, tone(2), length="once", fade=0).sound
        faded = sounded(spool, tone(9), fade=1.0).sound

    assert once is not None
    assert not once[2 * SOUND_RATE :].any()
    assert once[: 2 * SOUND_RATE - 300].std() > 1000
    assert faded is not None
    assert not faded[-1].any()
    loud, halfway = faded[: 3 * SOUND_RATE].std(), faded[-SOUND_RATE // 2 - 2400 : -SOUND_RATE // 2 + 2400].std()
    assert float(halfway / loud) == pytest.approx(math.sqrt(0.5), abs=0.05)


def test_a_short_track_fades_out_where_it_ends_not_in_the_silence_behind_it() -> None:
    with spool_with(None) as spool:
        once = sounded(spool, tone(2), length="once", fade=1.0).sound

    assert once is not None
    assert len(once) == 4 * SOUND_RATE
    last = np.abs(once[2 * SOUND_RATE - 4800 : 2 * SOUND_RATE].astype(int)).reshape(-1, 480, 2).max(axis=(1, 2))
    assert last[-1] < 0.03 * np.abs(once.astype(int)).max()
    assert (np.diff(last) < 0).all()
    assert not once[2 * SOUND_RATE :].any()


def test_of_a_song_only_what_is_heard_costs_memory() -> None:
    with spool_with(tone(4)) as spool:
        clips: dict[int, Sound | None] = {}
        for seconds in (5, 300):
            song = np.tile(tone(1), (seconds, 1))
            tracemalloc.start()
            clips[seconds] = sounded(spool, song, mode="mix", start=0.5).sound
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 70 * 2**20, f"{seconds} s: {peak / 2**20:.0f} MiB"

    short, long = clips.values()
    assert short is not None
    assert long is not None
    assert np.array_equal(short, long)


def test_loudness_is_told_and_peaks_are_turned_down_in_pieces_of_bounded_size() -> None:
    sound = np.concatenate([music(23), tone(20, -1), music(4)])
    levels = levels_of(sound) * 8
    tracemalloc.start()
    loudness(np.tile(sound, (4, 1)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seam = 10 * SOUND_RATE
    whole, around = limited(levels), limited(levels[seam - 9600 : seam + 9600])

    assert peak < 4 * sound.nbytes + 70 * 2**20
    assert np.abs(whole.astype(int)).max() <= PEAK * 32768 + 1
    assert np.abs(whole[seam - 4800 : seam + 4800].astype(int) - around[4800:-4800]).max() <= 1


def test_volume_turns_it_up_and_down() -> None:
    with spool_with(None) as spool:
        usual, half, none = (sounded(spool, tone(9), fade=0, volume=volume).sound for volume in (100, 50, 0))

    assert usual is not None
    assert half is not None
    assert none is not None
    assert loudness(half) == pytest.approx(loudness(usual) - 6.02, abs=0.1)
    assert not none.any()


def test_it_takes_the_place_of_the_clips_own_sound_or_joins_it() -> None:
    def has(sound: Sound | None, hertz: int) -> bool:
        assert sound is not None
        spectrum = np.abs(np.fft.rfft(sound[:, 0].astype(float)))
        return bool(spectrum[round(hertz * len(sound) / SOUND_RATE)] > 0.1 * spectrum.max())

    with spool_with(tone(4, -10, 500)) as spool:
        replaced, mixed = (sounded(spool, tone(4, -30, 1500), mode=mode, fade=0).sound for mode in ("replace", "mix"))

    assert (has(replaced, 500), has(replaced, 1500)) == (False, True)
    assert (has(mixed, 500), has(mixed, 1500)) == (True, True)  # each as loud as the other, whatever they came with
    assert mixed is not None
    assert loudness(mixed) == pytest.approx(TARGET_LUFS, abs=0.5)


def test_it_begins_where_it_is_asked_to_and_says_where_that_is_past_its_end() -> None:
    sound = np.concatenate([tone(2, hertz=500), tone(3, hertz=2000)])
    with spool_with(None, num_frames=10) as spool:
        late, past = (sounded(spool, sound, start=start) for start in (2.0, 7.5))
        silent = sounded(spool, silence(SOUND_RATE))

    assert late.sound is not None
    assert past.sound is not None
    assert pitch(late.sound) == pytest.approx(2000, abs=5)
    assert pitch(past.sound) == pytest.approx(500, abs=5)
    assert past.notes == (Note("sound_from_start", {"seconds": 5.0}),)
    assert silent.notes == (Note("sound_silent"),)


def test_the_request_knows_that_there_will_be_sound() -> None:
    given = SoundRequest().gives({"clip": Shape(64, 36, 10, Fraction(8))})

    assert given == Shape(64, 36, 10, Fraction(8), has_sound=True)


# -- another pace --


@pytest.mark.parametrize("factor", [0.25, 0.8, 1.5, 4.0])
@pytest.mark.parametrize("hertz", [110, 440, 3000])
def test_stretched_sound_keeps_its_pitch(factor: float, hertz: int) -> None:
    sound = tone(2, hertz=hertz)
    paced = stretched(sound, round(len(sound) / factor))

    assert len(paced) == round(len(sound) / factor)
    assert pitch(paced) == pytest.approx(hertz, rel=0.01, abs=2)
    inside = paced[SOUND_RATE // 10 : -SOUND_RATE // 10].astype(float)
    assert inside.std() == pytest.approx(sound.astype(float).std(), rel=0.06)  # windows fit, and cancel nothing


def test_at_its_own_pace_sound_is_what_it_was() -> None:
    sound = music(2)
    same = stretched(sound, len(sound))

    assert np.abs(same[:-4000].astype(int) - sound[:-4000]).max() <= 2


def test_what_happens_in_a_sound_happens_at_its_new_time() -> None:
    beats = np.zeros((4 * SOUND_RATE, 2), np.int16)
    for beat in range(4):
        begin = beat * SOUND_RATE + SOUND_RATE // 2
        beats[begin : begin + 9600] = tone(0.2, -6, 600)
    for factor in (0.5, 2.0):
        paced = np.abs(stretched(beats, round(len(beats) / factor))[:, 0].astype(int)) > 3000
        onsets = np.flatnonzero(paced & ~np.concatenate([np.zeros(9600, bool), _recent(paced)[:-9600]]))
        times = [onsets[0], *onsets[1:][np.diff(onsets) > 9600]]
        expected = [(beat + 0.5) / factor * SOUND_RATE for beat in range(4)]
        assert times == pytest.approx(expected, abs=0.03 * SOUND_RATE)


def _recent(heard: np.ndarray) -> np.ndarray:
    counted = np.concatenate([np.zeros(9600, int), np.cumsum(heard)])
    return counted[9600:] > counted[:-9600]


@given(st.integers(0, 20_000), st.integers(0, 40_000))
@settings(max_examples=25, deadline=None)
def test_any_sound_can_be_stretched_to_any_length(length: int, wanted: int) -> None:
    assert stretched(silence(length), wanted).shape == (wanted, 2)


def test_samples_follow_frames_without_drifting() -> None:
    fps = Fraction(30_000, 1001)
    assert samples(1800, fps) == round(1800 * 1001 / 30_000 * SOUND_RATE)
    assert sum(samples(i + 1, fps) - samples(i, fps) for i in range(1800)) == samples(1800, fps)
