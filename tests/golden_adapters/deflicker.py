"""Our deflicker room against numbers recorded from All-In-One-Deflicker, ffmpeg and the metrics' definitions."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import flicker_baselines as baselines
from benchmarks import flicker_metrics as metrics
from inference.systems.deflicker.motion import unmatched
from tests.golden_adapters.case import Case, Check
from tests.golden_adapters.deflicker_networks import Atlas, LocalRefinement, NeuralFilter, as_published

Rules = Sequence[tuple[str, str, float, float]]


@dataclass(frozen=True)
class FewDiffer(Check):
    """For masks: the error is the share of pixels that differ."""

    def error(self, recorded: Tensor) -> float:
        """0..1."""
        return float((self.ours != recorded).double().mean()) if self.ours.shape == recorded.shape else math.inf


def absolute(case: Case) -> float:
    """The tolerance that holds for small values, too."""
    return float(case.facts["tolerance"]["atol"])


def exact(case: Case, output: str, ours: Tensor) -> Check:
    """A check on the case's absolute tolerance."""
    return Check(output, ours, absolute(case), relative=False)


@torch.no_grad()
def neural_filter(case: Case) -> Iterable[Check]:
    """The U-Net."""
    network = NeuralFilter(**case.config)
    network.load_state_dict(case.weights)
    yield exact(case, "out", network(case.inputs["x"]))


@torch.no_grad()
def local(case: Case) -> Iterable[Check]:
    """The refinement, with and without its state."""
    network = LocalRefinement(case.config["nf"], case.config["blocks"])
    network.load_state_dict(case.weights)
    first, state = network(case.inputs["x"])
    second, (hidden, cell) = network(case.inputs["y"], state)
    answers = {"out1": first, "out2": second, "out2_nostate": network(case.inputs["y"])[0]}
    for name, ours in {**answers, "hidden": hidden, "cell": cell}.items():
        yield exact(case, name, ours)


@torch.no_grad()
def atlas(case: Case) -> Iterable[Check]:
    """The atlas, or the mapping toward it."""
    config = case.config
    frequencies = config["positional_dim"] if config["use_positional"] else 0
    network = Atlas(
        config["input_dim"], config["output_dim"], config["hidden_dim"], config["num_layers"], frequencies,
        config["skip_layers"],
    )  # fmt: skip
    network.load_state_dict(case.weights)
    yield exact(case, "out", network(case.inputs["x"]))


@torch.no_grad()
def sequence(case: Case) -> Iterable[Check]:
    """The whole script over a clip, with drawn weights of full size."""
    facts, config = case.facts, case.config
    unet = NeuralFilter(init_features=config["filter"]["init_features"])
    refinement = LocalRefinement(config["local"]["nf"], config["local"]["blocks"])
    for name, network in (("filter", unet), ("local", refinement)):
        draw_weights(network, facts["seeds"][name], facts["rules"][name], facts["gain"])
    content, style = (
        [frame.permute(2, 0, 1)[None] / 255 for frame in case.inputs[name].float()] for name in ("content", "style")
    )
    filtered, final = zip(*as_published(unet, refinement, content, style), strict=True)
    for name, frames in (("pred", filtered), ("final", final)):
        yield exact(case, name, torch.cat(frames).permute(0, 2, 3, 1))


def draw_weights(network: nn.Module, seed: int, rules: Rules, gain: float) -> None:
    """Fill a network with the record's own weights, which are told by their names."""
    for name, tensor in network.state_dict().items():
        if "norm_layer" not in name:  # never applied
            tensor.copy_(torch.as_tensor(_drawn(name, tuple(tensor.shape), seed, rules, gain)))


def _drawn(name: str, shape: tuple[int, ...], seed: int, rules: Rules, gain: float) -> np.ndarray[Any, Any]:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    bits = np.random.PCG64(int.from_bytes(digest[:8], "little"))
    values = 2.0 * np.random.Generator(bits).random(math.prod(shape)).reshape(shape) - 1.0
    usual = (
        ("fan", 0.0, gain) if len(shape) >= 2 else ("affine", *((1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)))
    )
    kind, middle, scale = next((rule[1:] for rule in rules if re.search(rule[0], name)), usual)
    if kind == "fan":
        return (scale * np.sqrt(3.0 / max(1, math.prod(shape[1:]))) * values).astype(np.float32)
    assert kind == "affine", kind
    return (middle + scale * values).astype(np.float32)


def ffmpeg_deflicker(case: Case) -> Iterable[Check]:
    """ffmpeg's filter, in every mode that was recorded; equal to the last bit though 1 is allowed."""
    for name in case.outputs:
        mean, size = name.split("_")
        ours = baselines.ffmpeg_deflicker(case.inputs["frames"].numpy(), mean, int(size))  # pyright: ignore[reportArgumentType]
        yield Check(name, torch.as_tensor(ours), 0, relative=False)


def metrics_and_practical(case: Case) -> Iterable[Check]:
    """What is hidden, what flickers, and the two simple remedies."""
    inputs: Mapping[str, np.ndarray[Any, Any]] = {name: tensor.numpy() for name, tensor in case.inputs.items()}
    frames, flows = inputs["frames"], list(zip(inputs["fw"], inputs["bw"], strict=True))
    tolerance = case.facts["tolerance"]
    for name, masks in {
        "occ_fb": [unmatched(there, back) for there, back in flows],
        "occ_motion": [metrics.at_motion_edge(there) for there, _ in flows],
    }.items():
        yield FewDiffer(name, torch.as_tensor(np.stack(masks).astype(np.uint8)), 0.005)
    recorded = float(case.outputs["warp_error"])
    error, flicker = metrics.warping_error(frames, flows), metrics.luma_flicker(frames)
    within = tolerance["warp_error"]["rtol"] * recorded
    yield Check("warp_error", torch.tensor([error]), within, relative=False)
    yield Check("luma_flicker", torch.tensor([flicker]), 1e-5, relative=False)
    for name, remedy in {"gain_bias": baselines.mean_and_spread, "midway": baselines.midway}.items():
        yield Check(name, torch.as_tensor(remedy(frames)), tolerance["frames"]["atol"], relative=False)
