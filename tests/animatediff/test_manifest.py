"""Our full-size AnimateDiff modules against the published files' names and shapes, without a single number."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from inference.systems.animatediff import errors
from inference.systems.animatediff.architecture import Config
from inference.systems.animatediff.keymap import SPARSE_CONTROL
from inference.systems.animatediff.loader import (
    Motion,
    TensorFile,
    build_unet,
    compare,
    motion_in,
    parameters_of,
    shapes_of,
    sparse_in,
)
from inference.systems.animatediff.loras import Lora, lora_in, merged
from jobs.errors import Failure
from tests import references

FOLDER = references.FOLDER / "animatediff" / "manifest"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no manifests in {FOLDER}; set ZOETROPE_GOLDENS to the folder that holds them"
)

SD15: Config = {
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL: Config = {
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""The hub's configs, as far as they differ from the class's own defaults."""

MOTION = {
    "mm_sd_v14__mm_sd_v15": ("v1", 24, SD15),
    "mm_sd_v15_v2": ("v2", 32, SD15),
    "v3_sd15_mm": ("v3", 32, SD15),
    "mm_sdxl_v10_beta": ("sdxl", 32, SDXL),
    "hotshotxl_temporal_layers": ("sdxl", 24, SDXL),
    "diffusers_motion_adapter_v2_and_lightning": ("v2", 32, SD15),
    "diffusers_motion_adapter_v3": ("v3", 32, SD15),
}
"""Layout → version, positions, and what it belongs on."""
SPARSE = ("v3_sd15_sparsectrl_rgb", "v3_sd15_sparsectrl_scribble")
LORAS = ("v2_lora_motion", "v3_sd15_adapter")


def manifest(name: str) -> dict[str, Tensor]:
    """Tensors without numbers."""
    tensors = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["tensors"]
    return {
        key: torch.empty(shape, device="meta", dtype=getattr(torch, kind)) for key, (shape, kind) in tensors.items()
    }


def as_file(name: str, tensors: dict[str, Tensor] | None = None) -> TensorFile:
    return TensorFile(name, f"{name}.ckpt", tensors or manifest(name))


@cache
def motion(name: str) -> Motion:
    return motion_in(as_file(name))


@cache
def unet(name: str) -> Any:
    """Full size, with its motion modules."""
    return build_unet(MOTION[name][2], motion(name))


def test_every_manifest_is_looked_at() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*MOTION, *SPARSE, *LORAS}


@pytest.mark.parametrize("name", [name for name in MOTION if name.startswith("diffusers")])
def test_diffusers_own_modules_have_the_published_names(name: str) -> None:
    """Tables and all; and what we keep of such a file is all but the tables."""
    published = shapes_of(manifest(name))

    assert shapes_of(motion(name).adapter.state_dict()) == published
    assert shapes_of(motion(name).tensors) == {key: at for key, at in published.items() if not key.endswith(".pe")}


@pytest.mark.parametrize("name", MOTION)
def test_a_file_of_motion_modules_fills_every_parameter(name: str) -> None:
    """`motion_in` compares names and shapes; said again here, with what the file is taken for."""
    version, positions, _ = MOTION[name]

    assert shapes_of(motion(name).tensors) == parameters_of(motion(name).adapter)
    assert (motion(name).version, motion(name).sizes.positions) == (version, positions)
    tables = {at[1] for key, at in shapes_of(motion(name).adapter.state_dict()).items() if key.endswith(".pe")}
    assert tables == {positions}


@pytest.mark.parametrize(
    ("original", "ours"),
    [("mm_sd_v15_v2", "diffusers_motion_adapter_v2_and_lightning"), ("v3_sd15_mm", "diffusers_motion_adapter_v3")],
)
def test_the_original_becomes_what_diffusers_publishes(original: str, ours: str) -> None:
    assert shapes_of(motion(original).tensors) == shapes_of(motion(ours).tensors)


@pytest.mark.parametrize("name", MOTION)
def test_image_model_and_motion_modules_fill_the_whole_unet(name: str) -> None:
    config = MOTION[name][2]
    with torch.device("meta"):
        base = UNet2DConditionModel(**config)

    assert {**parameters_of(base), **shapes_of(motion(name).tensors)} == parameters_of(unet(name))


@pytest.mark.parametrize(("name", "config"), [("mm_sdxl_v10_beta", SD15), ("mm_sd_v15_v2", SDXL)])
def test_modules_for_another_image_model_are_refused(name: str, config: Config) -> None:
    with pytest.raises(errors.AnimateDiffWrongBase) as refused:
        build_unet(config, motion(name))
    assert refused.value.facts["model"] == name


@pytest.mark.parametrize("name", SPARSE)
def test_a_sparsectrl_file_fills_every_parameter(name: str) -> None:
    file = as_file(name)
    network = sparse_in_shape(file)

    compare(file, shapes_of(file.renamed(SPARSE_CONTROL, "SparseCtrl")), parameters_of(network))
    assert network.config["use_simplified_condition_embedding"] == name.endswith("rgb")
    assert network.config["conditioning_channels"] == (4 if name.endswith("rgb") else 3)
    assert network.config["motion_max_seq_length"] == 32


def sparse_in_shape(file: TensorFile) -> Any:
    """Filled with nothing, on the meta device: only names and shapes are compared."""
    return sparse_in(file, torch.float32)


def pairs(name: str) -> Lora:
    return lora_in(as_file(name))


def test_a_motion_lora_has_its_place_in_all_modules_of_version_2() -> None:
    """21 modules, two attentions each, four matrices each."""
    lora = pairs("v2_lora_motion")

    assert len(lora.pairs) == 21 * 2 * 4
    assert {pair.down.shape[0] for pair in lora.pairs.values()} == {64}
    with merged(unet("mm_sd_v15_v2"), [(lora, 1.0)]):
        pass


def test_a_motion_lora_does_not_fit_version_3() -> None:
    """Its middle has no modules. What fits is not merged then either: half a LoRA is none."""
    with (
        pytest.raises(errors.AnimateDiffLoraDoesNotFit) as refused,
        merged(unet("v3_sd15_mm"), [(pairs("v2_lora_motion"), 1.0)]),
    ):
        pass
    assert str(refused.value.facts["example"]).startswith("mid_block.")
    assert refused.value.facts["count"] == 2 * 4


@pytest.mark.parametrize("name", ["mm_sd_v14__mm_sd_v15", "mm_sd_v15_v2", "v3_sd15_mm"])
def test_the_domain_adapter_has_its_place_in_every_sd15(name: str) -> None:
    """16 spatial transformers, two attentions each, four matrices each."""
    lora = pairs("v3_sd15_adapter")

    assert len(lora.pairs) == 16 * 2 * 4
    assert {pair.down.shape[0] for pair in lora.pairs.values()} == {128}
    with merged(unet(name), [(lora, 1.0)]):
        pass


def test_the_domain_adapter_does_not_fit_sdxl() -> None:
    with (
        pytest.raises(errors.AnimateDiffLoraDoesNotFit),
        merged(unet("mm_sdxl_v10_beta"), [(pairs("v3_sd15_adapter"), 1.0)]),
    ):
        pass


# -- one tensor off --


def _without(tensors: dict[str, Tensor], key: str) -> None:
    del tensors[key]


def _added(tensors: dict[str, Tensor], key: str) -> None:
    tensors[f"{key}.more"] = torch.empty(1, device="meta")


def _resized(tensors: dict[str, Tensor], key: str) -> None:
    shape = tensors[key].shape
    tensors[key] = torch.empty((*shape[:-1], shape[-1] + 1), device="meta")


def _opened(name: str, tensors: dict[str, Tensor]) -> object:
    file = as_file(name, tensors)
    return motion_in(file) if name in MOTION else sparse_in_shape(file) if name in SPARSE else lora_in(file)


@pytest.mark.parametrize("which", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", [*MOTION, *SPARSE])
@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (_without, {"animatediff_missing_tensors"}),
        (_added, {"animatediff_unknown_tensors"}),
        # A size that others follow from is believed; then the others are the ones that are wrong.
        (_resized, {"animatediff_wrong_shape"}),
    ],
)
def test_one_tensor_off_and_the_file_is_refused(
    change: Callable[[dict[str, Tensor], str], None], kinds: set[str], name: str, which: float
) -> None:
    tensors = manifest(name)
    learned = [key for key in tensors if not key.endswith((".pe", ".positional_encoding"))]
    change(tensors, learned[int(which * len(learned))])

    with pytest.raises(Failure) as refused:
        _opened(name, tensors)
    assert refused.value.code in kinds


@pytest.mark.parametrize("name", LORAS)
@pytest.mark.parametrize(("change", "code"), [(_without, "missing_tensors"), (_added, "unknown_tensors")])
def test_half_a_pair_or_one_name_more_and_a_lora_is_refused(
    change: Callable[[dict[str, Tensor], str], None], code: str, name: str
) -> None:
    tensors = manifest(name)
    change(tensors, list(tensors)[7])

    with pytest.raises(Failure) as refused:
        _opened(name, tensors)
    assert refused.value.code == f"animatediff_{code}"


@pytest.mark.parametrize(
    ("name", "other"),
    [("mm_sd_v15_v2", sparse_in_shape), ("mm_sd_v15_v2", lora_in), ("v2_lora_motion", motion_in),
     ("v3_sd15_adapter", motion_in), ("v3_sd15_sparsectrl_rgb", lora_in)],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused_as_such(name: str, other: Callable[[TensorFile], object]) -> None:
    with pytest.raises(errors.AnimateDiffForeign) as refused:
        other(as_file(name))
    assert refused.value.facts["example"]
