"""Our AnimateDiff room against cases recorded from guoyww/AnimateDiff and AnimateDiff-Evolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D, UNetMotionModel
from torch import Tensor

from inference.systems.animatediff import sampling
from inference.systems.animatediff.keymap import MOTION
from inference.systems.animatediff.loader import (
    TensorFile,
    fill,
    motion_in,
    position_table,
    put_into,
    sparse_in,
)
from inference.systems.animatediff.loras import lora_in, merged
from inference.systems.animatediff.motion_scale import MotionScale, scaled
from inference.systems.animatediff.norms import follow_original
from inference.systems.animatediff.sparsectrl import SparseCondition, SparseControl
from tests.golden_adapters.case import Case, Check

FIRST = "down_blocks.0.motion_modules.0."


def beside(case: Case, name: str) -> Case:
    """Another case, whose weights this one uses."""
    return Case.read(case.path.with_name(name).with_suffix(".json"))


def as_file(weights: Mapping[str, Tensor], name: str = "recorded.ckpt") -> TensorFile:
    """Recorded weights as if they had been read from a published file."""
    return TensorFile("recorded", name, weights)


def within(case: Case) -> float:
    """The tolerance; beside it some cases say in words by how much diffusers' own networks fail."""
    return float(case.facts["tolerance"]["own implementation"])


def as_clip(frames: Tensor, num_frames: int) -> Tensor:
    """`[B·T, C, H, W]` → `[B, C, T, H, W]`."""
    return frames.reshape(-1, num_frames, *frames.shape[1:]).transpose(1, 2)


# -- one motion module --


def module_of(case: Case) -> AnimateDiffTransformer3D:
    """The recorded motion module, by our renames, as the original computes it."""
    config = case.config
    renamed = dict(MOTION.convert((FIRST + name, tensor) for name, tensor in case.weights.items()))
    with torch.device("meta"):
        module = AnimateDiffTransformer3D(
            num_attention_heads=config["heads"],
            attention_head_dim=config["channels"] // config["heads"],
            in_channels=config["channels"],
            positional_embeddings="sinusoidal",
            num_positional_embeddings=config["max_len"],
        )
    follow_original(module)
    fill(module, {name.removeprefix(FIRST): tensor for name, tensor in renamed.items()}, torch.float32)
    return module


def through(module: AnimateDiffTransformer3D, x: Tensor) -> Tensor:
    """`[B, C, T, H, W]` → the same."""
    return as_clip(module(x.transpose(1, 2).flatten(0, 1), num_frames=x.shape[2]), x.shape[2])


@torch.no_grad()
def motion_module(case: Case) -> Iterable[Check]:
    """One module, and its table of positions."""
    module = module_of(case)
    yield Check("out", through(module, case.inputs["x"]), case.tolerance)
    yield Check("pe", position_table(case.config["max_len"], case.config["channels"])[0], case.tolerance)


@torch.no_grad()
def motion_scale(case: Case) -> Iterable[Check]:
    """Scales and effects of every kind."""
    module = module_of(beside(case, case.facts["weights_from"]))
    per_frame, mask = case.facts["per_frame"], case.inputs["mask"][0]
    low, high = case.facts["scales"]
    some, none = case.facts["effects"]
    settings = {
        "base": MotionScale(),
        f"scale_{low}": MotionScale(low),
        f"scale_{high}": MotionScale(high),
        "scale_per_frame": MotionScale(per_frame),
        "scale_mask": MotionScale(mask),
        f"effect_{some}": MotionScale(effect=some),
        f"effect_{none}": MotionScale(effect=none),
        "effect_per_frame": MotionScale(effect=per_frame),
        # Not said in the record: of all that it lists, the first of each is what fits (5e-7; the others, 0.1 and more).
        "scale_and_effect": MotionScale(low, some),
    }
    for name, motion in settings.items():
        with scaled(module, motion):
            yield Check(name, through(module, case.inputs["x"]), case.tolerance)


# -- whole networks --


def unet_of(case: Case, motion_zeroed: bool = False) -> UNetMotionModel:
    """The recorded UNet: image model and motion modules apart, then put together as from two published files."""
    config, weights = case.config, case.weights
    channels = config["block_out_channels"]
    attends = [True] * (len(channels) - 1) + [False]
    base = UNet2DConditionModel(
        block_out_channels=channels,
        layers_per_block=config["layers_per_block"],
        cross_attention_dim=config["cross_attention_dim"],
        attention_head_dim=config["attention_heads"],
        down_block_types=tuple("CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attends)),
    )
    modules = {name: tensor for name, tensor in weights.items() if ".motion_modules." in name}
    base.load_state_dict({name: tensor for name, tensor in weights.items() if name not in modules})
    if motion_zeroed:
        modules = {
            name: torch.zeros_like(tensor) if ".proj_out." in name else tensor for name, tensor in modules.items()
        }
    motion = motion_in(as_file(modules), config["version"])
    assert motion.sizes.positions == config["temporal_position_encoding_max_len"]
    return put_into(base, motion)


def predicted(unet: UNetMotionModel, x: Tensor, timestep: int, context: Tensor) -> Tensor:
    """One pass; the words are the same for all frames."""
    return unet(x, timestep, encoder_hidden_states=context.repeat_interleave(x.shape[2], 0), return_dict=False)[0]


@torch.no_grad()
def unet_motion(case: Case) -> Iterable[Check]:
    """The whole UNet, with its motion modules and with them silenced."""
    x, context = case.inputs["x"], case.inputs["context"]
    for name, zeroed in (("out", False), ("out_motion_zeroed", True)):
        yield Check(name, predicted(unet_of(case, zeroed), x, case.facts["timestep"], context), within(case))


@torch.no_grad()
def loras(case: Case) -> Iterable[Check]:
    """MotionLoRA and domain adapter, alone and together."""
    unet = unet_of(beside(case, case.facts["weights_from"]))
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    motion, domain = (
        lora_in(as_file({name.removeprefix(kind): t for name, t in case.weights.items() if name.startswith(kind)}))
        for kind in ("motion_lora.", "domain_lora.")
    )
    by_motion, by_domain = (motion, case.facts["alpha_motion"]), (domain, case.facts["alpha_domain"])
    # Last of all the plain network again: nothing may be left of the others.
    for name, chosen in (
        ("motion", [by_motion]),
        ("domain", [by_domain]),
        ("both", [by_motion, by_domain]),
        ("base", []),
    ):
        with merged(unet, chosen):
            out = predicted(unet, case.inputs["x"], case.facts["timestep"], case.inputs["context"])
        yield Check(name, out, case.tolerance)
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items()), "without a trace"


@torch.no_grad()
def sparsectrl(case: Case) -> Iterable[Check]:
    """The residuals, and where pictures are put."""
    network = sparse_in(as_file(case.weights), torch.float32)
    x, context = case.inputs["x"], case.inputs["context"]
    frames = x.shape[2]
    condition = SparseCondition.place(case.inputs["images"], case.facts["image_index"], frames)
    assert torch.equal(condition.pictures, case.inputs["controlnet_cond"])
    assert torch.equal(condition.mask, case.inputs["conditioning_mask"])
    control = SparseControl(network, condition, case.facts["conditioning_scale"])
    skips, middle = control.residuals(x, case.facts["timestep"], context.repeat_interleave(frames, 0))
    for name, residual in [*((f"down{i}", skip) for i, skip in enumerate(skips)), ("mid", middle)]:
        yield Check(name, as_clip(residual, frames), case.tolerance)


def sampling_loop(case: Case) -> Iterable[Check]:
    """A whole run, step by step."""
    facts, inputs = case.facts, case.inputs
    controls: Sequence[SparseControl] = ()
    if facts["controlnet_from"]:
        network = sparse_in(as_file(beside(case, facts["controlnet_from"]).weights), torch.float32)
        condition = SparseCondition.place(inputs["control_latents"], facts["image_index"], facts["frames"])
        controls = [SparseControl(network, condition, facts["controlnet_scale"])]
    embeddings = inputs["embeddings"]
    denoiser = sampling.Denoiser(
        unet_of(beside(case, facts["weights_from"])),
        sampling.Words(positive=embeddings[1:], negative=embeddings[:1]),
        facts["guidance_scale"],
        controls,
    )
    scheduler = sampling.ddim()
    for step, latents in enumerate(sampling.denoise(denoiser.whole(), scheduler, inputs["latents"], facts["steps"])):
        yield Check(f"latents_step{step}", latents, case.tolerance)
    yield Check("timesteps", scheduler.timesteps, case.tolerance)
