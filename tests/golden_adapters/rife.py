"""Our frame interpolation against cases recorded from Practical-RIFE, vs-rife and FILM's port to torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inference.systems.rife.film import Film, FilmSizes, schedule
from inference.systems.rife.ifnet import Answer, IFNet, Pair, blend, warped
from inference.systems.rife.versions import VERSIONS
from tests.golden_adapters.case import Case, Check
from tests.golden_adapters.rife_published import as_published, likeness, padded

Rule = Sequence[Any]
"""A pattern, a kind of numbers, and two sizes: see `drawn`."""


def drawn(name: str, shape: Sequence[int], seed: int, rules: Sequence[Rule], gain: float) -> Tensor:
    """The numbers that a recorded case gives to one parameter, from its name alone: uniform, PCG64, in float32.

    The first rule whose pattern is found in the name says how they are spread: `affine` is a ± b, `fan` is by b and
    the fan-in. Without a rule, matrices are `fan` by the case's gain, other weights 1 ± 0.2, the rest 0 ± 0.1.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    numbers = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little"))).random(tuple(shape))
    usual = (
        ("", "fan", 0, gain) if len(shape) > 1 else ("", "affine", *((1, 0.2) if name.endswith("weight") else (0, 0.1)))
    )
    _, kind, a, b = next((rule for rule in rules if re.search(rule[0], name)), usual)
    spread = b * np.sqrt(3 / np.prod(shape[1:])) if kind == "fan" else b
    return torch.from_numpy(((0 if kind == "fan" else a) + spread * (2 * numbers - 1)).astype(np.float32))


def seeded(network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Give a network the numbers of a case."""
    network.load_state_dict(
        {
            name: drawn(name, tensor.shape, facts["seed"], facts["rules"], facts["gain"])
            for name, tensor in network.state_dict().items()
        }
    )
    network.eval()


class Ensemble(IFNet):
    """Where `both_ways` is set, each block also looks from the other end, as the published code can; no render does."""

    both_ways = False

    def look(self, index: int, pair: Pair, said: Answer | None, t: float, scale: float) -> Answer:
        """The mean of both; versions whose blocks hand on features (from 4.21 on) never had it."""
        if not self.both_ways or self.version.feedback:
            return super().look(index, pair, said, t, scale)
        seen = pair if said is None else warped(pair, said.flow)
        answer = self.ask(index, seen, said, t, scale)
        turned = None if said is None else Answer(_turned(said.flow), -said.mask, said.features)
        swapped = Pair(seen.second, seen.first, seen.second_features, seen.first_features)
        other = self.ask(index, swapped, turned, 1 - t, scale)
        return Answer((answer.flow + _turned(other.flow)) / 2, (answer.mask - other.mask) / 2, answer.features)


def _turned(flow: Tensor) -> Tensor:
    return torch.cat([flow[:, 2:], flow[:, :2]], dim=1)


def frame_between(network: IFNet, pair: Pair, t: float, scale: float) -> Tensor:
    """The frame at `t`, `[B, 3, H, W]`."""
    return blend(pair.first, pair.second, *network.motion(pair, t, scale))


def rife_of(case: Case) -> Ensemble:
    """The version of a case in the case's widths, with its numbers: from the file where they are there, else drawn."""
    network = Ensemble(VERSIONS[case.config["version"]].narrowed(case.config["block_width_divisor"]))
    seeded(network, case.facts)
    if case.weights:
        network.load_state_dict(case.weights)
    return network


@torch.no_grad()
def ifnet(case: Case) -> Iterable[Check]:
    """Every moment, scale and ensemble; the largest difference and the mean one."""
    network = rife_of(case)
    allowed = case.facts["tolerance"]
    pair = network.pair(case.inputs["img0"], case.inputs["img1"])
    for name, recorded in case.outputs.items():
        asked = re.fullmatch(r"frame_t([\d.]+)_scale([\d.]+)_ens([01])", name)
        assert asked, name
        network.both_ways = asked[3] == "1"
        ours = frame_between(network, pair, float(asked[1]), float(asked[2]))
        mean = float((ours - recorded).abs().mean())
        assert mean <= allowed["mean_abs"], f"{name}: {mean} off on the mean"
        yield Check(name, ours, allowed["atol"], relative=False)


@torch.no_grad()
def film(case: Case) -> Iterable[Check]:
    """Frames at several moments, and both finest flows."""
    config = case.config
    network = Film(
        FilmSizes(
            config["pyramid_levels"],
            config["fusion_pyramid_levels"],
            config["specialized_levels"],
            config["sub_levels"],
            config["filters"],
            tuple(config["flow_convs"]),
            tuple(config["flow_filters"]),
        )
        if config
        else FilmSizes()
    )
    seeded(network, case.facts)
    if case.weights:
        network.load_state_dict(case.weights)
    allowed = case.facts["tolerance"]["atol"]
    for name in case.outputs:
        moment = float(name.removeprefix("frame_dt")) if name.startswith("frame_dt") else 0.5
        found = network(case.inputs["img0"], case.inputs["img1"], moment)
        ours = {"forward_flow0": found.forward, "backward_flow0": found.backward}.get(name, found.frame)
        yield Check(name, ours, allowed, relative=False)


def film_schedule(case: Case) -> Iterable[Check]:
    """Which frame is asked for when, between which known ones."""
    rows: list[list[float]] = []
    for count in sorted({int(row) for row in case.outputs["calls"][:, 0]}):
        calls = schedule(torch.linspace(0, 1, count + 2)[1:-1].tolist())
        rows += [[count, index, call.left, call.right, call.t] for index, call in enumerate(calls)]
    yield Check("calls", torch.tensor(rows), case.facts["tolerance"]["atol"], relative=False)


@torch.no_grad()
def video(case: Case) -> Iterable[Check]:
    """A whole video, the moments that the network was asked for, and how alike neighbours are."""
    network, options = rife_of(case), case.facts["options"]
    frames = [frame.numpy() for frame in case.inputs["frames"]]
    calls: list[list[float]] = []

    def make(first: Tensor, second: Tensor, t: float) -> Tensor:
        calls.append([t, options["scale"]])
        return frame_between(network, network.pair(first, second), t, options["scale"])

    made = list(as_published(frames, make, options["multi"], options["scale"]))
    assert calls == case.facts["calls_timestep_scale"]
    alike = [
        likeness(padded(first, options["scale"]), padded(second, options["scale"]))
        for first, second in pairwise(frames)
    ]
    assert case.facts["tolerance"]["frames"] == "uint8 max <= 2"
    yield Check("frames", torch.from_numpy(np.stack(made)), 2, relative=False)
    yield Check("ssim", torch.tensor(alike), case.facts["tolerance"]["ssim"]["atol"], relative=False)
