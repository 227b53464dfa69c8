# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""LoRAs of every manner, together and one after another, in a network that keeps nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inference.systems.animatediff import errors
from inference.systems.animatediff.loras import merged, open_lora
from tests.animatediff.learning import PATH, animating, learned, numbers, same, traces
from tests.animating import write

pytestmark = pytest.mark.usefixtures("seeded")


def pair(path: str, halves: tuple[str, str], rank: int = 4, width: int = 32) -> dict[str, Tensor]:
    return {f"{path}{halves[0]}": torch.randn(rank, width), f"{path}{halves[1]}": torch.randn(width, rank)}


FEED_FORWARD = {
    "as ours": ("temporal_transformer.transformer_blocks.0.ff.net.2_lora", (".down.weight", ".up.weight")),
    "hub": ("transformer_blocks.0.ff.net.2_lora", (".down.weight", ".up.weight")),
    "diffusers": ("transformer_blocks.0.ff.net.2.lora", (".down.weight", ".up.weight")),
    "PEFT": ("transformer_blocks.0.ff.net.2.lora", ("_A.weight", "_B.weight")),
}


@pytest.mark.parametrize("prefix", ["", "unet."])
@pytest.mark.parametrize("layout", FEED_FORWARD)
def test_feed_forwards_are_read_in_every_manner(layout: str, prefix: str, tmp_path: Path) -> None:
    rest, halves = FEED_FORWARD[layout]
    tensors = pair(f"{prefix}down_blocks.0.motion_modules.0.{rest}", halves, width=128)
    tensors = {name: at if at.shape[0] == 4 else at[:32] for name, at in tensors.items()}
    lora = open_lora(write(tmp_path / "a.safetensors", tensors), "spin")
    _, unet = animating(tmp_path)
    weight: Tensor = unet.get_parameter("down_blocks.0.motion_modules.0.transformer_blocks.0.ff.net.2.weight")
    before = weight.detach().clone()

    down, up = tensors.values()
    with merged(unet, [(lora, -0.5)]):
        torch.testing.assert_close(weight.detach(), before - 0.5 * up @ down)
    assert torch.equal(weight, before)


def camera(tmp_path: Path, name: str, rank: int) -> Any:
    """As published, on one attention of each of two modules."""
    halves = ("_lora.down.weight", "_lora.up.weight")
    stems = [PATH.replace("to_q_lora", layer) for layer in ("to_q", "to_k", "to_v")]
    tensors = {key: at for stem in stems for key, at in pair(stem, halves, rank).items()}
    return open_lora(write(tmp_path / f"{name}.ckpt", {"state_dict": tensors}), name)


def adapter(tmp_path: Path) -> Any:
    halves = ("_lora.down.weight", "_lora.up.weight")
    stem = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q"
    return open_lora(write(tmp_path / "adapter.ckpt", pair(stem, halves, 16)), "adapter")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_cameras_a_learned_motion_and_the_adapter_together_are_their_sum(tmp_path: Path, dtype: torch.dtype) -> None:
    """The image model that lent its matrices sees nothing of it, neither within nor after."""
    base, unet = animating(tmp_path, dtype)
    chosen = [(camera(tmp_path, f"camera {number}", 2 + number), 0.2 * number - 0.7) for number in range(8)]
    chosen += [(learned(unet).lora("v3", "spin"), 1.3), (adapter(tmp_path), 0.8)]
    before, before_base, places = numbers(unet), numbers(base), traces(unet)
    expected = {name: at.double() for name, at in before.items()}
    for lora, strength in chosen:
        for path, each in lora.pairs.items():
            expected[f"{path}.weight"] += strength * each.up.double() @ each.down.double()

    with merged(unet, chosen):
        inside = numbers(unet)
        assert same(numbers(base), before_base)

    tolerance = 1e-5 if dtype == torch.float32 else 5e-3
    for name, at in inside.items():
        torch.testing.assert_close(at.double(), expected[name], rtol=tolerance, atol=tolerance)
    assert sum(not torch.equal(at, before[name]) for name, at in inside.items()) == 6 * 10 + 1
    assert same(numbers(unet), before)
    assert traces(unet) == places, "in the very same memory, shared as before"


def test_one_motion_then_another_then_the_first_again(tmp_path: Path) -> None:
    _, unet = animating(tmp_path, torch.float16)
    one, other = camera(tmp_path, "in", 4), camera(tmp_path, "left", 4)

    def within(lora: Any, strength: float) -> dict[str, Tensor]:
        with merged(unet, [(lora, strength)]):
            return numbers(unet)

    first, second, third = within(one, 0.7), within(other, -1.0), within(one, 0.7)
    assert same(first, third)
    assert not same(first, second)


def test_at_a_strength_of_0_nothing_is_done_nor_asked(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)
    places = traces(unet)
    for lora in (camera(tmp_path, "in", 4), learned(animating(tmp_path, mid=True)[1]).lora("v3", "of version 2")):
        with merged(unet, [(lora, 0.0)]):
            assert traces(unet) == places


@pytest.mark.parametrize("made_in", [False, True])
@pytest.mark.parametrize("used_in", [False, True])
def test_inference_mode_is_no_hindrance(tmp_path: Path, made_in: bool, used_in: bool) -> None:
    with torch.inference_mode(made_in):
        _, unet = animating(tmp_path)
        unet.load_state_dict({name: at.clone() for name, at in unet.state_dict().items()}, assign=True)
        lora = camera(tmp_path, "in", 4)
    before = numbers(unet)

    with torch.inference_mode(used_in), merged(unet, [(lora, 1.0)]):
        assert not same(numbers(unet), before)
    assert same(numbers(unet), before)


def test_kohyas_files_have_a_part_for_the_words(tmp_path: Path) -> None:
    """Under the names that transformers' own text encoder had, and has."""
    halves = (".lora_down.weight", ".lora_up.weight")
    held = {
        **pair("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", halves),
        **pair("lora_te_text_model_encoder_layers_0_self_attn_q_proj", halves),
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha": torch.tensor(1.0),
    }
    lora = open_lora(write(tmp_path / "style.safetensors", held), "style")
    _, unet = animating(tmp_path)
    down, up = list(held.values())[2:4]

    for nested in (False, True):
        path = "text_model.encoder.layers.0" if nested else "encoder.layers.0"
        encoder = named({f"{path}.self_attn.q_proj": nn.Linear(32, 32)})
        weight: Tensor = encoder.get_parameter(f"{path}.self_attn.q_proj.weight")
        before = weight.detach().clone()
        with merged(encoder, [(lora.of("text_encoder"), 2.0)]):
            torch.testing.assert_close(weight.detach(), before + 2.0 * 0.25 * up @ down)
        assert torch.equal(weight, before)
    before_unet = numbers(unet)
    with merged(unet, [(lora, 1.0)]):
        assert sum(not torch.equal(at, before_unet[name]) for name, at in numbers(unet).items()) == 1
    assert lora.of("text_encoder_2").pairs == {}


def named(layers: dict[str, nn.Module]) -> nn.Module:
    """A network with these layers at these paths."""
    network = nn.Module()
    for path, layer in layers.items():
        at = network
        *parents, last = path.split(".")
        for parent in parents:
            if not hasattr(at, parent):
                at.add_module(parent, nn.Module())
            at = at.get_submodule(parent)
        at.add_module(last, layer)
    return network


@pytest.mark.parametrize("odd", ["lora_unet_mid_block.lora_mid.weight", "lora_te3_x.lora_up.weight", "x.hada_w1_a"])
def test_kohyas_other_kinds_are_named_and_refused(odd: str, tmp_path: Path) -> None:
    held = {**pair("lora_unet_mid_block_attentions_0_proj_in", (".lora_down.weight", ".lora_up.weight"))}
    held[odd] = torch.ones(1)

    with pytest.raises(errors.AnimateDiffLoraKind) as refused:
        open_lora(write(tmp_path / "style.safetensors", held), "style")
    assert refused.value.facts["example"] == odd
