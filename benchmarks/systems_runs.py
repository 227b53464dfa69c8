"""What `systems.py` measures: for each feature, our system as the renderer runs it, and diffusers' own call.

Both sides read the same numbers from disk (`systems_networks.py`), take the same steps with the same sampler under the
same guidance, and end with 8-bit frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from diffusers.pipelines.animatediff.pipeline_animatediff_sdxl import AnimateDiffSDXLPipeline
from diffusers.pipelines.animatediff.pipeline_animatediff_sparsectrl import AnimateDiffSparseControlNetPipeline
from diffusers.pipelines.animatediff.pipeline_animatediff_video2video import AnimateDiffVideoToVideoPipeline
from diffusers.pipelines.animatediff.pipeline_animatediff_video2video_controlnet import (
    AnimateDiffVideoToVideoControlNetPipeline,
)
from diffusers.pipelines.deprecated.pia.pipeline_pia import PIAPipeline
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.systems_networks import BASES, DIFFUSERS, Sizes
from inference.residency import Residency
from inference.systems.animatediff.restyle import Restyle
from inference.systems.animatediff.samplers import scheduler_for
from inference.systems.animatediff.system import AnimateDiff
from inference.systems.animatediff.weights import BY_NAME
from inference.systems.base import Clip, Place, Sources
from inference.systems.svd.system import StableVideoDiffusion
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.animatediff_modules import MODULES, Module
from jobs.requests.restyle import RestyleRequest
from jobs.requests.svd import SvdRequest
from media.frames import FrameSpool

PROMPT, NEGATIVE = "a red boat on the sea at night", "dark"
SEED = 7
FPS = 4
STRENGTH = 0.6
"""Of video to video."""


@dataclass(frozen=True)
class Setting:
    """Where a run finds its networks, and on what it computes."""

    models: Path
    sizes: Sizes
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the big networks, as the renderer chooses it."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    def steps(self, module: Module) -> int:
        """Of a module that was made for a number of steps, those."""
        profile = MODULES[module]
        return profile.steps if profile.step_counts else self.sizes.steps

    def side(self, module: Module) -> int:
        """In pixels."""
        return self.sizes.xl_side if MODULES[module].family == "sdxl" else self.sizes.side


Run = Callable[[int], Iterable[Any]]
"""A number of frames → the frames, one after the other."""
Side = Callable[[Setting], Run]
"""Gets ready without reading any network of ours; diffusers reads its networks here."""


def picture(side: int, hue: int = 40) -> Image.Image:
    """A square on a ground."""
    pixels = np.full((side, side, 3), (hue, 255 - hue, 120), np.uint8)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = (255 - hue, hue, 20)
    return Image.fromarray(pixels)


def footage(side: int, num_frames: int) -> list[Image.Image]:
    """A clip whose colour goes from one to another."""
    return [picture(side, 20 + 200 * number // num_frames) for number in range(num_frames)]


# -- ours --


def place_of(setting: Setting) -> Place:
    """A fresh renderer's."""
    residency = Residency(setting.device)
    styles = {name: name for name in BASES.values()}
    return Place(setting.models, setting.device, setting.dtype, residency, {"styles": styles})


def untold(stage: str, step: int, total: int) -> None:
    """A tick that nobody watches."""


def animatediff(module: Module, **fields: Any) -> Side:
    """/animatediff with some options."""

    def ready(setting: Setting) -> Run:
        room, side = AnimateDiff(place_of(setting)), setting.side(module)
        images = {"image": picture(side), "look": picture(side, 200)}

        def run(num_frames: int) -> Iterable[Any]:
            usual: dict[str, Any] = {
                "prompt": PROMPT,
                "negative": NEGATIVE if MODULES[module].guidance_scale > 1 else "",
                "model": BASES[MODULES[module].family],
                "module": module,
                "seed": SEED,
                "num_frames": num_frames,
                "width": side,
                "height": side,
                "num_inference_steps": setting.steps(module),
            }
            return room.render(AnimateDiffRequest(**{**usual, **fields}), Sources(images), untold).frames

        return run

    return ready


def restyle(hold: str) -> Side:
    """/restyle of a clip that has the size already."""

    def ready(setting: Setting) -> Run:
        room, side = Restyle(place_of(setting)), setting.sizes.restyle_side

        def run(num_frames: int) -> Iterable[Any]:
            with FrameSpool(side, side, FPS) as spool:
                for frame in footage(side, num_frames):
                    spool.append(np.asarray(frame))
                request = RestyleRequest(
                    prompt=PROMPT,
                    negative=NEGATIVE,
                    model=BASES["sd15"],
                    module="v3",
                    seed=SEED,
                    strength=STRENGTH,
                    hold=hold,
                    seconds=num_frames / FPS,
                    fps=FPS,
                    size=setting.sizes.restyle_side,  # pyright: ignore[reportArgumentType]
                    num_inference_steps=setting.sizes.steps,
                )
                yield from room.render(request, Sources({}, {"clip": spool}), untold).frames

        return run

    return ready


def svd(setting: Setting) -> Run:
    """/svd."""
    room = StableVideoDiffusion(place_of(setting))
    side = setting.sizes.svd.sample_size * 8

    def run(_: int) -> Iterable[Any]:
        request = SvdRequest(
            model="svd",
            shape="square",
            num_frames=setting.sizes.svd_frames,
            num_inference_steps=setting.sizes.steps,
            min_guidance_scale=1.0,
            max_guidance_scale=3.0,
            seed=SEED,
        )
        clip: Clip = room.render(request, Sources({"image": picture(side)}), untold)
        return clip.frames

    return run


# -- diffusers --


def generator() -> torch.Generator:
    """As its pages show it."""
    return torch.Generator("cpu").manual_seed(SEED)


def image_model(setting: Setting, module: Module) -> dict[str, Any]:
    """A pipeline's networks but the motion module, read from the folder that ours is read from."""
    folder, dtype = setting.models / BASES[MODULES[module].family], setting.dtype
    how: dict[str, Any] = {"variant": "fp16", "torch_dtype": dtype}
    parts: dict[str, Any] = {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", **how),
        "vae": AutoencoderKL.from_pretrained(folder / "vae", **how),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder", variant="fp16", dtype=dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77),
    }
    if MODULES[module].family == "sdxl":
        parts["text_encoder_2"] = CLIPTextModelWithProjection.from_pretrained(
            folder / "text_encoder_2", variant="fp16", dtype=dtype
        )
        parts["tokenizer_2"] = CLIPTokenizer.from_pretrained(folder / "tokenizer_2", model_max_length=77)
    return parts


def pipeline(
    setting: Setting, module: Module, kind: Any = AnimateDiffPipeline, **more: Any
) -> tuple[Any, dict[str, Any]]:
    """A pipeline on the device, and what is always said in its call."""
    profile = MODULES[module]
    motion = MotionAdapter.from_pretrained(setting.models / DIFFUSERS / profile.weights, torch_dtype=setting.dtype)
    pipe = kind(**image_model(setting, module), motion_adapter=motion, scheduler=scheduler_for(profile), **more)
    pipe.to(setting.device)
    pipe.set_progress_bar_config(disable=True)
    return pipe, {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE if profile.guidance_scale > 1 else None,
        "guidance_scale": profile.guidance_scale,
        "num_inference_steps": setting.steps(module),
        "width": setting.side(module),
        "height": setting.side(module),
    }


def plain(module: Module, kind: Any = AnimateDiffPipeline, prepare: Callable[[Any], None] | None = None) -> Side:
    """A pipeline from words alone."""

    def ready(setting: Setting) -> Run:
        pipe, call = pipeline(setting, module, kind)
        if prepare is not None:
            prepare(pipe)
        return lambda num_frames: pipe(**call, num_frames=num_frames, generator=generator()).frames[0]

    return ready


def plain_sparse(setting: Setting) -> Run:
    """One picture at the first frame."""
    sparse = SparseControlNetModel.from_pretrained(
        setting.models / DIFFUSERS / "sparsectrl-rgb", torch_dtype=setting.dtype
    )
    pipe, call = pipeline(setting, "v3", AnimateDiffSparseControlNetPipeline, controlnet=sparse)
    call |= {"conditioning_frames": [picture(setting.sizes.side)], "controlnet_frame_indices": [0]}
    return lambda num_frames: pipe(**call, num_frames=num_frames, generator=generator()).frames[0]


def plain_look(setting: Setting) -> Run:
    """IP-Adapter."""
    eyes = CLIPVisionModelWithProjection.from_pretrained(setting.models / "clip-vit-h", dtype=setting.dtype)
    pipe, call = pipeline(setting, "v3", image_encoder=eyes, feature_extractor=CLIPImageProcessorPil())
    file = setting.models / "ip-adapter-sd15" / next(iter(BY_NAME["ip-adapter-sd15"].layouts[0].files))
    pipe.load_ip_adapter(str(file.parent), subfolder="", weight_name=file.name, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.6)
    call["ip_adapter_image"] = picture(setting.sizes.side, 200)
    return lambda num_frames: pipe(**call, num_frames=num_frames, generator=generator()).frames[0]


def plain_pia(setting: Setting) -> Run:
    """A picture that moves."""
    pipe, call = pipeline(setting, "pia", PIAPipeline)
    call |= {"image": picture(setting.sizes.side), "motion_scale": 1}
    return lambda num_frames: pipe(**call, num_frames=num_frames, generator=generator()).frames[0]


def plain_restyle(held: bool) -> Side:
    """Video to video, with or without a ControlNet."""

    def ready(setting: Setting) -> Run:
        side = setting.sizes.restyle_side
        size: dict[str, Any] = {"width": side, "height": side, "strength": STRENGTH}
        if held:
            control = ControlNetModel.from_pretrained(
                setting.models / "controlnet-tile", variant="fp16", torch_dtype=setting.dtype
            )
            pipe, call = pipeline(setting, "v3", AnimateDiffVideoToVideoControlNetPipeline, controlnet=control)
        else:
            pipe, call = pipeline(setting, "v3", AnimateDiffVideoToVideoPipeline)

        def run(num_frames: int) -> Iterable[Any]:
            clip = footage(side, num_frames)
            shown = {"conditioning_frames": clip} if held else {}
            return pipe(**{**call, **size, **shown}, video=clip, generator=generator()).frames[0]

        return run

    return ready


def plain_svd(setting: Setting) -> Run:
    """Stable Video Diffusion."""
    pipe: Any = StableVideoDiffusionPipeline.from_pretrained(
        setting.models / "svd", variant="fp16", torch_dtype=setting.dtype
    )
    pipe.to(setting.device)
    pipe.set_progress_bar_config(disable=True)
    side = setting.sizes.svd.sample_size * 8
    call = {"width": side, "height": side, "num_frames": setting.sizes.svd_frames}
    return lambda _: pipe(picture(side), **call, num_inference_steps=setting.sizes.steps, generator=generator()).frames[
        0
    ]


def free_noise(pipe: Any) -> None:
    """diffusers' long clips."""
    pipe.enable_free_noise(context_length=16, context_stride=12)


def free_noise_split(pipe: Any) -> None:
    """The same, with what diffusers offers for sparing memory."""
    free_noise(pipe)
    pipe.enable_free_noise_split_inference()
    pipe.vae.enable_slicing()


# -- what is compared --


@dataclass(frozen=True)
class Feature:
    """One row of the table."""

    beside: str
    """The call of diffusers that ours is measured by."""
    ours: Side
    theirs: Side
    needs: tuple[str, ...]


SD15 = ("sd15", "animatediff-v3")
FEATURES: Mapping[str, Feature] = {
    "text, v3": Feature("AnimateDiffPipeline", animatediff("v3"), plain("v3"), SD15),
    "camera move (LoRA), v15-v2": Feature(
        "the same without it: LoRAs there need peft",
        animatediff("v15-v2", camera="zoom in"),
        plain("v15-v2"),
        ("sd15", "animatediff-v15-v2", "motion-lora-zoom-in"),
    ),
    "motion scale": Feature("the same without it", animatediff("v3", motion_scale="0:(1), 8:(1.3)"), plain("v3"), SD15),
    "prompt schedule": Feature(
        "the same without it",
        animatediff("v3", schedule="0: at night | 1: in the sun | 8: in the snow", prompt="a red boat"),
        plain("v3"),
        SD15,
    ),
    "pinned picture (SparseCtrl rgb)": Feature(
        "AnimateDiffSparseControlNetPipeline",
        animatediff("v3", image="image"),
        plain_sparse,
        (*SD15, "sparsectrl-rgb"),
    ),
    "look (IP-Adapter)": Feature(
        "AnimateDiffPipeline.load_ip_adapter",
        animatediff("v3", look="look", look_by="plain"),
        plain_look,
        (*SD15, "ip-adapter-sd15", "clip-vit-h"),
    ),
    "PIA": Feature("PIAPipeline", animatediff("pia", image="image"), plain_pia, ("sd15", "pia")),
    "Lightning, 2 steps": Feature(
        "AnimateDiffPipeline", animatediff("lightning-2"), plain("lightning-2"), ("sd15", "animatediff-lightning-2")
    ),
    "video to video": Feature("AnimateDiffVideoToVideoPipeline", restyle("none"), plain_restyle(held=False), SD15),
    "video to video, ControlNet": Feature(
        "AnimateDiffVideoToVideoControlNetPipeline",
        restyle("tile"),
        plain_restyle(held=True),
        (*SD15, "controlnet-tile"),
    ),
    "SDXL": Feature(
        "AnimateDiffSDXLPipeline",
        animatediff("sdxl"),
        plain("sdxl", AnimateDiffSDXLPipeline),
        ("sdxl", "animatediff-sdxl"),
    ),
    "SVD": Feature("StableVideoDiffusionPipeline", svd, plain_svd, ("svd",)),
}
LONG_NEEDS = ("sd15", "animatediff-lightning-1")
LONG: Mapping[str, Side] = {
    "ours, static windows": animatediff("lightning-1", context="static"),
    "ours, in the module": animatediff("lightning-1", context="in the module"),
    "diffusers, FreeNoise": plain("lightning-1", prepare=free_noise),
    "diffusers, FreeNoise, split inference, VAE slicing": plain("lightning-1", prepare=free_noise_split),
}
"""Ways to make a clip that is longer than the motion module can hold."""
