"""Our AnimateDiff windows, noise, blending and motion learning against AnimateDiff-Evolved, FizzNodes, MotionDirector.

Several cases are lists of numbers with no tensors beside them: those are compared here, to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from inference.systems.animatediff import contexts, motiondirector
from inference.systems.animatediff.blending import Blend, Encoded, blend
from inference.systems.animatediff.contexts import Windowing
from inference.systems.animatediff.freenoise import freenoise_order, rearranged
from tests.golden_adapters.case import Case, Check


def windowing(recorded: Mapping[str, Any]) -> Windowing:
    """As recorded; what a schedule does not know is null."""
    return Windowing(
        recorded["schedule"],
        recorded["context_length"],
        recorded["context_overlap"] or 0,
        recorded["context_stride"] or 1,
        recorded["closed_loop"],
        recorded.get("fuse", "flat"),
    )


def context_windows(case: Case) -> Iterable[Check]:
    """Every window of every step; what fails there is refused here."""
    for recorded in case.facts["cases"]:
        if recorded["error"]:
            with pytest.raises(ValueError, match="overlap"):
                windowing(recorded)
            continue
        ours = [contexts.windows(windowing(recorded), recorded["frames"], step) for step in recorded["steps"]]
        assert [[list(window) for window in placed] for placed in ours] == recorded["windows"], recorded["schedule"]
    return ()


def context_weights(case: Case) -> Iterable[Check]:
    """Every weight.

    Of odd lengths the original's sawtooth has one more than the window has frames, so it fails: without the first.
    """
    for recorded in case.facts["cases"]:
        length, first = recorded["length"], recorded["first"]
        window = tuple(range(first, first + length))
        ours = contexts.weights(recorded["fuse"], window, recorded["full_length"], recorded["overlap"])
        theirs = recorded["weights"]
        if recorded["fuse"] == "delayed_reverse_sawtooth" and len(theirs) == length + 1:
            theirs = theirs[1:]
        assert torch.equal(ours, torch.tensor(theirs)), (recorded["fuse"], length, first)
    return ()


def context_fuse(case: Case) -> Iterable[Check]:
    """Predictions of windows that become one."""
    for recorded in case.facts["cases"]:
        name, chosen = f"case{recorded['case']}", windowing(recorded)
        placed = chosen.at(recorded["frames"], recorded["step"])
        assert [list(window) for window in placed] == recorded["windows"]
        parts = (case.inputs[f"{name}.window{index}"] for index in range(len(placed)))
        yield Check(name, contexts.fuse(chosen, placed, recorded["frames"], parts, dim=0), case.tolerance)


def freenoise_indices(case: Case) -> Iterable[Check]:
    """Which noise is where."""
    for recorded in case.facts["cases"]:
        frames = recorded["frames"]
        order = freenoise_order(frames, recorded["context_length"], recorded["context_overlap"], recorded["seed"])
        source = torch.tensor(recorded["source_frame"])
        assert torch.equal(order, source)
        assert torch.equal(rearranged(torch.arange(frames)[None, None], order)[0, 0], source)
    return ()


def prompt_blend(case: Case) -> Iterable[Check]:
    """Embeddings of every frame, of which the schedule's keys are few and within the clip."""
    for recorded in case.facts["cases"]:
        prompts = {int(frame): text for frame, text in json.loads("{" + recorded["text"] + "}").items()}
        encoded = {
            text: Encoded(torch.tensor(given["cond"]), torch.tensor(given["pooled"]))
            for text, given in recorded["embeddings"].items()
        }
        ours = blend([_blend(prompts, frame) for frame in range(recorded["max_frames"])], encoded)
        assert ours.pooled is not None
        assert torch.equal(ours.embeds, torch.tensor(recorded["conditioning"])), recorded["text"]
        assert torch.equal(ours.pooled, torch.tensor(recorded["pooled"])), recorded["text"]
    return ()


def _blend(prompts: Mapping[int, str], frame: int) -> Blend:
    """Between the keys before and after a frame; the last one stays."""
    now = max(key for key in prompts if key <= frame)
    then = min((key for key in prompts if key > frame), default=now)
    return Blend(prompts[now], prompts[then], 1 - (frame - now) / (then - now) if then > now else 1.0)


def motion_director(case: Case) -> Iterable[Check]:
    """Losses and their gradient, a LoRA, an inversion and the noise that starts with it."""
    within, inputs = case.tolerance, case.inputs
    prediction = inputs["pred"].clone().requires_grad_()
    loss = motiondirector.temporal_loss(prediction, inputs["target"], case.facts["ref_index"])
    [gradient] = torch.autograd.grad(loss.total, prediction)
    yield Check("loss_mse", loss.mse.detach()[None], within)
    yield Check("loss_appearance_debiased", loss.debiased.detach()[None], within)
    yield Check("loss_total", loss.total.detach()[None], within)
    yield Check("grad_pred", gradient, within)
    yield Check("lora_out", _with_lora(case), within)
    scheduler = DDIMScheduler(**case.facts["scheduler"])
    told = iter([inputs[f"eps{step}"] for step in range(case.facts["inversion_steps"])])

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        return next(told)

    inversion = motiondirector.invert(predict, inputs["video_latents"], scheduler, case.facts["inversion_steps"])
    timesteps, latents = zip(*inversion, strict=True)
    yield Check("inversion_timesteps", torch.tensor(timesteps), within)
    yield Check("inversion", torch.stack(latents), within)
    start = motiondirector.start_latents(latents[-1], inputs["noise"], prior=0.5)
    yield Check("start_latents_noise_prior", start, within)


@torch.no_grad()
def _with_lora(case: Case) -> Tensor:
    weights, facts = case.weights, case.facts["lora"]
    out_features, in_features = weights["linear.weight"].shape
    network = nn.Sequential(nn.Linear(in_features, out_features))
    network[0].load_state_dict({"weight": weights["linear.weight"], "bias": weights["linear.bias"]})
    lora = motiondirector.Lora(in_features, out_features, facts["rank"])
    lora.load_state_dict({"down.weight": weights["lora_down.weight"], "up.weight": weights["lora_up.weight"]})
    lora.scale = facts["scale"]
    with motiondirector.added(network, {"0": lora}):
        return network(case.inputs["x"])
