# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""Learning how a clip moves: which of its frames, and steps that leave no trace in the network that they learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from inference.systems.animatediff import errors, sampling
from inference.systems.animatediff.learning import Learning, Step
from inference.systems.animatediff.learning_errors import LearningClipTooShort, LearningDiverged
from inference.systems.animatediff.learning_optimizer import FIRST_SCALE, Optimizer
from inference.systems.animatediff.learning_windows import choose, encode, learning_size
from inference.systems.animatediff.loras import merged, open_lora
from inference.systems.animatediff.motiondirector import Recipe
from tests.animatediff.learning import CPU, SHORT, animating, learned, learning, moving, numbers, prompt, same, traces

pytestmark = pytest.mark.usefixtures("seeded")
often = settings(max_examples=300, deadline=None)


def made(unet: UNetMotionModel) -> Tensor:
    """A short clip's latents."""
    noise = sampling.starting_noise(1, 4, (64, 64))
    *_, latents = sampling.denoise(sampling.Denoiser(unet, prompt(8), 1.0).whole(), sampling.ddim(), noise, 2)
    return latents


# -- which frames --


def test_a_window_lasts_two_seconds_and_a_long_clip_has_several() -> None:
    chosen = choose(num_frames=300, fps=30)

    assert (chosen.every, chosen.window) == (4, 16)
    assert chosen.indices == tuple(range(0, 300, 4))
    assert chosen.num_windows == 75 - 16 + 1


def test_slow_motions_are_looked_at_for_longer() -> None:
    assert choose(num_frames=300, fps=24, seconds=8.0).every == 12


def test_a_short_clip_is_looked_at_as_closely_as_it_must_be() -> None:
    assert choose(num_frames=31, fps=30).every == 2
    assert choose(num_frames=31, fps=30).indices == tuple(range(0, 31, 2))
    assert choose(num_frames=20, fps=30).num_windows == 5
    assert choose(num_frames=10, fps=10).window == 10


def test_a_clip_of_seven_frames_is_too_short() -> None:
    with pytest.raises(LearningClipTooShort) as refused:
        choose(num_frames=7, fps=8)
    assert refused.value.facts == {"frames": 7, "least": 8}


@given(st.integers(8, 20_000), st.floats(1, 240), st.floats(1, 8), st.integers(8, 32))
@often
def test_frames_are_in_the_clip_evenly_spread_and_not_too_many(
    num_frames: int, fps: float, seconds: float, window: int
) -> None:
    chosen = choose(num_frames, fps, seconds, window)

    assert set(chosen.indices) <= set(range(num_frames))
    assert {after - before for before, after in zip(chosen.indices, chosen.indices[1:], strict=False)} == {chosen.every}
    assert len(chosen.indices) <= 128
    assert chosen.num_windows >= 1
    assert chosen.window == window or chosen.window == len(chosen.indices) < window


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(256, 384))
@often
def test_a_size_is_made_of_latents_and_no_larger_than_asked(width: int, height: int, side: int) -> None:
    across, down = learning_size(width, height, side)

    assert across % 8 == down % 8 == 0
    assert across * down <= side**2
    assert min(across, down) >= 160


def test_a_size_has_the_shape_of_the_clip() -> None:
    assert learning_size(1080, 1080, 384) == (384, 384)
    assert learning_size(1920, 1080, 384) == (512, 288)
    assert learning_size(1080, 1920, 256) == (192, 336)


def small_vae() -> AutoencoderKL:
    config: dict[str, Any] = {
        "block_out_channels": (32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    return AutoencoderKL(**config).eval()


def test_chosen_frames_become_latents_one_by_one() -> None:
    """Samples of the posterior: the same for the same seed, others for another, and nothing else than the frames."""
    frames = np.random.default_rng(1).integers(0, 256, (12, 40, 48, 3), dtype=np.uint8)
    vae = small_vae()

    def latents(seed: int, given: Any = frames) -> Tensor:
        return torch.cat([*encode(vae, given, (0, 4, 8), (32, 24), seed)], dim=2)

    assert latents(1).shape == (1, 4, 3, 12, 16)
    assert latents(1).dtype == torch.float32
    assert torch.equal(latents(1), latents(1))
    assert not torch.equal(latents(1), latents(2))
    full, none = (np.concatenate([frames, np.full_like(frames[..., :1], alpha)], axis=-1) for alpha in (255, 0))
    assert torch.equal(latents(1, full), latents(1))
    assert torch.equal(latents(1, none), latents(1, np.full_like(frames, 255))), "what it lets through is white"


# -- learning --


def test_the_loss_falls(tmp_path: Path) -> None:
    """Of a network that sees three times the noise; and what the steps say is what was learned."""
    _, unet = animating(tmp_path)
    unet.conv_out.weight.data.mul_(3)
    recipe = Recipe(rank=4, num_steps=20, num_frames=8, temporal_rate=2e-2, spatial_skipped=0.6)
    job = learning(unet, recipe)

    steps = list(job.steps())

    tenth = len(job.losses) // 10
    first, last = sum(job.losses[:tenth]) / tenth, sum(job.losses[-tenth:]) / tenth
    assert last < 0.8 * first
    assert [step.number for step in steps] == list(range(1, 21))
    assert {step.total for step in steps} == {20}
    assert steps[-1].temporal_loss < 0.9 * steps[0].temporal_loss
    assert 4 < sum(step.spatial_loss is None for step in steps) < 18, "six tenths of the steps have no spatial half"
    about = job.file("v3").about
    assert (about.first_loss, about.last_loss) == (pytest.approx(first, abs=1e-4), pytest.approx(last, abs=1e-4))


def test_what_was_learned_changes_a_clip_and_is_gone_afterwards(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)
    plain = made(unet)
    path = tmp_path / "spin.safetensors"
    path.write_bytes(learned(unet).to_bytes())

    assert torch.equal(made(unet), plain), "learning leaves the network as it was"
    with merged(unet, [(open_lora(path, "spin"), 1.0)]):
        changed = made(unet)
    assert not torch.allclose(changed, plain, atol=1e-4)
    assert torch.equal(made(unet), plain)


def test_the_same_seed_learns_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)

    once, again, other = (learned(unet, seed=seed).to_bytes() for seed in (3, 3, 4))

    assert once == again
    assert safetensors.torch.load(once).keys() == safetensors.torch.load(other).keys()
    assert once != other


def test_what_others_draw_in_between_changes_nothing(tmp_path: Path) -> None:
    """And learning takes no numbers from them."""
    _, unet = animating(tmp_path)
    job = learning(unet)
    torch.manual_seed(1)
    expected = torch.rand(SHORT.num_steps)

    torch.manual_seed(1)
    drawn = [float(torch.rand(1)) for _ in job.steps()]

    assert drawn == expected.tolist()
    assert job.file("v3").to_bytes() == learned(unet).to_bytes()


@pytest.mark.slow
def test_learning_can_pause_and_its_windows_are_drawn(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)
    job = learning(unet)
    for _ in job.steps():
        break
    assert len(job.losses) == 1
    for _ in job.steps():
        pass

    assert job.file("v3").to_bytes() == learned(unet).to_bytes()
    windows = {job._window()[0, 0, 0, 0, 0].item() for _ in range(30)}
    assert windows == {float(value) for value in moving()[0, 0, :3, 0, 0]}


def test_a_cancel_leaves_no_trace_at_any_step(tmp_path: Path) -> None:
    """Also while the iterator is still alive, as it is in the traceback of whatever ended it."""
    base, unet = animating(tmp_path)
    unet.train()
    next(unet.parameters()).requires_grad_(False)
    before, before_numbers, before_base = traces(unet), numbers(unet), traces(base)
    kept: list[Iterator[Step]] = []
    for count in (1, 2):
        kept.append(learning(unet).steps())
        for _ in range(count):
            next(kept[-1])
        assert traces(unet) == before

    assert same(numbers(unet), before_numbers)
    assert traces(base) == before_base


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_error_in_the_middle_of_a_pass_leaves_no_trace(tmp_path: Path, call: int) -> None:
    """In the first pass, in the second, and while a block is computed once more for its gradient."""
    _, unet = animating(tmp_path)
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise MemoryError("no more")

    last_block: Any = unet.up_blocks[-1]
    hook = last_block.motion_modules[-1].proj_in.register_forward_pre_hook(fail)
    before, before_numbers = traces(unet), numbers(unet)

    with pytest.raises(MemoryError):
        list(learning(unet, replace(SHORT, num_steps=1, spatial_skipped=0.0)).steps())

    assert calls == call
    assert traces(unet) == before
    assert same(numbers(unet), before_numbers)
    hook.remove()


def test_a_network_that_was_read_in_inference_mode_can_be_learned_from(tmp_path: Path) -> None:
    """As renderers have it: everything in inference mode, what was read and what asks."""
    _, ordinary = animating(tmp_path)
    tensors = numbers(ordinary)
    with torch.inference_mode():
        _, unet = animating(tmp_path)
        unet.load_state_dict({name: at.clone() for name, at in tensors.items()}, assign=True)
        assert next(unet.parameters()).is_inference()
        ours = learned(unet).to_bytes()
        assert torch.is_inference_mode_enabled()

    assert ours == learned(ordinary).to_bytes()


def test_recomputing_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout, too, is the same when a block is computed once more."""
    _, unet = animating(tmp_path)
    sparing = learned(unet)

    monkeypatch.setattr("inference.systems.animatediff.learning_network.RECOMPUTED", ())
    wasteful = learned(unet)

    for name, at in sparing.tensors.items():
        torch.testing.assert_close(at, wasteful.tensors[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_learns_nearly_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    _, unet = animating(tmp_path, dtype)
    before = numbers(unet)
    half = learning(unet)

    list(half.steps())

    assert same(numbers(unet), before)
    wide: Any = unet
    whole = learning(wide.float())
    list(whole.steps())
    assert half.losses == pytest.approx(whole.losses, rel=0.03)
    assert all(bool(at.any()) for name, at in half.file("v3").tensors.items() if ".up." in name), "all have learned"


def test_gradients_that_half_precision_cannot_hold_are_not_lost() -> None:
    """Of a mean over a million numbers, each has a share of 2e-9: nothing, in float16."""

    def moved(scale: float) -> bool:
        layer = nn.Linear(1, 1, bias=False)
        layer.weight.data.fill_(1e-3)
        optimizer = Optimizer([layer], 1e-2, 0.0, torch.float16)
        optimizer.scale = scale
        optimizer.learn(lambda: (layer.weight.half() * torch.ones(1000, 1000).half()).float().square().mean())
        return layer.weight.item() != pytest.approx(1e-3)

    assert moved(FIRST_SCALE)
    assert not moved(1.0)


def test_a_scale_that_is_too_large_is_halved_and_no_step_is_lost() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    optimizer = Optimizer([layer], 1e-2, 0.0, torch.float16)

    loss = optimizer.learn(lambda: layer.weight.half().sum() * 1000)

    assert loss == 1000
    assert optimizer.scale == 64
    assert layer.weight.item() == pytest.approx(0.99)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_is_no_number_ends_it(dtype: torch.dtype) -> None:
    layer = nn.Linear(1, 1, bias=False)

    with pytest.raises(LearningDiverged):
        Optimizer([layer], 1e-2, 0.0, dtype).learn(lambda: layer.weight.sum() * float("nan"))


def test_more_frames_than_positions_or_too_high_a_rank_are_refused_at_once(tmp_path: Path) -> None:
    _, unet = animating(tmp_path)
    with pytest.raises(errors.AnimateDiffTooLong):
        Learning(unet, prompt(6), moving(40), replace(SHORT, num_frames=33), 1, CPU)
    with pytest.raises(ValueError, match="rank"):
        learning(unet, replace(SHORT, rank=65))


def test_the_tiny_network_gives_more_than_zeros(tmp_path: Path) -> None:
    """Else much of the above would hold of anything."""
    _, unet = animating(tmp_path)

    assert float(made(unet).std()) > 0.1
