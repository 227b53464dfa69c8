# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""The file of a learned motion: it comes back as it was written, says nothing else, or is refused as damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers.models.unets.unet_motion_model import MotionAdapter
from torch import Tensor, nn

from inference.systems.animatediff import errors
from inference.systems.animatediff.learning_errors import LearnedMotionDamaged, LearnedMotionElsewhere, LearningDiverged
from inference.systems.animatediff.learning_file import KEY, MOST_BYTES, About, MotionFile
from inference.systems.animatediff.loras import merged, open_lora
from inference.systems.animatediff.motiondirector import TEMPORAL
from tests.animatediff.learning import PATH, animating, learned, same

pytestmark = pytest.mark.usefixtures("seeded")


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)
    file = learned(unet)
    data = file.to_bytes()

    again = MotionFile.parse(data, "spin")

    assert again.about == file.about
    assert (file.about.module, file.about.rank, file.about.steps, file.about.frames) == ("v3", 4, 2, 8)
    assert {at.dtype for at in again.tensors.values()} == {torch.float16}
    assert same(dict(again.tensors), dict(file.tensors))
    (tmp_path / "spin.safetensors").write_bytes(data)
    pairs, ours = open_lora(tmp_path / "spin.safetensors", "spin").pairs, again.lora("v3", "spin").pairs
    assert pairs.keys() == ours.keys()
    assert sum(".ff." in path for path in pairs) == 2 * 6, "two layers in each of six modules"
    assert sum(".attn" in path for path in pairs) == 2 * 4 * 6


def test_a_file_says_how_it_was_learned_and_nothing_else(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)
    data = learned(unet).to_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])

    assert header["__metadata__"].keys() == {KEY}
    about = json.loads(header["__metadata__"][KEY])
    assert about.keys() == {"format", "module", "rank", "steps", "frames", "seed", "first_loss", "last_loss"}


def test_a_motion_is_refused_on_another_module(tmp_path: Path) -> None:
    """Though its layers may fit: version 1 has version 3's shapes, and other numbers."""
    _, unet = animating(tmp_path)
    file = MotionFile.parse(learned(unet).to_bytes(), "spin")

    for module in ("v1", "v2"):
        with pytest.raises(LearnedMotionElsewhere) as refused:
            file.lora(module, "spin")
        assert refused.value.facts == {"model": "spin", "learned_on": "v3", "module": module}


def test_a_motion_of_version_2_does_not_fit_where_there_is_no_middle(tmp_path: Path) -> None:
    _, second = animating(tmp_path, mid=True)
    lora = learned(second).lora("v3", "spin")
    _, third = animating(tmp_path)

    with pytest.raises(errors.AnimateDiffLoraDoesNotFit), merged(third, [(lora, 1.0)]):
        pass


def about(**changed: Any) -> str:
    facts = {"format": 1, "module": "v3", "rank": 4, "steps": 3, "frames": 8, "seed": 3}
    return json.dumps({**facts, "first_loss": 2.0, "last_loss": 1.0, **changed})


PAIR = {f"{PATH}.down.weight": torch.ones(4, 32), f"{PATH}.up.weight": torch.ones(32, 4)}


def saved(tensors: dict[str, Tensor] = PAIR, metadata: dict[str, str] | None = None) -> bytes:
    return safetensors.torch.save(tensors, metadata=metadata or {KEY: about()})


DAMAGED = {
    "nothing": b"",
    "no file of tensors": b"\x08\x00\x00\x00\x00\x00\x00\x00not json and more",
    "a header without end": b"\xff" * 64,
    "cut off": saved()[:-9],
    "published, of others": saved(metadata={"other": "1"}),
    "of a later format": saved(metadata={KEY: about(format=2)}),
    "with something more": saved(metadata={KEY: about(requester="ann")}),
    "no JSON": saved(metadata={KEY: "{"}),
    "another rank": saved(metadata={KEY: about(rank=8)}),
    "half a pair": saved({f"{PATH}.up.weight": torch.ones(32, 4)}),
    "no numbers": saved({**PAIR, f"{PATH}.up.weight": torch.full((32, 4), float("nan"))}),
    "another kind": saved({"lm_head.weight": torch.ones(2, 2)}),
    "an image model's": saved(
        {
            "lora_unet_mid_block_x.lora_down.weight": torch.ones(4, 2),
            "lora_unet_mid_block_x.lora_up.weight": torch.ones(2, 4),
        }
    ),
    "one pair more": saved({**PAIR, "b.weight": torch.ones(1)}),
    "huge": bytes(MOST_BYTES + 1),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_file_that_is_not_as_it_was_written_is_refused(damage: str) -> None:
    with pytest.raises(LearnedMotionDamaged) as refused:
        MotionFile.parse(DAMAGED[damage], "spin")
    assert refused.value.facts == {"model": "spin"}


def test_the_file_that_is_damaged_above_is_whole_otherwise() -> None:
    assert MotionFile.parse(saved(), "spin").lora("v3", "spin").pairs.keys() == {
        "down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_q"
    }


def test_what_float16_cannot_hold_is_kept_in_float32_and_what_nothing_can_is_refused() -> None:
    facts = About.model_validate_json(about())
    large = {**PAIR, f"{PATH}.up.weight": torch.full((32, 4), 7e4)}

    assert {at.dtype for at in MotionFile.of(facts, PAIR).tensors.values()} == {torch.float16}
    assert {at.dtype for at in MotionFile.of(facts, large).tensors.values()} == {torch.float32}
    for value in ("nan", "inf"):
        with pytest.raises(LearningDiverged):
            MotionFile.of(facts, {**PAIR, f"{PATH}.up.weight": torch.full((32, 4), float(value))})


@pytest.mark.parametrize(("mid", "megabytes"), [(False, 34), (True, 36)])
def test_a_file_of_full_size_is_as_large_as_is_said(mid: bool, megabytes: int) -> None:
    with torch.device("meta"):
        adapter = MotionAdapter(use_motion_mid_block=mid)
    layers = [at for name, at in adapter.named_modules() if isinstance(at, nn.Linear) and TEMPORAL.search(name)]
    count = sum(32 * (layer.in_features + layer.out_features) for layer in layers)

    assert len(layers) == (21 if mid else 20) * 10
    assert round(2 * count / 1e6) == megabytes
    assert 2 * 2 * count < MOST_BYTES, "rank 64, too"
