"""Smooth's networks: large pictures, half precision, and published files, none of them trusted."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.systems.base import PLENTY
from inference.systems.rife.driver import FilmMaker, RifeMaker, feather, scale_for, spans
from inference.systems.rife.errors import SmoothForeign, SmoothUnreadable
from inference.systems.rife.film import Film
from inference.systems.rife.ifnet import IFNet, blend
from inference.systems.rife.loader import load_film, load_rife, recognised, rife_tensors, script_tensors, shapes_of
from inference.systems.rife.versions import VERSIONS, version_in
from inference.systems.rife.weights import FILM, RIFE_4_7, RIFE_4_26
from tests import references
from tests.smoothing import CPU, moving, place
from tests.tiny_models.rife import tiny_film, tiny_rife, training_file, write_film, write_rife

REFERENCE = references.FOLDER
MANIFESTS = REFERENCE / "rife" / "manifest"
published = pytest.mark.skipif(not MANIFESTS.is_dir(), reason=f"no manifests in {MANIFESTS}; set ZOETROPE_GOLDENS")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tiny checkpoints."""
    folder = tmp_path_factory.mktemp("models")
    write_rife(folder)
    write_film(folder)
    return folder


# -- large pictures --


@given(st.integers(1, 5000), st.integers(300, 1024))
def test_tiles_cover_everything_and_overlap(length: int, tile: int) -> None:
    parts = spans(length, tile, 128)

    assert parts[0].start == 0
    assert parts[-1].stop == length
    assert all(part.stop - part.start == min(tile, length) for part in parts)
    assert all(before.stop - after.start >= 128 for before, after in pairwise(parts))
    total = torch.zeros(length)
    for part in parts:
        total[part] += feather(part, length, CPU)
    assert total.min() > 0.4


def test_film_in_tiles_is_film_whole(models: Path) -> None:
    """But for what lies farther than the overlap, which a random network hardly looks at."""
    first, second = moving(2, (320, 200))
    whole, tiled = (FilmMaker(place(models), FILM, PLENTY) for _ in range(2))
    tiled.tile = 256
    [one], [other] = (list(maker.between(first, second, [0.5])) for maker in (whole, tiled))

    assert np.abs(one.astype(int) - other).mean() < 3
    assert one.std() > 5, "there is a picture"


def test_large_clips_look_for_motion_at_a_smaller_size() -> None:
    assert [scale_for(*size) for size in ((1920, 1080), (3840, 2160), (2160, 3840), (7680, 4320))] == [
        1,
        0.5,
        0.5,
        0.25,
    ]


def middle(network: IFNet, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The frame between two, `[1, 3, H, W]` in 0 … 1."""
    return blend(first, second, *network.motion(network.pair(first, second), 0.5))


def test_half_precision_is_close_to_full() -> None:
    """The head and blocks in float16, coordinates in float32: what a GPU does."""
    network = tiny_rife().requires_grad_(requires_grad=False)
    first, second = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in moving(2, (128, 64)))
    full = middle(network, first, second)
    half = middle(network.half(), first.half(), second.half())

    assert half.dtype == torch.float16
    assert float((half.float() - full).abs().max()) < 0.02


def test_the_oldest_look_again_at_fast_motion() -> None:
    """4.0 and 4.1 double their scales where both flows exceed 32 pixels; the same blocks without the rule do not."""
    network = tiny_rife("4.0")
    with torch.no_grad():
        network.get_submodule("block1").get_parameter("lastconv.bias")[:4] = 40.0
    calm = IFNet(VERSIONS["4.0"].narrowed(8))
    calm.version = replace(calm.version, doubles=False)
    calm.load_state_dict(network.state_dict())
    first, second = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in moving(2, (128, 64)))
    asked: list[float] = []
    network.get_submodule("block0").register_forward_pre_hook(lambda _, given: asked.append(given[2]))
    again = middle(network, first, second)

    assert asked == [8, 16]
    assert not torch.equal(again, middle(calm, first, second))


# -- files --


@published
@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_has_the_published_names_and_shapes(name: str) -> None:
    manifest = json.loads((MANIFESTS / "versions.json").read_text("utf-8"))
    assert manifest.keys() == VERSIONS.keys()
    tensors = json.loads((MANIFESTS / manifest[name]).read_text("utf-8"))["tensors"]
    wanted = {key.removeprefix("module."): tuple(shape) for key, (shape, _) in tensors.items()}

    assert shapes_of(VERSIONS[name]) == wanted
    found = recognised(wanted, f"flownet_v{name}.pkl")
    assert found is not None
    assert found == VERSIONS[name]


@published
def test_film_has_the_published_names_and_shapes() -> None:
    tensors = json.loads((MANIFESTS / "film_net.json").read_text("utf-8"))["tensors"]
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in Film().state_dict().items()}

    assert ours == {name: tuple(shape) for name, (shape, _) in tensors.items()}


def test_of_versions_with_the_same_tensors_the_name_decides_and_else_the_newest() -> None:
    shapes = shapes_of(VERSIONS["4.25"])

    for names, name in (
        (("flownet_v4.25.pkl",), "4.25"),
        (("flownet.pkl", "rife-4.25"), "4.25"),
        (("flownet.pkl",), "4.26"),
        (("rife47.pth",), "4.26"),
    ):
        found = recognised(shapes, *names)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("flownet_v4.26.pkl", "4.26"),
        ("rife47.pth", "4.7"),
        ("rife417.pth", "4.17"),
        ("rife426_heavy.pth", "4.26.heavy"),
        ("flownet_v4.25.lite.pkl", "4.25.lite"),
        ("RIFEv4.26_0921.zip", "4.26"),
        ("rife-4.9", "4.9"),
        ("flownet.pkl", None),
        ("rife46.pth", "4.6"),
        ("model14.26", None),
        ("rife499.pth", None),
    ],
)
def test_names_that_speak_of_a_version(text: str, version: str | None) -> None:
    assert version_in(text) == version


@pytest.mark.parametrize("version", ["4.0", "4.4", "4.6", "4.7", "4.12", "4.22", "4.25.lite", "4.26.heavy"])
@pytest.mark.parametrize("layout", ["module", "bare"])
def test_every_published_form_is_read_and_recognised(tmp_path: Path, version: str, layout: str) -> None:
    network = tiny_rife(version)
    path = tmp_path / f"flownet_v{version}.pkl"
    torch.save(training_file(network) if layout == "module" else network.state_dict(), path)
    tensors = rife_tensors("rife", path)
    found = recognised({name: tuple(tensor.shape) for name, tensor in tensors.items()}, path.name)

    assert found is not None
    assert found.name == version
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())


def test_the_archive_that_was_never_run_gives_what_running_it_would(models: Path) -> None:
    path = models / "film" / "film_net_fp32.pt"
    ours, wanted = script_tensors("film", path), tiny_film().state_dict()

    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in wanted.items())
    network = load_film(FILM, models, torch.float32)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in network.state_dict().items())


class _Trap:
    """Unpickled as such, it would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def _zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _bad_files(mark: Path) -> dict[str, bytes]:
    good = io.BytesIO()
    torch.save(training_file(tiny_rife()), good)
    trap = io.BytesIO()
    torch.save({"module.block0": _Trap(mark)}, trap)
    inner = io.BytesIO()
    torch.save([1, 2, 3], inner)
    return {
        "cut off": good.getvalue()[:-2000],
        "empty": b"",
        "text": b"<html>not found</html>" * 50,
        "a trap": trap.getvalue(),
        "a bare trap": pickle.dumps(_Trap(mark)),
        "a trap in a release": _zipped({"train_log/flownet.pkl": trap.getvalue()}),
        "a trap as a program": _zipped({"a/data.pkl": pickle.dumps(_Trap(mark)), "a/version": b"3"}),
        "a list": inner.getvalue(),
        "an empty archive": _zipped({}),
        "a storage of another size": _zipped({"a/data.pkl": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x09tQ.", "a/data/0": b"\0" * 8}),  # noqa: E501
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(_bad_files(Path("none"))))
@pytest.mark.parametrize("read", [rife_tensors, script_tensors])
def test_no_stranger_s_file_does_anything(
    tmp_path: Path, kind: str, read: Callable[[str, Path], dict[str, torch.Tensor]]
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "flownet.pkl"
    path.write_bytes(_bad_files(mark)[kind])

    with pytest.raises(SmoothUnreadable) as refused:
        read("rife-4.26", path)
    assert refused.value.facts == {"model": "rife-4.26", "file": "flownet.pkl"}
    assert not mark.exists()


@pytest.mark.parametrize("read", [rife_tensors, script_tensors])
def test_what_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[str, Path], dict[str, torch.Tensor]]
) -> None:
    path = tmp_path / "flownet.pkl"
    path.write_bytes(_zipped({"a/data.pkl": b"\0" * 3_000_000, "train_log/flownet.pkl": b"\0"}))
    monkeypatch.setattr("inference.systems.rife.loader.MOST_BYTES", 1_000_000)
    assert path.stat().st_size < 1_000_000

    with pytest.raises(SmoothUnreadable):
        read("rife-4.26", path)


def test_a_foreign_checkpoint_is_named(tmp_path: Path, models: Path) -> None:
    folder = tmp_path / RIFE_4_7.name
    folder.mkdir()
    torch.save({**tiny_rife().state_dict(), "contextnet.conv1.weight": torch.zeros(2, 2)}, folder / "rife47.pth")
    with pytest.raises(SmoothForeign) as refused:
        load_rife(RIFE_4_7, tmp_path, torch.float32)
    assert refused.value.facts == {"model": "rife-4.7", "file": "rife47.pth"}

    (tmp_path / FILM.name).mkdir()
    (tmp_path / FILM.name / "film_net_fp32.pt").write_bytes(
        _zipped({"a/data.pkl": b"\x80\x02c__torch__\nOther\n)\x81}b."})
    )
    with pytest.raises(SmoothForeign):
        load_film(FILM, tmp_path, torch.float32)


def test_the_installed_release_archive_is_rife_4_26(models: Path) -> None:
    maker = RifeMaker(place(models), RIFE_4_26, PLENTY)

    assert maker.label == "RIFE 4.26"
