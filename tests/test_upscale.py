"""Upscale: what the network promises of any picture, what is held steady, and what happens without it."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from inference.residency import Residency
from inference.systems.base import Cancelled, Clip, Frame, Place, Sources, Thrift
from inference.systems.upscale.network import OVERLAP, WINDOW, UpscaleUnreadable, load, starts, tiled
from inference.systems.upscale.steady import Steadier
from inference.systems.upscale.system import Upscale
from inference.systems.upscale.weights import SWIN2SR
from jobs.errors import Note
from jobs.requests.base import Shape
from jobs.requests.upscale import UpscaleLarge, UpscaleRequest
from media.frames import FrameSpool
from tests.tiny_models.swin2sr import write_swin2sr

CPU = torch.device("cpu")


def go_on(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


def soft(width: int, height: int, channels: int = 3, seed: int = 0) -> Frame:
    """A smooth picture: Lanczos brings it back almost unchanged."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    phases = np.random.default_rng(seed).uniform(0, 6, channels)
    return np.dstack([127 + 100 * np.sin(x / 9 + p) * np.cos(y / 7 + p) for p in phases]).astype(np.uint8)


def spool_of(*frames: Frame) -> FrameSpool:
    height, width, channels = frames[0].shape
    return FrameSpool.filled(frames, width, height, 8, channels=channels)


def upscaled(spool: FrameSpool, models: Path, thrift: Thrift | None = None, **fields: object) -> Clip:
    place = Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU))
    request = UpscaleRequest.model_validate(fields)
    return Upscale(place).render(request, Sources({}, {"clip": spool}), go_on, thrift or Thrift())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_swin2sr(folder)
    return folder


def test_the_full_network_has_the_published_files_size_to_the_byte() -> None:
    """Names, shapes and order decide how long a safetensors header is: one letter off, and the sums differ."""
    with torch.device("meta"):
        state = Swin2SRForImageSuperResolution(Swin2SRConfig()).state_dict()
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(state):
        begin, end = end, end + 4 * state[name].numel()
        header[name] = {"dtype": "F32", "shape": list(state[name].shape), "data_offsets": [begin, end]}
    length = len(json.dumps(header, separators=(",", ":")))

    assert sum(tensor.numel() for tensor in state.values()) == SWIN2SR.facts["parameters"]
    assert 8 + -(-length // 8) * 8 + end == SWIN2SR.facts["tensor_bytes"]


def test_the_tiny_checkpoint_has_the_published_layout_and_names(models: Path) -> None:
    tiny = set(load_file(models / SWIN2SR.name / "model.safetensors"))
    with torch.device("meta"):
        full = set(Swin2SRForImageSuperResolution(Swin2SRConfig()).state_dict())

    assert SWIN2SR.layout_in(models) is SWIN2SR.layouts[0]
    assert tiny < full


@pytest.mark.parametrize(("factor", "times"), [("x2", 2), ("x4", 4)])
def test_a_clip_becomes_as_many_times_as_large_and_keeps_its_alpha_and_sound(
    models: Path, factor: str, times: int
) -> None:
    sound = np.arange(12_000, dtype=np.int16).reshape(-1, 2)
    with spool_of(soft(37, 21, 4), soft(37, 21, 4, 1)) as spool:
        spool.sound = sound
        clip = upscaled(spool, models, factor=factor)
        frames = list(clip.frames)

    assert (clip.width, clip.height, clip.num_frames, clip.fps) == (37 * times, 21 * times, 2, 8)
    assert (clip.channels, clip.notes, clip.weights) == (4, (), (SWIN2SR.name,))
    assert {frame.shape for frame in frames} == {(21 * times, 37 * times, 4)}
    assert clip.sound is sound
    centres = frames[0][times // 2 :: times, times // 2 :: times, 3].astype(int)
    assert np.abs(centres - soft(37, 21, 4)[..., 3]).mean() < 12


def write_doubling(models: Path) -> None:
    """A checkpoint that shows each pixel four times: edges are as hard as no alpha by Lanczos is."""
    write_swin2sr(models)
    file = models / SWIN2SR.name / "model.safetensors"
    state = load_file(file)
    drawing = ("first_convolution", "conv_after_body", "upsample.")
    state.update(
        {name: torch.zeros_like(held) for name, held in state.items() if any(part in name for part in drawing)}
    )
    far = 10.0  # beyond what the activation bends
    state["upsample.conv_before_upsample.bias"][:3] = far
    state["upsample.final_convolution.bias"][:] = -far
    for channel in range(3):
        for name in ("swin2sr.first_convolution", "upsample.conv_before_upsample", "upsample.final_convolution"):
            state[f"{name}.weight"][channel, channel, 1, 1] = 1
        state["upsample.upsample.convolution_0.weight"][4 * channel : 4 * channel + 4, channel, 1, 1] = 1
    save_file(state, file, {"format": "pt"})


def disc(hidden: Frame) -> Frame:
    """Bright on transparency; `hidden` is what lies there unseen."""
    down, across = np.mgrid[:48, :64]
    alpha = np.clip(16.5 - np.hypot(across - 32, down - 24), 0, 1) * 255
    colours = np.where(alpha[..., None] > 0, (255, 230, 150), hidden)
    return np.dstack([colours, alpha]).astype(np.uint8)


@pytest.mark.parametrize("factor", ["x2", "x4"])
def test_a_bright_thing_on_transparency_keeps_its_colour_up_to_its_rim(tmp_path: Path, factor: str) -> None:
    write_doubling(tmp_path)
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    given: list[Frame] = []
    for hidden in (np.zeros_like(noise), noise):
        with spool_of(disc(hidden), disc(hidden)) as spool:
            given += upscaled(spool, tmp_path, factor=factor).frames

    for frame in given:
        seen = frame[frame[..., 3] > 0][:, :3].astype(int)
        assert np.abs(seen - (255, 230, 150)).max() <= 2
    assert np.array_equal(given[0], given[2]), "what nobody sees changes nothing"


def test_the_network_is_what_draws_and_draws_the_same_again(models: Path, tmp_path: Path) -> None:
    with spool_of(soft(40, 32)) as spool:
        once, again = (next(iter(upscaled(spool, models).frames)) for _ in range(2))
        plain = next(iter(upscaled(spool, tmp_path).frames))

    assert np.array_equal(once, again)
    assert np.abs(once.astype(int) - plain).mean() > 3


def test_tiles_leave_no_seam(models: Path) -> None:
    network = load(models / SWIN2SR.name)
    picture = torch.from_numpy(soft(136, 40).copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        whole, tiles = tiled(network, picture, 136), tiled(network, picture, 96)

        hard = torch.cat([network(pixel_values=part).reconstruction for part in picture.split([64, 72], dim=3)], dim=3)

    assert starts(136, 96) == [0, 40]
    error, worst = ((whole - drawn.clamp(0, 1)).abs().mean(dim=(0, 1, 2)).max() for drawn in (tiles, hard))
    assert float(error) < 0.05
    assert float(error) < 0.4 * float(worst)  # tiles side by side show where they meet


@pytest.mark.parametrize("tile", [96, 192])
def test_tiles_cover_everything_and_overlap(tile: int) -> None:
    for length in range(8, 1200, 8):
        begins = starts(length, tile)
        assert begins[0] == 0
        assert begins[-1] + min(tile, length) == length
        assert all(begin % WINDOW == 0 for begin in begins)
        assert all(0 < b - a <= tile - OVERLAP + WINDOW for a, b in pairwise(begins))


def test_with_less_memory_smaller_tiles_show_the_same_picture(models: Path) -> None:
    with spool_of(soft(120, 40)) as spool:
        much, little = (
            next(iter(upscaled(spool, models, thrift).frames)) for thrift in (Thrift(), Thrift(offload=True))
        )

    assert np.abs(much.astype(int) - little).mean() < 3


def test_without_the_network_lanczos_draws_and_the_person_hears_it(tmp_path: Path) -> None:
    large = soft(128, 96)
    small = large.reshape(48, 2, 64, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    with spool_of(small) as spool:
        clip = upscaled(spool, tmp_path)
        frame = next(iter(clip.frames))

    assert clip.notes == (Note("upscale_lanczos"),)
    assert clip.weights == ()
    assert np.abs(frame.astype(int) - large)[8:-8, 8:-8].mean() < 2


def test_detail_that_is_invented_anew_each_time_is_held_still_and_follows_the_motion() -> None:
    """A texture moves by 2 pixels a frame; each frame's enlargement adds noise of its own."""
    random = np.random.default_rng(3)
    world = np.asarray(soft(200, 64), np.float32) / 255
    steadier, shimmer = Steadier(), {"raw": 0.0, "steady": 0.0}
    before: dict[str, np.ndarray] = {}
    for step in range(8):
        small = world[:, 2 * step : 2 * step + 128]
        truth = small.repeat(2, axis=0).repeat(2, axis=1)
        raw = np.asarray(truth + random.normal(0, 0.05, truth.shape), np.float32)
        now = {"raw": raw - truth, "steady": steadier.steadied(small, raw) - truth}
        for name, error in now.items():
            if name in before:  # where a thing was, against where it is: 4 large pixels to the left
                shimmer[name] += float(np.abs(error[8:-8, 8:-12] - before[name][8:-8, 12:-8]).mean())
        before = now

    assert shimmer["steady"] < 0.6 * shimmer["raw"]


def test_a_cut_shows_nothing_of_the_picture_before() -> None:
    steadier = Steadier()
    first, second = (np.asarray(soft(64, 48, seed=seed), np.float32) / 255 for seed in (1, 5))
    enlarge = [frame.repeat(2, axis=0).repeat(2, axis=1) for frame in (first, second)]
    steadier.steadied(first, np.asarray(enlarge[0] + np.float32(0.3), np.float32))
    after = steadier.steadied(second, enlarge[1])

    assert np.abs(after - enlarge[1]).mean() < 0.03


@pytest.mark.parametrize("damage", ["missing", "foreign", "shape", "bytes", "config"])
def test_a_checkpoint_that_is_not_the_published_one_is_named(models: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / SWIN2SR.name
    folder.mkdir()
    for file in (models / SWIN2SR.name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = folder / "model.safetensors"
    state = load_file(weights)
    name = "swin2sr.conv_after_body.weight"
    if damage == "bytes":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "config":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "upsampler": "nearest+conv"}))
    else:
        {
            "missing": lambda: state.pop(name),
            "foreign": lambda: state.update(stranger=torch.zeros(2)),
            "shape": lambda: state.update({name: torch.zeros(3, 3)}),
        }[damage]()
        save_file(state, weights, {"format": "pt"})

    with spool_of(soft(32, 32)) as spool, pytest.raises(UpscaleUnreadable) as refused:
        list(upscaled(spool, tmp_path).frames)
    assert refused.value.facts == {"model": SWIN2SR.name}


def test_a_cancel_takes_effect_between_two_frames(tmp_path: Path) -> None:
    def cancel(stage: str, step: int, total: int) -> None:
        assert (stage, total) == ("upscaling", 3)
        if step == 2:
            raise Cancelled

    place = Place(models=tmp_path, device=CPU, dtype=torch.float32, residency=Residency(CPU))
    with spool_of(*(soft(32, 32, seed=i) for i in range(3))) as spool:
        frames = Upscale(place).render(UpscaleRequest(), Sources({}, {"clip": spool}), cancel).frames
        next(frames)
        with pytest.raises(Cancelled):
            next(frames)


def test_what_would_become_too_large_is_refused_with_its_size() -> None:
    sources = {"clip": Shape(1280, 720, 10, Fraction(8))}

    assert UpscaleRequest(factor="x2").gives(sources) == Shape(2560, 1440, 10, Fraction(8))
    with pytest.raises(UpscaleLarge) as refused:
        UpscaleRequest(factor="x4").gives(sources)
    assert refused.value.facts == {"width": 5120, "height": 2880, "limit": 4096}


def test_a_fourfold_costs_five_passes_of_a_twofold() -> None:
    sources = {"clip": Shape(500, 200, 10, Fraction(8))}
    double, fourfold = (UpscaleRequest(factor=factor).work(sources) for factor in ("x2", "x4"))

    assert (double.frames, double.megapixels, double.steps) == (10, 0.1, 1)
    assert fourfold.megapixel_frame_steps == 5 * double.megapixel_frame_steps
