"""Our SVD room against cases recorded from Stability AI's generative-models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn

from inference.systems.svd import sampling
from inference.systems.svd.architecture import (
    Architecture,
    architecture_of,
    unet_sizes,
    vae_sizes,
)
from inference.systems.svd.keymap import (
    RES_BLOCK,
    TRANSFORMER,
    KeyMap,
    convert,
    decoder_map,
    encoder_map,
    key_map,
    under,
    unet_map,
)
from inference.systems.svd.loader import (
    BUILD,
    SCHEDULER,
    NetworkName,
    build_unet,
    build_vae,
    configs_of,
    fill,
    follow_original,
    scheduler_of,
)
from inference.systems.svd.pictures import clip_pixels
from tests.golden_adapters.case import Case, Check


def filled(network: nn.Module, weights: Mapping[str, Tensor], names: KeyMap, prefix: str = "") -> nn.Module:
    """A network with a case's weights, by way of our key map; what is another network's is left out."""
    renamed = dict(convert(weights.items(), names))
    fill(network, {name.removeprefix(prefix): tensor for name, tensor in renamed.items() if name.startswith(prefix)})
    return network


def shapes_of(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


@contextmanager
def images_only(network: nn.Module, indicator: Tensor) -> Iterator[None]:
    """Mark frames as stills, `[B, T]` of 0 and 1; diffusers' UNet always says that none is one."""

    def mark(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args[:2], {**kwargs, "image_only_indicator": indicator}

    marked = (SpatioTemporalResBlock, TransformerSpatioTemporalModel)
    hooks = [
        module.register_forward_pre_hook(mark, with_kwargs=True)
        for module in network.modules()
        if isinstance(module, marked)
    ]
    yield
    for hook in hooks:
        hook.remove()


def clip_preprocess(case: Case) -> Iterable[Check]:
    """Every fourth row and column of what CLIP sees, and mean and deviation of all of it."""
    for name, picture in case.inputs.items():
        pixels = clip_pixels(picture, 224)
        spread = torch.stack([pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3))])
        yield Check(f"pixels_{name}", pixels[:, :, ::4, ::4], case.tolerance)
        yield Check(f"mean_std_{name}", spread, case.tolerance)


@torch.no_grad()
def video_blocks(case: Case) -> Iterable[Check]:
    """One res block and one transformer, by our renames."""
    config, frames = case.config, int(case.facts["frames"])
    with torch.device("meta"):
        blocks = nn.ModuleDict(
            {
                "res": SpatioTemporalResBlock(config["channels"], config["out_channels"], config["emb_channels"]),
                "transformer": TransformerSpatioTemporalModel(
                    config["heads"],
                    config["dim_head"],
                    in_channels=config["out_channels"],
                    num_layers=config["depth"],
                    cross_attention_dim=config["context_dim"],
                ),
            }
        )
    names = {**under("res", "res", RES_BLOCK), **under("transformer", "transformer", TRANSFORMER)}
    blocks = filled(blocks, case.weights, names)
    follow_original(blocks)
    assert isinstance(blocks, nn.ModuleDict)
    x, emb, context = (case.inputs[name] for name in ("x", "emb", "context"))
    video = torch.zeros(len(x) // frames, frames)
    first_clip_is_images = video.clone()
    first_clip_is_images[0] = 1
    res = blocks["res"](x, emb, image_only_indicator=video)
    yield Check("res", res, case.tolerance)
    for name, indicator in (("transformer", video), ("transformer_first_clip_image_only", first_clip_is_images)):
        [ours] = blocks["transformer"](case.outputs["res"], context, image_only_indicator=indicator, return_dict=False)
        yield Check(name, ours, case.tolerance)


@torch.no_grad()
def video_unet(case: Case) -> Iterable[Check]:
    """The whole UNet, with its sizes told from the weights' shapes."""
    sizes = replace(unet_sizes(shapes_of(case.weights)), head_width=case.config["num_head_channels"])
    unet = build_unet(sizes.config(num_frames=case.facts["frames"], sample_size=8))
    filled(unet, case.weights, unet_map(sizes))
    follow_original(unet)
    clips, frames = int(case.facts["batch"]), int(case.facts["frames"])

    def by_clip(tensor: Tensor) -> Tensor:
        return tensor.unflatten(0, (clips, frames))

    timesteps = by_clip(case.inputs["timesteps"])
    assert bool((timesteps == timesteps[:, :1]).all()), "one noise level for a clip"
    video = torch.zeros(clips, frames)
    last_frame = video.clone()
    last_frame[:, -1] = 1
    indicators = {"out": video, "out_image_only": torch.ones_like(video), "out_last_frame_image_only": last_frame}
    for name, indicator in indicators.items():
        with images_only(unet, indicator):
            [out] = unet(
                by_clip(case.inputs["x"]),
                timesteps[:, 0],
                encoder_hidden_states=by_clip(case.inputs["context"])[:, 0],
                added_time_ids=case.inputs["time_ids"],
                return_dict=False,
            )
        yield Check(name, out.flatten(0, 1), case.tolerance)


@torch.no_grad()
def vae(case: Case) -> Iterable[Check]:
    """Encoder and temporal decoder, whole and in chunks."""
    shapes = shapes_of(case.weights)
    sizes = vae_sizes({name.removeprefix("encoder_embedder."): shape for name, shape in shapes.items()})
    names = {
        **under("encoder_embedder", "vae", encoder_map(sizes)),
        **under("decoder", "vae.decoder", decoder_map(sizes)),
    }
    network = build_vae(sizes.config())
    filled(network, case.weights, names, prefix="vae.")
    image, z = case.inputs["image"], case.inputs["z"]
    [posterior] = network.encode(image, return_dict=False)
    yield Check("moments", posterior.parameters, case.tolerance)
    still = torch.zeros_like(image)
    yield Check("mode", sampling.encode_picture(network, image, still, strength=0.0), case.tolerance)
    scaled = z[None] * network.config["scaling_factor"]
    for name in case.outputs.keys() - {"moments", "mode"}:
        chunk_size = {"frames": len(z), "frames_one_by_one": 1}.get(name) or int(name.removeprefix("frames_chunk"))
        yield Check(name, torch.cat(list(sampling.decode(network, scaled, chunk_size))), case.tolerance)


@torch.no_grad()
def e2e(case: Case) -> Iterable[Check]:
    """A whole run, from the original single file's names to frames."""
    architecture = _e2e_architecture(case)
    networks = _e2e_networks(case, architecture)
    facts, inputs = case.facts, case.inputs
    within, frames_within = _e2e_tolerances(case)
    conditioning = sampling.Conditioning(
        sampling.embed_picture(networks["image_encoder"], inputs["image"]),
        sampling.encode_picture(networks["vae"], inputs["image"], inputs["aug_noise"], facts["cond_aug"]),
        facts["fps_id"],
        facts["motion_bucket_id"],
        facts["cond_aug"],
    )
    yield Check("crossattn", conditioning.embedding, within)
    yield Check("concat", conditioning.latents, within)
    unet = networks["unet"]
    follow_original(unet)
    vector = unet.add_time_proj(conditioning.time_ids().flatten()).flatten()
    yield Check("vector", vector.expand(facts["frames"], -1), within)
    assert facts["rho"] == 7, "the scheduler's Karras schedule has rho 7"
    scheduler = scheduler_of({**SCHEDULER, "sigma_min": facts["sigma_min"], "sigma_max": facts["sigma_max"]})
    guidance = sampling.Guidance(facts["min_scale"], facts["max_scale"])
    latents = inputs["noise"][None]
    passes = sampling.denoise(unet, scheduler, latents, conditioning, guidance, facts["steps"])
    for step, latents in enumerate(passes):
        yield Check(f"latents_step{step}", latents[0], within)
    yield Check("sigmas", scheduler.sigmas, within)
    frames = torch.cat(list(sampling.decode(networks["vae"], latents, facts["decode_chunk"])))
    yield Check("frames", (frames * 0.5 + 0.5).clamp(0, 1), frames_within, relative=False)


def _e2e_architecture(case: Case) -> Architecture:
    """Read off the shapes, but for the heads, which leave no trace in them."""
    told = architecture_of(shapes_of(case.weights))
    clip = case.config["clip"]
    return replace(
        told,
        unet=replace(told.unet, head_width=case.config["unet"]["num_head_channels"]),
        clip=replace(told.clip, head_width=clip["width"] // clip["heads"]),
    )


def _e2e_networks(case: Case, architecture: Architecture) -> dict[NetworkName, Any]:
    names, configs = key_map(architecture), configs_of(architecture, case.facts["frames"])
    configs["vae"]["scaling_factor"] = case.config["scale_factor"]
    return {name: filled(build(configs[name]), case.weights, names, prefix=f"{name}.") for name, build in BUILD.items()}


def _e2e_tolerances(case: Case) -> tuple[float, float]:
    """For latents, as a part of their largest value, and for frames in 0 … 1."""
    given: dict[str, float] = case.facts["tolerance"]
    [latents] = [value for name, value in given.items() if name.startswith("latents")]
    return latents, given["frames"]
