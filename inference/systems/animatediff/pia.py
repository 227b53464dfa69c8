"""PIA (Zhang et al. 2023): a picture and words → a clip that begins with the picture.

Motion modules, and a first convolution with five channels more: beside the noisy latents it sees, in every frame, how
much that frame shall be like the picture (the mask, 1 is most) and the picture's latents. Both branches of guidance see
the same.

As the authors run it (`inference.py`, `example/config/base.yaml`): 16 frames, 25 steps of the room's `ddim`, guidance
7.5, at most 512 pixels to the longer edge, 8 fps, on a checkpoint in a style near the picture's: RealisticVision 5.1,
MajicMix, RCNZ Cartoon 3D. Words that merely describe the picture hold it still; what moves has to be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from PIL import Image
from torch import Tensor

from inference.systems.animatediff import loader
from inference.systems.animatediff.architecture import POSITIONS
from inference.systems.animatediff.loader import Motion, TensorFile

LATENTS = 4
CHANNELS = 9
"""Of the first convolution: noisy latents, mask, the picture's latents, in this order."""

AFFINITIES: tuple[tuple[float, ...], ...] = (
    (1.0, 0.9, 0.85, 0.85, 0.85, 0.8),
    (1.0, 0.8, 0.8, 0.8, 0.79, 0.78, 0.75),
    (1.0, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.5),
    (1.0, 0.9, 0.85, 0.85, 0.85, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.85, 0.85, 0.9, 1.0),
    (1.0, 0.8, 0.8, 0.8, 0.79, 0.78, 0.75, 0.75, 0.75, 0.75, 0.75, 0.78, 0.79, 0.8, 0.8, 1.0),
    (1.0, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.8, 1.0),
    (0.5, 0.4, 0.4, 0.4, 0.35, 0.3),
    (0.5, 0.4, 0.4, 0.4, 0.35, 0.35, 0.3, 0.25, 0.2),
    (0.5, 0.2),
)
"""The authors' masks, frame by frame: little, some and much motion (0–2); the same as loops (3–5); the same with the
style of the checkpoint instead of the picture's (6–8; the authors count these -1, -2, -3)."""
LOOPS = range(3, 6)


@dataclass(frozen=True)
class Pia:
    """One file, checked."""

    motion: Motion
    """Of `version` "v1", whatever its length: that says where the norms look (`open_pia`)."""
    weight: Tensor
    """Of the first convolution, `[width, 9, 3, 3]`."""
    bias: Tensor
    """`[width]`."""


def open_pia(path: Path, model: str) -> Pia:
    """Read `pia.ckpt`, or the MotionAdapter with nine input channels that diffusers made of it.

    The norms: the authors' UNet has plain GroupNorms on `[B, C, T, H, W]` in its res blocks and at its end, over all
    frames, and flattens the frames before those of transformers and motion modules. That is AnimateDiff's version 1,
    so its rule is taken (`norms.py`), though the file has 32 positions. AnimateDiff-Evolved too takes PIA as version 1.

    Raises:
        Failure: it cannot be read, or is something else.
    """
    file = loader.read(path, model)
    first = {name: tensor for name, tensor in file.tensors.items() if name.startswith("conv_in.")}
    rest = TensorFile(model, file.name, {name: at for name, at in file.tensors.items() if name not in first})
    motion = loader.motion_in(rest, version="v1")
    width = motion.sizes.channels[0]
    wanted = {"conv_in.weight": (width, CHANNELS, 3, 3), "conv_in.bias": (width,)}
    loader.compare(file, loader.shapes_of(first), wanted)
    sizes = replace(motion.sizes, positions=rest.positions or POSITIONS)
    return Pia(replace(motion, sizes=sizes), first["conv_in.weight"], first["conv_in.bias"])


def put_pia_into(base: UNet2DConditionModel, pia: Pia, *, own_first: bool = False) -> UNetMotionModel:
    """The image model's UNet, which keeps its numbers (shared, not copied), with PIA in it: it takes nine channels.

    Args:
        base: of SD 1.5's kind.
        pia: what goes in.
        own_first: for plain SD 1.5, on which PIA was trained: PIA's first convolution as a whole. Else the checkpoint's
            own sees the noisy latents, as the authors put the two together.

    Raises:
        AnimateDiffWrongBase: it was made for another kind of image model.
    """
    config: dict[str, Any] = {**base.config, "in_channels": CHANNELS}
    # diffusers keeps a list of what its user left at the default, and goes by that rather than by the value.
    config["_use_default_values"] = [name for name in config.get("_use_default_values", ()) if name != "in_channels"]
    unet = loader.build_unet(config, pia.motion)
    device, dtype = base.device, base.dtype
    learned = {name: tensor.to(device, dtype) for name, tensor in pia.motion.tensors.items()}
    weight, bias = (tensor.to(device, dtype) for tensor in (pia.weight, pia.bias))
    if not own_first:
        ours = base.conv_in
        weight, bias = torch.cat([ours.weight.detach(), weight[:, LATENTS:]], dim=1), cast(Tensor, ours.bias).detach()
    tensors = {**base.state_dict(), **learned, "conv_in.weight": weight, "conv_in.bias": bias}
    loader.fill(unet, tensors, dtype)
    return cast(Any, unet).to(device)


@dataclass(frozen=True)
class PiaCondition:
    """What the first convolution sees beside the noisy latents."""

    mask: Tensor
    """`[1, 1, T, h, w]`: how much each frame shall be like the picture."""
    latents: Tensor
    """`[1, 4, T, h, w]`: the picture's, the same in every frame."""

    def at(self, frames: Sequence[int]) -> PiaCondition:
        """For some of the clip's frames: a context window's."""
        chosen = torch.as_tensor(frames, device=self.mask.device)
        return PiaCondition(self.mask.index_select(2, chosen), self.latents.index_select(2, chosen))

    def beside(self, latents: Tensor) -> Tensor:
        """The UNet's input: `[B, 4, T, h, w]`, scaled as the sampler wants it → `[B, 9, T, h, w]`."""
        branches = latents.shape[0]
        seen = torch.cat([self.mask, self.latents], dim=1).to(latents.device, latents.dtype)
        return torch.cat([latents, seen.expand(branches, -1, -1, -1, -1)], dim=1)


def condition(image_latents: Tensor, num_frames: int, motion_scale: int) -> PiaCondition:
    """From a picture.

    Args:
        image_latents: `[1, 4, 1, h, w]`, a scaled sample of the posterior, as `sparsectrl.encode_pictures` draws it.
        num_frames: of the clip.
        motion_scale: 0 … 8, see `AFFINITIES`.
    """
    latents = image_latents.expand(-1, -1, num_frames, -1, -1)
    mask = image_latents.new_tensor(affinity(num_frames, motion_scale))[None, None, :, None, None]
    return PiaCondition(mask.expand(1, 1, -1, *latents.shape[-2:]), latents)


def affinity(num_frames: int, motion_scale: int) -> tuple[float, ...]:
    """How much each frame shall be like the picture.

    A list that is too short goes on with its last value, one that is too long is cut off, as with the authors; but a
    loop, which would not close then, is stretched or squeezed. At 16 frames it is theirs.
    """
    if motion_scale not in range(len(AFFINITIES)):
        raise ValueError(f"motion scale {motion_scale}: there are 0 to {len(AFFINITIES) - 1}")
    published = AFFINITIES[motion_scale]
    if motion_scale in LOOPS:
        places = np.linspace(0, len(published) - 1, num_frames)
        return tuple(float(value) for value in np.interp(places, range(len(published)), published))
    return (published + published[-1:] * max(0, num_frames - len(published)))[:num_frames]


def framed(picture: Image.Image, longest: int = 512) -> Tensor:
    """The picture as the authors prepare it: `[1, 3, H, W]` float32 in -1 … 1, for `sparsectrl.encode_pictures`.

    Its own shape, the longer edge at most `longest` pixels, both edges whole latents. It is not enlarged.
    """
    scale = min(1.0, longest / max(picture.size))
    exact = [max(1, int(edge * scale)) for edge in picture.size]
    whole = [max(8, edge // 8 * 8) for edge in exact]
    small = picture.convert("RGB").resize((exact[0], exact[1])).resize((whole[0], whole[1]))
    values = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)
    return values.permute(2, 0, 1)[None] * 2 - 1
