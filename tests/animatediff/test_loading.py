"""AnimateDiff's files in every published layout, small, and what is refused."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.systems.animatediff import errors
from inference.systems.animatediff.loader import open_motion, open_sparse
from inference.systems.animatediff.loras import open_lora
from jobs.errors import Failure
from tests.animating import (
    CHANNELS,
    CONFIG,
    Tensors,
    half,
    hotshot,
    modules,
    original,
    sparse,
    with_tables,
    write,
)

pytestmark = pytest.mark.usefixtures("seeded")


LAYOUTS: dict[str, tuple[str, str, Callable[[Tensors], Any]]] = {
    "v14, v15": ("mm_sd_v15.ckpt", "v1", lambda at: original(at, 24)),
    "v14, v15 without tables": ("mm_sd_v14.ckpt", "v1", original),
    "v2": ("mm_sd_v15_v2.ckpt", "v2", lambda at: original(at, 32)),
    "v3": ("v3_sd15_mm.ckpt", "v3", lambda at: {"state_dict": original(at, 32), "animatediff_config": CONFIG}),
    "v3, config inside": ("v3_sd15_mm.ckpt", "v3", lambda at: {**original(at, 32), "animatediff_config": CONFIG}),
    "v3 without tables": ("v3_sd15_mm.ckpt", "v3", lambda at: {"epoch": 3, "state_dict": original(at)}),
    "of several cards": ("mm.pth", "v2", lambda at: {f"module.{name}": value for name, value in original(at).items()}),
    "Lightning": ("animatediff_lightning_4step_diffusers.safetensors", "v2", half),
    "Lightning, ComfyUI": ("animatediff_lightning_4step_comfyui.safetensors", "v2", lambda at: half(original(at))),
    "AnimateLCM": ("AnimateLCM_sd15_t2v.ckpt", "v2", original),
    "diffusers": ("diffusion_pytorch_model.safetensors", "v2", with_tables),
    "SDXL beta": ("mm_sdxl_v10_beta.ckpt", "sdxl", lambda at: original(at, 32)),
    "Hotshot-XL": ("hsxl_temporal_layers.f16.safetensors", "sdxl", lambda at: half(hotshot(at))),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_is_read(layout: str, tmp_path: Path) -> None:
    name, version, as_published = LAYOUTS[layout]
    tensors = modules((32, 64, 64) if version == "sdxl" else CHANNELS, mid=version == "v2")

    motion = open_motion(write(tmp_path / name, as_published(tensors)), "mine")

    exact = "f16" not in name and "Lightning" not in layout
    assert motion.version == version
    assert motion.sizes.positions == (24 if version == "v1" or layout == "Hotshot-XL" else 32)
    assert motion.tensors.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert torch.equal(motion.tensors[key], tensor if exact else tensor.half()), key


def test_whoever_knows_better_says_the_version(tmp_path: Path) -> None:
    """A version 1 of one's own, without tables and under another name, cannot be told from version 3."""
    path = write(tmp_path / "mine.ckpt", original(modules(mid=False)))

    assert open_motion(path, "mine").version == "v3"
    told = open_motion(path, "mine", "v1")
    assert (told.version, told.sizes.positions) == ("v1", 24)


SPARSE_LAYOUTS: list[tuple[str, Callable[[Tensors], Any]]] = [
    ("v3_sd15_sparsectrl.ckpt", lambda at: {"controlnet": original(at, 32), "animatediff_config": CONFIG}),
    ("v3_sd15_sparsectrl.ckpt", lambda at: original(at, 32)),
    ("diffusion_pytorch_model.safetensors", with_tables),
]


@pytest.mark.parametrize("kind", ["rgb", "scribble"])
@pytest.mark.parametrize(("name", "as_published"), SPARSE_LAYOUTS)
def test_sparsectrl_is_read_in_every_layout(
    kind: str, name: str, as_published: Callable[[Tensors], Any], tmp_path: Path
) -> None:
    learned = dict(sparse(kind).named_parameters())
    tensors = {key: tensor.detach() for key, tensor in learned.items()}

    network = open_sparse(write(tmp_path / name, as_published(tensors)), "mine", torch.float32)

    assert all(torch.equal(tensor, tensors[key]) for key, tensor in network.named_parameters())
    assert network.config["use_simplified_condition_embedding"] == (kind == "rgb")


# -- refused --


def test_nothing_is_run_that_a_pickle_says(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "run",)

    path = tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "evil2.ckpt")

    for name in ("evil.ckpt", "evil2.ckpt"):
        with pytest.raises(errors.AnimateDiffUnreadable):
            open_motion(tmp_path / name, "evil")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors"])
@pytest.mark.parametrize("cut", [0, 9, 4000])
def test_a_file_that_is_cut_off_is_refused(name: str, cut: int, tmp_path: Path) -> None:
    path = write(tmp_path / name, original(modules(), 32))
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(errors.AnimateDiffUnreadable) as refused:
        open_motion(path, "mine")
    assert refused.value.facts == {"model": "mine", "file": name}


@pytest.mark.parametrize("held", [[1, 2], {"epoch": 3}, {"state_dict": {}}, torch.zeros(2)])
def test_a_file_without_tensors_by_name_is_refused(held: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.AnimateDiffUnreadable):
        open_motion(write(tmp_path / "a.ckpt", held), "mine")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.ckpt", "a.safetensors"):
        with pytest.raises(errors.AnimateDiffUnreadable):
            open_lora(tmp_path / name, "mine")


def both_layouts(tensors: Tensors) -> Tensors:
    return {**tensors, **original(dict(list(tensors.items())[:5]))}


def unequal_tables(tensors: Tensors) -> Tensors:
    tables = original(tensors, 32)
    name = next(key for key in tables if key.endswith(".pe"))
    return {**tables, name: torch.zeros(1, 24, 32)}


def bare(key: str, *shape: int) -> Tensors:
    return {key: torch.zeros(shape)}


NOT_PUBLISHED: list[tuple[Callable[[Tensors], Tensors], str]] = [
    (both_layouts, "animatediff_unknown_tensors"),
    (unequal_tables, "animatediff_wrong_shape"),
    (lambda at: {**bare("conv_in.weight", 32, 9, 3, 3), **original(at)}, "animatediff_unknown_tensors"),
    (lambda at: {**original(at), **bare("up_blocks.2.motion_modules.0.norm.bias", 3)}, "animatediff_unknown_tensors"),
    (lambda _: bare("lm_head.weight", 2, 2), "animatediff_foreign"),
    (lambda at: {key: value for key, value in at.items() if key.startswith("up")}, "animatediff_missing_tensors"),
]


@pytest.mark.parametrize(("change", "code"), NOT_PUBLISHED)
def test_what_is_not_the_published_file_is_refused(
    change: Callable[[Tensors], Tensors], code: str, tmp_path: Path
) -> None:
    """PIA, with its own first convolution, among them: it is not supported here."""
    with pytest.raises(Failure) as refused:
        open_motion(write(tmp_path / "a.ckpt", change(modules())), "mine")
    assert refused.value.code == code
