"""Stable Video Diffusion's checkpoints: both published layouts, and what is refused of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.systems.svd.loader import open_checkpoint
from inference.systems.svd.weights import SVD, UNET, VAE
from jobs.errors import Failure
from jobs.texts import word
from tests.svd_clips import render, request, system
from tests.tiny_models.svd import random_svd, write_hub, write_single

pytestmark = [
    # diffusers 0.42's EulerDiscreteScheduler hands tensors to numpy 2's `array` in a way that numpy means to end.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


def test_both_published_layouts_give_the_same_frames(tmp_path: Path) -> None:
    svd = random_svd(seed=11, num_frames=14)
    write_hub(tmp_path / "folder" / "svd", svd)
    write_single(tmp_path / "file" / "svd" / "svd.safetensors", svd)

    folder, file = (render(system(tmp_path / name), request()) for name in ("folder", "file"))
    assert np.array_equal(folder, file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole `svd` folder, to be spoiled."""
    write_hub(tmp_path / "svd", random_svd(seed=1, num_frames=14))
    return tmp_path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A whole `svd.safetensors`, to be spoiled."""
    path = tmp_path / "svd" / "svd.safetensors"
    write_single(path, random_svd(seed=1, num_frames=14))
    return path


def refusal(models: Path) -> str:
    """The sentence with which the checkpoint `svd` is refused."""
    with pytest.raises(Failure) as refused:
        open_checkpoint(SVD, models)
    return word(refused.value)


def test_a_file_that_is_cut_off_is_refused(folder: Path) -> None:
    whole = (folder / "svd" / UNET).read_bytes()
    (folder / "svd" / UNET).write_bytes(whole[: len(whole) // 2])

    sentence = refusal(folder)
    assert "damaged" in sentence
    assert "diffusion_pytorch_model.fp16.safetensors" in sentence
    assert "models verify svd" in sentence


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b'{"block_out_channels": 3}'])
def test_a_config_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "svd" / "unet" / "config.json").write_bytes(content)

    assert "config.json cannot be read" in refusal(folder)


def test_a_single_file_that_is_something_else_is_refused(file: Path) -> None:
    save_file({"model.weight": torch.zeros(2)}, file)
    assert "svd.safetensors cannot be read" in refusal(file.parents[1])

    torch.save({"model.weight": torch.zeros(2)}, file)
    assert "svd.safetensors cannot be read" in refusal(file.parents[1])


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_an_extra_tensor_is_refused(layout: str, fixture_request: Path) -> None:
    path = fixture_request
    tensors = load_file(path)
    save_file({**tensors, "extra.weight": torch.zeros(2)}, path)

    sentence = refusal(models_of(path))
    assert "1 tensors that do not belong" in sentence
    assert "`extra.weight`" in sentence


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_a_missing_tensor_is_refused(layout: str, fixture_request: Path) -> None:
    path = fixture_request
    tensors = load_file(path)
    del tensors[next(name for name in tensors if "decoder.conv_in" in name and "embedders" not in name)]
    save_file(tensors, path)

    assert "decoder.conv_in" in refusal(models_of(path))


@pytest.mark.parametrize("layout", ["folder", "file"])
def test_a_tensor_of_another_size_is_refused(layout: str, fixture_request: Path) -> None:
    path = fixture_request
    tensors = load_file(path)
    name = next(name for name in tensors if "decoder.conv_in.bias" in name and "embedders" not in name)
    save_file({**tensors, name: torch.zeros(7)}, path)

    assert "has another size" in refusal(models_of(path))


@pytest.fixture
def fixture_request(layout: str, request: pytest.FixtureRequest) -> Path:
    """The file to spoil, in either layout."""
    made: Path = request.getfixturevalue(layout)
    return made / "svd" / VAE if layout == "folder" else made


def models_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / "svd").is_dir())


def test_leftover_position_ids_of_older_transformers_are_passed_over(folder: Path) -> None:
    path = folder / "svd" / "image_encoder" / "model.fp16.safetensors"
    save_file({**load_file(path), "vision_model.embeddings.position_ids": torch.arange(50)[None]}, path)

    assert render(system(folder), request()).shape == (4, 48, 88, 3)
