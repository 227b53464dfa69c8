# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Long clips in AnimateDiff: windows and what becomes of them, noise, prompts that turn, and motion that is learned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from inference.systems.animatediff import motiondirector
from inference.systems.animatediff.blending import Blend, Encoded, blend
from inference.systems.animatediff.contexts import NAMED, SCHEDULES, Fusing, Windowing, fuse, shares, weights, windows
from inference.systems.animatediff.freenoise import freenoise_order, rearranged
from inference.systems.animatediff.motiondirector import MotionLearner, Recipe, added, motion_lora
from tests import references

REFERENCE = references.FOLDER
FUSINGS: tuple[Fusing, ...] = ("flat", "pyramid", "relative", "delayed_reverse_sawtooth", "overlap-linear")
SMALL = Recipe(rank=4)


@st.composite
def windowings(draw: st.DrawFn) -> Windowing:
    """Any that can be asked for, and odder ones."""
    length = draw(st.integers(1, 20))
    return Windowing(
        draw(st.sampled_from(sorted(SCHEDULES))),
        length,
        draw(st.integers(0, length - 1)),
        draw(st.integers(1, 5)),
        draw(st.booleans()),
        draw(st.sampled_from(FUSINGS)),
    )


clips = st.integers(1, 150)
steps = st.integers(0, 60)
often = settings(max_examples=400, deadline=None)


# -- windows --


@given(windowings(), clips, steps)
@often
def test_every_frame_is_in_a_window_at_every_step(windowing: Windowing, num_frames: int, step: int) -> None:
    for placed in (windowing.at(num_frames, step), windows(windowing, num_frames, step)):
        assert {frame for window in placed for frame in window} == set(range(num_frames))
    assert {frame for window in windowing.views(num_frames) for frame in window} == set(range(num_frames))


def test_no_frame_is_forgotten_where_the_original_forgets_some() -> None:
    """Rare: a window that ran over the end is moved back, and only every second frame of its place is seen again."""
    windowing = Windowing("standard_uniform", 16, overlap=2, stride=2)
    placed = SCHEDULES["standard_uniform"](windowing, 40, 2)

    assert set(range(40)) - {frame for window in placed for frame in window} == {1, 3, 5, 7}
    assert windowing.at(40, 2) == [*placed, tuple(range(1, 17))]


@given(windowings(), clips, steps)
@often
def test_no_window_is_longer_than_the_module_can_hold(windowing: Windowing, num_frames: int, step: int) -> None:
    """So memory does not grow with the clip; but for `view_as_context`, where only the motion modules see windows."""
    seen = windowing.views(num_frames) if windowing.schedule == "view_as_context" else windowing.at(num_frames, step)

    assert all(0 < len(window) <= windowing.length for window in seen)


@given(windowings(), clips, steps)
@often
def test_only_looped_windows_run_on_from_the_end(windowing: Windowing, num_frames: int, step: int) -> None:
    if windowing.schedule != "looped_uniform":
        for window in windowing.at(num_frames, step):
            assert all(before < after for before, after in pairwise(window))


@given(st.integers(2, 20), st.data(), steps)
@often
def test_a_closed_loop_is_tied_at_every_step(length: int, data: st.DataObject, step: int) -> None:
    """Some window holds the last frame and, right after it, the first one."""
    num_frames = data.draw(st.integers(length + 1, 150))
    windowing = Windowing("looped_uniform", length, data.draw(st.integers(1, length - 1)), closed_loop=True)

    placed = windowing.at(num_frames, step)

    assert any((num_frames - 1, 0) in pairwise(window) for window in placed)
    assert all((before + 1) % num_frames == after for window in placed for before, after in pairwise(window))


def test_uniform_windows_are_elsewhere_at_the_next_step() -> None:
    for name in ("looped_uniform", "standard_uniform", "uniform"):
        assert NAMED[name].at(48, 0) != NAMED[name].at(48, 1)
    assert NAMED["standard_static"].at(48, 0) == NAMED["standard_static"].at(48, 1)


def test_uniform_is_artventurex_name() -> None:
    uniform = NAMED["uniform"]

    assert (uniform.schedule, uniform.length, uniform.overlap) == ("looped_uniform", 16, 4)
    assert (uniform.stride, uniform.closed_loop) == (3, True)


@pytest.mark.parametrize("overlap", [-1, 16, 17])
def test_an_overlap_as_long_as_the_window_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        Windowing(overlap=overlap)
    with pytest.raises(ValueError, match="overlap"):
        freenoise_order(32, 16, overlap, seed=0)


# -- fusing --


@given(windowings(), clips, steps)
@often
def test_weights_are_positive_and_come_to_one(windowing: Windowing, num_frames: int, step: int) -> None:
    placed = windowing.at(num_frames, step)
    total = [0.0] * num_frames

    for window, share in zip(placed, shares(windowing, placed, num_frames), strict=True):
        assert bool((weights(windowing.fusing, window, num_frames, windowing.overlap) > 0).all())
        for frame, weight in zip(window, share, strict=True):
            total[frame] += weight

    assert total == pytest.approx([1.0] * num_frames)


@given(windowings(), st.integers(1, 80), steps)
@settings(max_examples=100, deadline=None)
def test_windows_that_agree_fuse_to_what_they_agree_on(windowing: Windowing, num_frames: int, step: int) -> None:
    clip = torch.randn(1, 2, num_frames, 3, generator=torch.Generator().manual_seed(num_frames))
    placed = windowing.at(num_frames, step)

    whole = fuse(windowing, placed, num_frames, (clip[:, :, list(window)] for window in placed), dim=2)

    torch.testing.assert_close(whole, clip, rtol=1e-5, atol=1e-5)


def test_predictions_are_asked_for_one_by_one_and_added_in_float32() -> None:
    windowing = NAMED["standard_static"]
    placed = windowing.at(40, 0)
    held: list[int] = []

    def predicted() -> Iterator[Tensor]:
        for index, window in enumerate(placed):
            held.append(index)
            yield torch.full((len(window), 1), float(index), dtype=torch.bfloat16)
            assert held[-1] == index, "the next one is predicted when this one is fused"

    assert fuse(windowing, placed, 40, predicted(), dim=0).dtype == torch.float32
    assert held == list(range(len(placed)))


@pytest.mark.parametrize("count", [2, 4])
def test_a_window_too_few_or_too_many_is_noticed(count: int) -> None:
    windowing = NAMED["standard_static"]
    placed = windowing.at(32, 0)

    with pytest.raises(ValueError, match="zip"):
        fuse(windowing, placed, 32, [torch.zeros(16, 1)] * count, dim=0)


# -- noise --


@given(st.integers(1, 20), st.data(), st.integers(0, 2**32))
@often
def test_each_window_starts_from_the_first_ones_noise(length: int, data: st.DataObject, seed: int) -> None:
    overlap, num_frames = data.draw(st.integers(0, length - 1)), data.draw(clips)

    order = freenoise_order(num_frames, length, overlap, seed).tolist()

    assert order[:length] == list(range(min(length, num_frames)))
    for start in range(0, num_frames - length + 1, length - overlap):
        assert sorted(order[start : start + length]) == list(range(length))
    assert order == freenoise_order(num_frames, length, overlap, seed).tolist()


def test_noise_is_moved_whole() -> None:
    noise = torch.randn(1, 4, 24, 2, 3)
    order = freenoise_order(24, 16, 8, seed=7)

    assert torch.equal(rearranged(noise, order)[:, :, 20], noise[:, :, order[20]])


# -- prompts --


def test_prompts_of_unequal_length_are_padded_alike_on_both_sides() -> None:
    encoded = {"short": Encoded(torch.ones(2, 1)), "long": Encoded(torch.full((5, 1), 3.0))}

    for frame in (Blend("short", "short", 1.0), Blend("short", "long", 1.0)):
        assert blend([frame], encoded).embeds.flatten().tolist() == [0, 1, 1, 0, 0]
    halfway = blend([Blend("short", "long", 0.5)], encoded)
    assert halfway.embeds.flatten().tolist() == [1.5, 2.0, 2.0, 1.5, 1.5]
    assert halfway.pooled is None


def test_both_branches_of_the_guidance_get_equally_many_tokens() -> None:
    encoded = {"a long one": Encoded(torch.ones(154, 8)), "not wanted": Encoded(torch.ones(77, 8))}

    wanted, unwanted = (blend([Blend(text, text, 1.0)] * 3, encoded).embeds for text in encoded)

    assert wanted.shape == unwanted.shape == (3, 154, 8)


def test_the_pooled_output_is_that_of_the_prompt_to_come() -> None:
    encoded = {"sun": Encoded(torch.ones(2, 1), torch.tensor([1.0])), "moon": Encoded(torch.ones(2, 1), torch.zeros(1))}
    blended = blend([Blend("sun", "moon", 0.9), Blend("moon", "moon", 1.0)], encoded)

    assert blended.pooled is not None
    assert blended.pooled.tolist() == [[0.0], [0.0]]
    encoded["moon"] = Encoded(torch.ones(2, 1))
    with pytest.raises(ValueError, match="pooled"):
        blend([Blend("sun", "sun", 1.0), Blend("moon", "moon", 1.0)], encoded)


# -- learning motion --


def tiny_unet(levels: int = 2) -> UNetMotionModel:
    """The real class, as small as its groups allow."""
    torch.manual_seed(5)
    return UNetMotionModel(
        sample_size=8,
        block_out_channels=(32,) * levels,
        layers_per_block=1 if levels == 2 else 2,
        down_block_types=("CrossAttnDownBlockMotion",) * (levels - 1) + ("DownBlockMotion",),
        up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * (levels - 1),
        cross_attention_dim=16,
        num_attention_heads=2,
        motion_num_attention_heads=2,
        use_motion_mid_block=True,
    )


def predicting(unet: UNetMotionModel) -> motiondirector.Predict:
    """By the UNet, with a prompt of its own for every frame."""
    prompt = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(6))

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        [noise] = unet(latents, timesteps, prompt.expand(latents.shape[2], -1, -1), return_dict=False)
        return noise

    return predict


def linear_betas() -> DDIMScheduler:
    """AnimateDiff's."""
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", steps_offset=1)


def clip() -> Tensor:
    """Latents `[1, 4, 4, 8, 8]`: the same thing, a little further in each frame."""
    still = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    return torch.stack([still.roll(frame, dims=-1) for frame in range(4)], dim=2)


def learner(unet: UNetMotionModel, recipe: Recipe = SMALL) -> MotionLearner:
    """On the CPU."""
    return MotionLearner(unet, recipe, seed=3, device=torch.device("cpu"))


def frozen(network: nn.Module) -> dict[str, Tensor]:
    """Its weights as they are now."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_a_fresh_lora_adds_nothing_and_leaves_no_trace() -> None:
    unet = tiny_unet()
    predict, latents, time = predicting(unet), clip(), torch.tensor([400])
    fresh = learner(unet)
    with torch.no_grad():
        before = predict(latents, time)
        with added(unet, fresh.temporal):
            assert torch.equal(predict(latents, time), before)
        for lora in fresh.temporal.values():
            lora.up.weight.fill_(0.1)
        with added(unet, fresh.temporal):
            assert not torch.allclose(predict(latents, time), before)
        assert torch.equal(predict(latents, time), before)


def test_spatial_and_temporal_layers_learn_apart_and_the_network_does_not() -> None:
    unet = tiny_unet()
    learning = learner(unet, replace(SMALL, spatial_skipped=1.0))
    assert learning.spatial.keys().isdisjoint(learning.temporal)
    assert not any("attn2" in name for name in learning.spatial), "what reads the prompt stays"
    before, spatial = frozen(unet), frozen(nn.ModuleList(learning.spatial.values()))

    looks, _ = learning.step(predicting(unet), clip(), linear_betas())

    assert looks is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    after = nn.ModuleList(learning.spatial.values()).state_dict()
    assert all(torch.equal(tensor, spatial[name]) for name, tensor in after.items())
    assert all(bool(lora.up.weight.any()) for lora in learning.temporal.values())


@pytest.mark.slow
def test_what_is_learned_lowers_the_loss() -> None:
    """Measured on noise that was not learned from."""
    unet = tiny_unet()
    predict, latents, scheduler = predicting(unet), clip(), linear_betas()
    learning = learner(unet, replace(SMALL, temporal_rate=1e-2, spatial_rate=1e-2))
    generator = torch.Generator().manual_seed(8)
    trials = [(torch.randn(latents.shape, generator=generator), torch.tensor([time])) for time in (300, 600, 900)]

    @torch.no_grad()
    def loss() -> float:
        total = 0.0
        for noise, time in trials:
            noisy = scheduler.add_noise(latents, noise, time)  # pyright: ignore[reportArgumentType]
            with added(unet, learning.temporal):
                total += float(motiondirector.temporal_loss(predict(noisy, time), noise, 0).total)
        return total

    before = loss()
    for _ in range(20):
        learning.step(predict, latents, scheduler)

    assert loss() < 0.9 * before


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_same_seed_learns_the_same(checkpointing: bool) -> None:
    """Whatever others draw, and with memory spared, too."""
    learned: list[dict[str, Tensor]] = []
    for stray in (1, 2):
        unet = tiny_unet()
        if checkpointing and stray == 2:
            unet.enable_gradient_checkpointing()
            unet.train()
        learning = learner(unet)
        for _ in range(2):
            torch.manual_seed(stray)
            learning.step(predicting(unet), clip(), linear_betas())
        learned.append(motion_lora(learning.temporal))

    one, other = learned
    assert all(torch.allclose(tensor, other[name], atol=1e-6) for name, tensor in one.items())


def test_what_is_learned_bears_the_names_of_a_motion_lora() -> None:
    manifest = REFERENCE / "animatediff" / "manifest" / "v2_lora_motion.json"
    if not manifest.exists():
        pytest.skip(f"no {manifest}; set ZOETROPE_GOLDENS to the folder that holds the references")
    published = json.loads(manifest.read_text("utf-8"))["tensors"]

    ours = motion_lora(learner(tiny_unet(levels=4)).temporal)

    assert {name for name in ours if ".ff." not in name} == published.keys()
    stem = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0"
    assert f"{stem}.ff.net.0.proj_lora.up.weight" in ours
    assert ours[f"{stem}.attention_blocks.1.processor.to_out_lora.down.weight"].shape == (4, 32)


def test_a_spatial_layer_is_no_motion() -> None:
    with pytest.raises(ValueError, match="in no motion module"):
        motion_lora(learner(tiny_unet()).spatial)


def test_a_clip_comes_back_from_its_own_noise() -> None:
    """With a network that sees the same noise everywhere, going backwards and forwards again is exact."""
    scheduler, latents = DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1), clip()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(9))

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        return noise

    [*_, (timestep, inverted)] = motiondirector.invert(predict, latents, scheduler, 10)
    again = inverted
    for time in scheduler.timesteps.tolist():
        again = scheduler.step(noise, time, again, return_dict=False)[0]

    assert timestep == 901
    torch.testing.assert_close(again, latents, rtol=1e-4, atol=1e-4)
    assert torch.equal(motiondirector.start_latents(inverted, noise, 0.0), noise)
