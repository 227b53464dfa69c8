# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The owner's LoRAs: each layout that people publish is added to its networks, and what does not fit is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from inference.settings import AnimateDiffOptions
from inference.systems.animatediff import errors
from inference.systems.animatediff.base.kinds import Family
from inference.systems.animatediff.installed import installed, lora_fault
from inference.systems.animatediff.loras import Lora, merged, open_lora
from inference.systems.animatediff.system import AnimateDiff
from inference.systems.base import Place
from jobs.requests.loras import LoraUnknown
from jobs.texts import word
from tests.animatediff.learning import numbers, same
from tests.animatediff.rendering import LORAS, STYLES, render, request
from tests.tiny_models.loras import ALPHA, RANK, Layout, lora_tensors, low_rank, write_lora
from tests.tiny_models.stable_diffusion import TinyModel, random_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.timeout(300),
]
NETWORKS = {"sd15": ("unet", "text_encoder"), "sdxl": ("unet", "text_encoder", "text_encoder_2")}
LAYOUTS: tuple[Layout, ...] = ("kohya", "kohya with convolutions", "PEFT")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_layer_of_every_layout_is_added_and_taken_away(
    family: Family, layout: Layout, image_models: dict[Family, TinyModel], tmp_path: Path
) -> None:
    model = image_models[family]
    path = write_lora(tmp_path / "style.safetensors", lora_tensors(model, layout, NETWORKS[family]))
    lora = open_lora(path, "lora-style")
    factor = 1.0 if layout == "PEFT" else ALPHA / RANK

    for name in NETWORKS[family]:
        network = model.networks[name]
        before = numbers(network)
        expected = dict(before)
        for layer, down, up in low_rank(model, name, convolutions=layout == "kohya with convolutions"):
            weight = before[f"{layer}.weight"]
            added = up.half().float().flatten(1) @ down.half().float().flatten(1)
            expected[f"{layer}.weight"] = weight + 0.7 * factor * added.reshape(weight.shape)
        with merged(network, [(lora if name == "unet" else lora.of(name), 0.7)]):
            inside = numbers(network)
        for key, at in expected.items():
            torch.testing.assert_close(inside[key], at, rtol=1e-4, atol=1e-5)
        assert same(numbers(network), before)


def test_one_for_the_other_family_does_not_fit(image_models: dict[Family, TinyModel], tmp_path: Path) -> None:
    lora = open_lora(write_lora(tmp_path / "xl.safetensors", lora_tensors(image_models["sdxl"])), "lora-xl")
    network = image_models["sd15"].networks["unet"]
    before = numbers(network)

    with pytest.raises(errors.AnimateDiffLoraDoesNotFit), merged(network, [(lora, 1.0)]):
        pass
    assert same(numbers(network), before)


# --- in a clip ---


@pytest.fixture(scope="module")
def room(place: Place) -> AnimateDiff:
    return AnimateDiff(place)


def test_it_changes_the_clip_and_leaves_nothing_behind(room: AnimateDiff) -> None:
    plain = render(room, request())
    styled = render(room, request(lora="ghibli 0.8"))

    assert not np.array_equal(plain, styled)
    assert not np.array_equal(styled, render(room, request(lora="ghibli -0.8")))
    assert not np.array_equal(styled, render(room, request(lora="ghibli 0.8, words")))
    assert np.array_equal(plain, render(room, request(lora="ghibli 0")))
    assert np.array_equal(styled, render(room, request(prompt="a red cat <lora:Ghibli:0.8>")))
    assert np.array_equal(plain, render(room, request()))


def test_it_is_read_once_for_words_and_frames_and_for_the_next_job(
    room: AnimateDiff, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, model: str) -> Lora:
        read.append(model)
        return open_lora(path, model)

    render(room, request())
    monkeypatch.setattr("inference.systems.animatediff.loras.open_lora", counted)
    for asked in ({"lora": "ghibli"}, {"lora": "ghibli 0.5, words"}, {}, {"lora": "words"}):
        render(room, request(**asked))
    assert read == ["ghibli", "words", "words"], "and let go once nobody wants it"


def test_numbers_that_run_away_are_said_instead_of_a_black_clip(room: AnimateDiff, models: Path, place: Place) -> None:
    file = write_lora(models / "loras" / "huge.safetensors", {name: at * 6e4 for name, at in huge().items()})
    mine = AnimateDiff(replace(place, options={"styles": STYLES, "loras": {"huge": "loras/huge.safetensors"}}))
    try:
        with pytest.raises(errors.AnimateDiffNotFinite) as failed:
            render(mine, request(lora="huge 2", model="stable-diffusion-v1-5"))
        assert word(failed.value)
    finally:
        file.unlink()


def huge() -> Any:
    return {name: at for name, at in lora_tensors(random_model("sd15")).items() if "alpha" not in name}


def test_one_that_is_for_the_words_alone_is_heard(room: AnimateDiff) -> None:
    assert not np.array_equal(render(room, request()), render(room, request(lora="words")))


@pytest.mark.slow
def test_sdxls_take_its_own(room: AnimateDiff) -> None:
    few = {"module": "hotshot-xl", "num_inference_steps": 5, "num_frames": 2}
    plain = render(room, request(**few))

    assert not np.array_equal(plain, render(room, request(**few, lora="sdxl-detail")))
    assert np.array_equal(plain, render(room, request(**few)))


def test_one_that_went_away_or_turned_out_to_be_another_thing_is_named(
    models: Path, tmp_path: Path, place: Place
) -> None:
    mine = replace(place, options={"styles": STYLES, "loras": {"ghibli": "loras/other.safetensors"}})
    room = AnimateDiff(mine)
    file = models / "loras" / "other.safetensors"
    asked = request(lora="ghibli", model="toonyou")
    try:
        for tensors, error in (
            (None, LoraUnknown),
            ({"lora_unet_conv_in.hada_w1_a": torch.ones(4, 4), **tensors_of(32)}, LoraUnknown),
            (broken(lora_up=torch.full((320, 4), float("nan"))), errors.AnimateDiffLoraUnusable),
            (broken(lora_down=torch.ones(0, 32), lora_up=torch.ones(320, 0)), errors.AnimateDiffLoraUnusable),
            ({**tensors_of(32), f"{STEM}.alpha": torch.ones(2)}, errors.AnimateDiffLoraUnusable),
            (tensors_of(7), errors.AnimateDiffLoraDoesNotFit),
        ):
            if tensors:
                write_lora(file, tensors)
            with pytest.raises(error) as failed:
                render(room, asked)
            assert word(failed.value)
    finally:
        file.unlink()


# --- what the owner lists ---


def test_what_is_listed_and_fits_is_offered(models: Path) -> None:
    names = installed(models, {"styles": STYLES, "loras": LORAS})

    assert names is not None
    assert names[-len(LORAS) :] == tuple(f"lora-{name}" for name in LORAS)


STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
DOTTED = "down_blocks.0.attentions.0.transformer_blocks.0"


def tensors_of(context: int, stem: str = STEM) -> Any:
    return {f"{stem}.lora_down.weight": torch.ones(4, context), f"{stem}.lora_up.weight": torch.ones(320, 4)}


def broken(**halves: torch.Tensor) -> Any:
    return tensors_of(32) | {f"{STEM}.{half}.weight": at for half, at in halves.items()}


@pytest.mark.parametrize(
    ("name", "tensors", "fault"),
    [
        ("plain", tensors_of(768), None),
        ("sdxl-plain", tensors_of(2048), None),
        ("plain", tensors_of(2048), "is of SDXL"),
        ("sdxl-plain", tensors_of(768), "is of SD 1.5"),
        ("plain", tensors_of(32, "lora_te2_text_model_encoder_layers_0_mlp_fc1"), "is of SDXL"),
        ("plain", {f"unet.{DOTTED}.attn2.to_k.lora_{half}.weight": torch.ones(4, 2048) for half in "AB"}, "is of SDXL"),
        ("plain", {f"unet.{DOTTED}.attn2.to_k.lora_A.weight": torch.ones(4, 768)}, "not read here"),
        ("plain", {f"base_model.model.{DOTTED}.attn2.to_k.lora_A.weight": torch.ones(4, 768)}, "is no LoRA"),
        ("plain", {**tensors_of(768), "bundle_emb.x.string_to_param.*": torch.ones(4, 768)}, "bundle_emb"),
        ("plain", {"model.diffusion_model.out.2.weight": torch.ones(4, 4)}, "is no LoRA"),
        ("plain", {"down_blocks.0.motion_modules.0.temporal_transformer.x.to_q_lora.down.weight": torch.ones(4, 4)},
         "is no LoRA"),
        ("plain", {**tensors_of(768), "lora_unet_x.dora_scale": torch.ones(4)}, "not read here"),
        ("plain", {"lora_unet_x.hada_w1_a": torch.ones(4, 4)}, "not read here"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_used_is_not_offered_and_the_owner_reads_why(
    name: str, tensors: Any, fault: str | None, tmp_path: Path
) -> None:
    write_lora(tmp_path / "loras" / "a.safetensors", tensors)
    found = lora_fault(tmp_path, name, {"loras": {name: "loras/a.safetensors"}})

    assert found is None if fault is None else fault in (found or "")


HEADERS = (b"", b"{", b"[]", b"null", b'{"a": 1}', b'{"a": {"shape": 3}}', b'{"a": {"shape": ["x"]}}', b"[" * 100_000)


@pytest.mark.parametrize("held", HEADERS, ids=lambda held: repr(held[:24]))
def test_broken_files_are_told(held: bytes, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(len(held).to_bytes(8, "little") + held)

    assert "is cut off" in (lora_fault(tmp_path, "cut", {"loras": {"cut": "cut.safetensors"}}) or "")


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    assert "is no file" in (lora_fault(tmp_path, "gone", {"loras": {"gone": "gone.safetensors"}}) or "")


@pytest.mark.parametrize("where", ["/etc/passwd", "../else.safetensors", "loras/../../else.safetensors"])
def test_only_files_below_the_models_are_read(where: str) -> None:
    with pytest.raises(ValidationError, match=r"must lie below models\.dir"):
        AnimateDiffOptions.model_validate({"loras": {"name": where}})


@pytest.mark.parametrize("name", ["Ghibli", "a b", "-x", "a:b", ""])
def test_names_are_such_as_people_can_type(name: str) -> None:
    with pytest.raises(ValidationError):
        AnimateDiffOptions.model_validate({"loras": {name: "loras/a.safetensors"}})
