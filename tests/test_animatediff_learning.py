# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""Learning how a clip moves: from its frames to a file, which others can use, of a network that keeps nothing of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from inference.systems.animatediff import errors, sampling
from inference.systems.animatediff.learning import Learning, Step
from inference.systems.animatediff.learning_errors import (
    LearnedMotionDamaged,
    LearnedMotionElsewhere,
    LearningClipTooShort,
    LearningDiverged,
)
from inference.systems.animatediff.learning_file import KEY, MOST_BYTES, About, MotionFile
from inference.systems.animatediff.learning_optimizer import FIRST_SCALE, Optimizer
from inference.systems.animatediff.learning_windows import choose, encode, learning_size
from inference.systems.animatediff.loader import open_motion, put_into
from inference.systems.animatediff.loras import merged, open_lora
from inference.systems.animatediff.motiondirector import TEMPORAL, Recipe
from tests.animating import CHANNELS, modules, original, write

CPU = torch.device("cpu")
SHORT = Recipe(rank=4, num_steps=2, num_frames=8)
often = settings(max_examples=300, deadline=None)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.default_generator.manual_seed(5)


def image_unet() -> UNet2DConditionModel:
    """As it comes, not as random as may be: what there is to learn must not drown in noise."""
    return UNet2DConditionModel(
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def animating(
    tmp_path: Path, dtype: torch.dtype = torch.float32, *, mid: bool = False
) -> tuple[UNet2DConditionModel, UNetMotionModel]:
    """An image model, and the same with motion modules out of a file."""
    base: Any = image_unet()
    base.to(dtype)
    motion = open_motion(write(tmp_path / "v3_sd15_mm.ckpt", original(modules(mid=mid), 32)), "mine")
    return base, put_into(base, motion)


def moving(num_frames: int = 10) -> Tensor:
    """Latents `[1, 4, T, 8, 8]`: the same thing, a little further in each frame."""
    still = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    return torch.stack([still.roll(frame, dims=-1) for frame in range(num_frames)], dim=2)


def prompt(seed: int) -> sampling.Words:
    words = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(seed))
    return sampling.Words(positive=words, negative=words)


def learning(unet: UNetMotionModel, recipe: Recipe = SHORT, seed: int = 3) -> Learning:
    return Learning(unet, prompt(6), moving(), recipe, seed, CPU)


def learned(unet: UNetMotionModel, recipe: Recipe = SHORT, seed: int = 3) -> MotionFile:
    job = learning(unet, recipe, seed)
    for _ in job.steps():
        pass
    return job.file("v3")


def made(unet: UNetMotionModel) -> Tensor:
    """A short clip's latents."""
    noise = sampling.starting_noise(1, 4, (64, 64))
    *_, latents = sampling.denoise(sampling.Denoiser(unet, prompt(8), 1.0).whole(), sampling.ddim(), noise, 2)
    return latents


def traces(network: nn.Module) -> dict[str, Any]:
    """Everything about it that learning could have changed; the tensors themselves by where they are."""
    return {
        "parameters": [(name, id(at), at.data_ptr(), at.requires_grad) for name, at in network.named_parameters()],
        "tables": [(name, id(at)) for name, at in network.named_buffers()],
        "training": [module.training for module in network.modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "attributes": [sorted(vars(module)) for module in network.modules()],
        "gradients": [name for name, at in network.named_parameters() if at.grad is not None],
    }


def numbers(network: nn.Module) -> dict[str, Tensor]:
    return {name: at.clone() for name, at in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(at, other[name]) for name, at in one.items())


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


# -- the file --


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


PATH = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_lora"
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


# -- LoRAs --


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

    with pytest.raises(errors.AnimateDiffUnknownTensors) as refused:
        open_lora(write(tmp_path / "style.safetensors", held), "style")
    assert refused.value.facts["example"] == odd


def test_the_tiny_network_gives_more_than_zeros(tmp_path: Path) -> None:
    """Else much of the above would hold of anything."""
    _, unet = animating(tmp_path)

    assert float(made(unet).std()) > 0.1
