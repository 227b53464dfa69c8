"""AnimateDiff's networks put to use: norms, LoRAs, conditions, words, windows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from inference.systems.animatediff import errors, sampling
from inference.systems.animatediff.loader import Motion, open_motion, open_sparse, put_into
from inference.systems.animatediff.loras import merged, open_lora
from inference.systems.animatediff.motion_scale import MotionScale, scaled
from inference.systems.animatediff.sparsectrl import SparseCondition, SparseControl, encode_pictures, spread
from tests.animatediff.learning import image_unet as plain_unet
from tests.animating import CHANNELS, CONFIG, Tensors, modules, original, random, sparse, write

pytestmark = pytest.mark.usefixtures("seeded")


def image_unet(channels: tuple[int, ...] = CHANNELS) -> UNet2DConditionModel:
    network = plain_unet(channels)
    network.load_state_dict(random(network))
    return network


def opened(tmp_path: Path, *, mid: bool = True, name: str = "mm.ckpt") -> Motion:
    return open_motion(write(tmp_path / name, original(modules(mid=mid))), "mine")


def passed(unet: Any, frames: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, frames, 8, 8, generator=generator)
    context = torch.randn(frames, 5, 16, generator=generator)
    with torch.no_grad():
        return unet(x, 7, encoder_hidden_states=context, return_dict=False)[0]


def test_modules_of_other_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.AnimateDiffWrongBase) as refused:
        put_into(image_unet((64, 64)), opened(tmp_path))
    assert refused.value.facts == {"model": "mine", "wanted": "32/64", "found": "64/64"}


def test_the_image_model_keeps_its_numbers_and_its_type(tmp_path: Path) -> None:
    base: Any = image_unet()
    base.half()
    unet = put_into(base, opened(tmp_path))

    ours = unet.state_dict()
    assert all(ours[name].data_ptr() == tensor.data_ptr() for name, tensor in base.state_dict().items())
    assert {tensor.dtype for tensor in ours.values()} == {torch.float16}


def test_only_version_1_normalises_over_all_frames(tmp_path: Path) -> None:
    """A clip of stills alone: with silent motion modules the frames of version 3 know nothing of each other."""
    silent = {name: at * (".proj_out." not in name) for name, at in modules(mid=False).items()}
    for name, alone in (("v3_sd15_mm.ckpt", True), ("mm_sd_v14.ckpt", False)):
        unet = put_into(image_unet(), open_motion(write(tmp_path / name, original(silent)), "mine"))
        x, context = torch.randn(1, 4, 3, 8, 8), torch.randn(3, 5, 16)
        with torch.no_grad():
            clip = unet(x, 7, encoder_hidden_states=context, return_dict=False)[0]
            # A shorter clip after a longer one: the frames are counted anew.
            first = unet(x[:, :, :1], 7, encoder_hidden_states=context[:1], return_dict=False)[0]
        assert torch.allclose(clip[:, :, :1], first, atol=1e-4) is alone


LORA_NAMES: dict[str, Callable[[str, str], str]] = {
    "original": lambda path, side: (
        f"{path.replace('.attn1', '.attention_blocks.0')}.processor.to_{{}}_lora.{side}.weight"
    ),
    "hub": lambda path, side: f"unet.{path}.processor.to_{{}}_lora.{side}.weight",
    "diffusers": lambda path, side: f"unet.{path}.to_{{}}.lora.{side}.weight",
    "PEFT": lambda path, side: f"unet.{path}.to_{{}}.lora_{'A' if side == 'down' else 'B'}.weight",
}
PATH = "down_blocks.0.motion_modules.0.transformer_blocks.0.attn1"


def lora_tensors(naming: str) -> Tensors:
    """Of one attention's query and output."""
    tensors: Tensors = {}
    for matrix in ("q", "out"):
        for side, shape in (("down", (4, 32)), ("up", (32, 4))):
            path = PATH.replace("0.transformer", "0.temporal_transformer.transformer") if naming == "original" else PATH
            tensors[LORA_NAMES[naming](path, side).format(matrix)] = torch.randn(shape)
    return tensors


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("naming", LORA_NAMES)
def test_a_lora_is_added_with_its_strength_and_leaves_no_trace(naming: str, wrapped: bool, tmp_path: Path) -> None:
    unet: Any = put_into(image_unet(), opened(tmp_path))
    tensors = lora_tensors(naming)
    held = {"state_dict": tensors, "animatediff_config": CONFIG} if wrapped else tensors
    lora = open_lora(write(tmp_path / ("lora.ckpt" if wrapped else "lora.safetensors"), held), "zoom")
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    attention = unet.get_submodule(PATH)
    down_q, up_q, down_out, up_out = tensors.values()

    with merged(unet, [(lora, 0.7), (lora, 0.1)]):
        inside = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    assert torch.allclose(inside[f"{PATH}.to_q.weight"], before[f"{PATH}.to_q.weight"] + 0.8 * up_q @ down_q, atol=1e-5)
    out = f"{PATH}.to_out.0.weight"
    assert torch.allclose(inside[out], before[out] + 0.8 * up_out @ down_out, atol=1e-5)
    assert sum(not torch.equal(inside[name], before[name]) for name in before) == 2
    assert attention.to_q.weight.requires_grad

    with pytest.raises(RuntimeError, match="cancelled"), merged(unet, [(lora, 1.0)]):
        raise RuntimeError("cancelled")
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items())


def test_a_lora_of_the_image_model_brings_its_alpha_and_its_convolutions(tmp_path: Path) -> None:
    """As LCM's and AnimateLCM's: kohya's names, half the rank as alpha."""
    unet: Any = put_into(image_unet(), opened(tmp_path))
    down, up = torch.randn(4, 32, 3, 3), torch.randn(32, 4, 1, 1)
    path = "lora_unet_down_blocks_0_resnets_0_conv1"
    held = {f"{path}.lora_down.weight": down, f"{path}.lora_up.weight": up, f"{path}.alpha": torch.tensor(2.0)}
    lora = open_lora(write(tmp_path / "lcm.safetensors", held), "lcm")
    weight = unet.down_blocks[0].resnets[0].conv1.weight
    before = weight.detach().clone()

    with merged(unet, [(lora, 0.8)]):
        added = (up.flatten(1) @ down.flatten(1)).reshape(before.shape)
        assert torch.allclose(weight, before + 0.8 * 2 / 4 * added, atol=1e-5)
    assert torch.equal(weight, before)


def test_a_lora_for_other_layers_is_refused_whole(tmp_path: Path) -> None:
    unet = put_into(image_unet(), opened(tmp_path))
    wide = {name: torch.cat([at, at], dim=at.shape.index(32)) for name, at in lora_tensors("hub").items()}
    lora = open_lora(write(tmp_path / "lora.ckpt", wide), "zoom")

    with pytest.raises(errors.AnimateDiffLoraDoesNotFit), merged(unet, [(lora, 1.0)]):
        pass


def test_pictures_lie_in_their_places() -> None:
    pictures = torch.randn(1, 4, 2, 8, 8)

    condition = SparseCondition.place(pictures, [1, -1], 5)

    assert torch.equal(condition.pictures[:, :, [1, 4]], pictures)
    assert condition.pictures[:, :, [0, 2, 3]].abs().max() == 0
    assert condition.mask[0, 0, :, 0, 0].eq(torch.tensor([0, 1, 0, 0, 1])).all()
    assert condition.at([3, 4]).mask[0, 0, :, 0, 0].eq(torch.tensor([0, 1])).all()
    with pytest.raises(IndexError):
        SparseCondition.place(pictures, [0, 5], 5)


def test_a_faint_drawing_is_spread_from_black_to_white() -> None:
    faint = torch.rand(2, 3, 4, 4) * 0.2 + 0.4

    assert (spread(faint).amin().item(), spread(faint).amax().item()) == (0, 1)
    assert spread(torch.full((1, 3, 4, 4), 0.5)).abs().max() == 0


def test_pictures_become_the_same_latents_for_the_same_seed() -> None:
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=4).eval()
    pictures = torch.rand(2, 3, 8, 8) * 2 - 1

    one, again, other = (encode_pictures(vae, pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert one.shape == (1, 4, 2, 8, 8)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    frames = list(sampling.decode(vae, one))
    assert [frame.shape for frame in frames] == [(3, 8, 8)] * 2


def denoiser(tmp_path: Path, frames: int, guidance_scale: float = 7.5, **more: Any) -> sampling.Denoiser:
    unet = put_into(image_unet(), opened(tmp_path))
    words = sampling.Words(positive=torch.randn(frames, 5, 16), negative=torch.randn(1, 5, 16))
    return sampling.Denoiser(unet, words, guidance_scale, **more)


def run(asked: sampling.Denoiser, frames: int) -> Tensor:
    noise = sampling.starting_noise(3, frames, (64, 64))
    *_, latents = sampling.denoise(asked.whole(), sampling.ddim(), noise, 2)
    return latents


def test_the_same_seed_gives_the_same_clip(tmp_path: Path) -> None:
    asked = denoiser(tmp_path, 3)

    assert torch.equal(run(asked, 3), run(asked, 3))
    assert run(asked, 3).shape == (1, 4, 3, 8, 8)


def test_every_frame_follows_its_own_words(tmp_path: Path) -> None:
    """Without motion modules' say, only the frame whose words change changes."""
    asked = denoiser(tmp_path, 3, motion=MotionScale(effect=0.0))
    before = run(asked, 3)
    asked.words.positive[1] += 1

    changed = (run(asked, 3) - before).abs().amax(dim=(0, 1, 3, 4))
    assert changed[1] > 1e-3
    assert max(changed[0], changed[2]) < 1e-5


def test_at_a_guidance_of_1_the_negative_words_are_left_out(tmp_path: Path) -> None:
    asked = denoiser(tmp_path, 3, guidance_scale=1.0)
    before = run(asked, 3)
    asked.words.negative[:] = float("nan")

    assert torch.equal(run(asked, 3), before)


def test_a_window_sees_its_own_part_of_words_scale_and_pictures(tmp_path: Path) -> None:
    condition = SparseCondition.place(torch.randn(1, 4, 1, 8, 8), [3], 4)
    tensors = {key: tensor.detach() for key, tensor in sparse("rgb").named_parameters()}
    network = open_sparse(write(tmp_path / "rgb.ckpt", original(tensors)), "rgb", torch.float32)
    motion = MotionScale([0.5, 0.8, 1.1, 1.4], [1.0, 0.9, 0.8, 0.7])
    whole = denoiser(tmp_path, 4, controls=[SparseControl(network, condition)], motion=motion)
    part = sampling.Denoiser(
        whole.unet,
        sampling.Words(whole.words.positive[2:], whole.words.negative),
        whole.guidance_scale,
        [SparseControl(network, SparseCondition(condition.pictures[:, :, 2:], condition.mask[:, :, 2:]))],
        MotionScale([1.1, 1.4], [0.8, 0.7]),
    )
    latents, timestep = torch.randn(1, 4, 2, 8, 8), torch.tensor(501)

    with torch.no_grad():
        assert torch.equal(whole.noise(latents, timestep, [2, 3]), part.noise(latents, timestep, [0, 1]))


def test_more_frames_than_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.AnimateDiffTooLong) as refused:
        run(denoiser(tmp_path, 33), 33)
    assert refused.value.facts == {"frames": 33, "most": 32}


def test_hooks_are_gone_afterwards(tmp_path: Path) -> None:
    unet = put_into(image_unet(), opened(tmp_path))
    plain = passed(unet)

    for motion in (MotionScale(1.3), MotionScale(torch.rand(6, 4)), MotionScale([0.5, 1.0, 1.5], [0.2, 0.4, 0.9])):
        with scaled(unet, motion):
            assert not torch.equal(passed(unet), plain)
        assert torch.equal(passed(unet), plain)
    with pytest.raises(RuntimeError, match="cancelled"), scaled(unet, MotionScale(0.5)):
        raise RuntimeError("cancelled")
    assert torch.equal(passed(unet), plain)
