"""IP-Adapter (Ye et al. 2023): pictures as a prompt, beside the words.

CLIP looks at a picture, a small network turns that into a few tokens, and every spatial cross-attention of the UNet
attends to them a second time, with keys and values of its own; the two answers are added, this one times a scale.
Motion modules and self-attentions know nothing of it.

| kind | reads of CLIP | without a picture | network | tokens |
| --- | --- | --- | --- | --- |
| plain | the projected embedding | zeros | one matrix | 4 |
| plus, plus-face | the last layer but one, all patches | what CLIP says of normalised zeros | resampler | 16 |

"Without a picture" is the negative branch of guidance, as in the authors' `get_image_embeds`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor, nn

from inference.systems.animatediff import errors, loader
from inference.systems.animatediff.architecture import Shapes
from inference.systems.animatediff.ip_adapter_vision import Kind, SeenPictures
from inference.systems.animatediff.keymap import KeyMap
from inference.systems.animatediff.loader import TensorFile, Tensors
from jobs.errors import Failure

HEAD_WIDTH = 64
"""Of the resampler: the number of heads leaves no trace in a file, but their width is the same in all."""

_MATRICES = {f"ip_adapter.#.{matrix}": f"ip_adapter.#.{matrix}" for matrix in ("to_k_ip", "to_v_ip")}
NAMES: Mapping[Kind, KeyMap] = {
    "plain": KeyMap({"image_proj.proj": "projection.image_embeds", "image_proj.norm": "projection.norm", **_MATRICES}),
    "plus": KeyMap(
        {
            **{f"image_proj.{part}": f"projection.{part}" for part in ("latents", "proj_in", "proj_out", "norm_out")},
            **{
                f"image_proj.layers.#.{published}": f"projection.layers.#.{ours}"
                for published, ours in {
                    "0.norm1": "ln0",
                    "0.norm2": "ln1",
                    "0.to_q": "attn.to_q",
                    "0.to_kv": "attn.to_kv",  # both in one; `_apart` takes them apart
                    "0.to_out": "attn.to_out.0",
                    "1.0": "ff.0",
                    "1.1": "ff.1.net.0.proj",
                    "1.3": "ff.1.net.2",
                }.items()
            },
            **_MATRICES,
        }
    ),
}
"""The authors' ImageProjModel and Resampler → diffusers' ImageProjection and IPAdapterPlusImageProjection."""


class AnimateDiffPictureAdapterWrongBase(Failure):
    """Its matrices do not fit the image model's attentions, such as SDXL's on SD 1.5."""

    code = "animatediff_picture_adapter_wrong_base"


class AnimateDiffPictureAdapterWrongEncoder(Failure):
    """It reads another image encoder's answers than the one that looked at the pictures."""

    code = "animatediff_picture_adapter_wrong_encoder"


# -- the file --


@dataclass(frozen=True)
class IpAdapter:
    """One file, checked; its numbers go where a UNet is when they are put into it."""

    model: str
    kind: Kind
    projection: Mapping[str, Tensor]
    """From CLIP's answers to tokens, under the names of diffusers' class."""
    matrices: tuple[tuple[Tensor, Tensor], ...]
    """For keys and for values of each cross-attention, `[width, context]`, in the file's order: down, up, middle."""

    @torch.no_grad()
    def tokens(self, seen: SeenPictures, device: torch.device, dtype: torch.dtype) -> Tensor:
        """`[2, n, tokens, context]`: of n blanks for the negative branch, and of the pictures.

        Raises:
            AnimateDiffPictureAdapterWrongEncoder: it was made for another encoder.
        """
        network = _projection(self.kind, loader.shapes_of(self.projection))
        wanted = self.projection["image_embeds.weight" if self.kind == "plain" else "proj_in.weight"].shape[1]
        branches = seen.branches(self.kind)
        if branches.shape[-1] != wanted:
            raise AnimateDiffPictureAdapterWrongEncoder(model=self.model, wanted=wanted, found=branches.shape[-1])
        loader.fill(network, {name: tensor.to(device) for name, tensor in self.projection.items()}, dtype)
        return network(branches.flatten(0, 1).to(device, dtype)).unflatten(0, branches.shape[:2])

    def put_into(
        self, unet: UNetMotionModel, seen: SeenPictures, scale: float = 1.0
    ) -> AbstractContextManager[UNetMotionModel]:
        """Within this, the UNet is prompted with these pictures; see `prompted`."""
        return prompted(unet, [PicturePrompt(self, seen, scale)])


def open_ip_adapter(path: Path, model: str) -> IpAdapter:
    """Read an adapter from `.safetensors`, or from a `.bin` with its two dictionaries.

    Raises:
        Failure: it cannot be read, or is neither a plain one nor a plus (FaceID and full-face are others).
    """
    file = _read(path, model)
    if "image_proj.latents" in file.tensors:
        kind: Kind = "plus"
    elif "image_proj.proj.weight" in file.tensors:
        kind = "plain"
    else:
        example = next(iter(file.tensors))
        raise errors.AnimateDiffForeign(model=model, file=file.name, wanted="IP-Adapter", example=example)
    tensors = _apart(file.renamed(NAMES[kind], "IP-Adapter"))
    shapes = loader.shapes_of(tensors)
    with loader.sized(file, shapes):
        wanted = _wanted(kind, shapes)
    loader.compare(file, shapes, wanted)
    return IpAdapter(
        model,
        kind,
        {name.removeprefix("projection."): at for name, at in tensors.items() if name.startswith("projection.")},
        tuple(
            (tensors[f"ip_adapter.{number}.to_k_ip.weight"], tensors[f"ip_adapter.{number}.to_v_ip.weight"])
            for number in _numbers(shapes)
        ),
    )


def _read(path: Path, model: str) -> TensorFile:
    """A `.bin` is one dictionary of names for `image_proj` and one for `ip_adapter`: here they become one."""
    if path.suffix == ".safetensors":
        return loader.read(path, model)
    try:
        held = cast(Any, loader.unpickled(path))
        entries = {f"{part}.{name}": at for part in ("image_proj", "ip_adapter") for name, at in held[part].items()}
        tensors: Tensors = {name: at for name, at in entries.items() if isinstance(at, Tensor)}
        if not tensors or len(tensors) < len(entries):
            raise TypeError("no tensors by name")
    except (
        OSError, RuntimeError, ValueError, TypeError, EOFError, LookupError, AttributeError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise errors.AnimateDiffUnreadable(model=model, file=path.name) from error
    return TensorFile(model, path.name, tensors)


def _apart(tensors: Tensors) -> Tensors:
    """`to_kv` as `to_k` and `to_v`."""
    apart: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith(".to_kv.weight"):
            halves = tensor.tensor_split(2) if tensor.ndim else (tensor, tensor)
            apart |= {name.replace("to_kv", to): half for to, half in zip(("to_k", "to_v"), halves, strict=True)}
        else:
            apart[name] = tensor
    return apart


def _numbers(shapes: Shapes) -> list[int]:
    """The authors count all attentions from 0, self and cross in turn: those with a matrix are odd."""
    return sorted({int(name.split(".")[1]) for name in shapes if name.startswith("ip_adapter.")})


def _wanted(kind: Kind, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a whole file of this kind; how many attentions there are, only the UNet knows."""
    projection = loader.parameters_of(_projection(kind, _below(shapes)))
    context = projection["norm.weight" if kind == "plain" else "norm_out.weight"][0]
    wanted = {f"projection.{name}": shape for name, shape in projection.items()}
    for number in range(1, 2 * max(1, len(_numbers(shapes))), 2):
        key, value = (f"ip_adapter.{number}.{matrix}.weight" for matrix in ("to_k_ip", "to_v_ip"))
        width = shapes[key if key in shapes else value][0] if {key, value} & shapes.keys() else 0
        wanted |= {key: (width, context), value: (width, context)}
    return wanted


def _below(shapes: Shapes) -> Shapes:
    return {name.removeprefix("projection."): at for name, at in shapes.items() if name.startswith("projection.")}


def _projection(kind: Kind, shapes: Shapes) -> nn.Module:
    """On the meta device."""
    with torch.device("meta"):
        if kind == "plain":
            out, width = shapes["image_embeds.weight"]
            (context,) = shapes["norm.weight"]
            return ImageProjection(width, context, num_image_text_embeds=out // context)
        _, queries, hidden = shapes["latents"]
        layers = {name.split(".")[1] for name in shapes if name.startswith("layers.")}
        return IPAdapterPlusImageProjection(
            embed_dims=shapes["proj_in.weight"][1],
            output_dims=shapes["proj_out.weight"][0],
            hidden_dims=hidden,
            depth=len(layers),
            dim_head=HEAD_WIDTH,
            heads=shapes["layers.0.attn.to_q.weight"][0] // HEAD_WIDTH,
            num_queries=queries,
            ffn_ratio=shapes["layers.0.ff.1.net.0.proj.weight"][0] / hidden,
        )


# -- the UNet --


@dataclass(frozen=True)
class PicturePrompt:
    """Pictures, who reads them, and how much they count beside the words (1.0; 0.5 leaves the words more room)."""

    adapter: IpAdapter
    seen: SeenPictures
    scale: float = 1.0


class _Ready(nn.Module):
    """In the place of the projections, since the tokens are made once and not anew in each step."""

    def forward(self, tokens: list[Tensor]) -> list[Tensor]:
        return tokens


@contextmanager
def prompted(unet: UNetMotionModel, prompts: Sequence[PicturePrompt]) -> Generator[UNetMotionModel]:
    """Within this, every pass of the UNet sees the pictures too; whoever calls it has nothing to add.

    A pass over two clips is taken as the negative branch and then the positive one, a pass over one as the positive;
    any number of frames, since the UNet repeats the tokens for each. Afterwards it is as before, in every respect.

    Args:
        unet: where it is to run; it has to stay there meanwhile.
        prompts: one for each adapter.

    Raises:
        AnimateDiffPictureAdapterWrongBase: an adapter was made for another kind of image model.
        AnimateDiffPictureAdapterWrongEncoder: see `IpAdapter.tokens`.
    """
    before = unet.attn_processors
    place: Any = unet
    told, projection = place.config.encoder_hid_dim_type, place.encoder_hid_proj
    device, dtype = unet.device, unet.dtype  # diffusers looks through all modules each time it is asked
    tokens = [prompt.adapter.tokens(prompt.seen, device, dtype) for prompt in prompts]
    processors = {**before, **_processors(unet, prompts, tokens)}
    hook = unet.register_forward_pre_hook(_giving(tokens), with_kwargs=True)
    try:
        place.set_attn_processor(processors)
        place.encoder_hid_proj = _Ready()
        place.config.encoder_hid_dim_type = "ip_image_proj"
        yield unet
    finally:
        hook.remove()
        del place.encoder_hid_proj  # or torch would keep its name among the modules
        place.encoder_hid_proj = projection
        place.config.encoder_hid_dim_type = told
        place.set_attn_processor(dict(before))


def _giving(tokens: Sequence[Tensor]) -> Any:
    """A hook that hands the tokens to each pass."""

    def give(_unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sample: Tensor = args[0] if args else kwargs["sample"]
        if sample.shape[0] > 2:
            raise ValueError(f"{sample.shape[0]} clips at once: neither one branch nor two")
        chosen = [of_one[-sample.shape[0] :].to(sample.device, sample.dtype) for of_one in tokens]
        added = {**(kwargs.get("added_cond_kwargs") or {}), "image_embeds": chosen}
        return args, {**kwargs, "added_cond_kwargs": added}

    return give


def _processors(
    unet: UNetMotionModel, prompts: Sequence[PicturePrompt], tokens: Sequence[Tensor]
) -> dict[str, IPAdapterAttnProcessor2_0]:
    """For each spatial cross-attention, by the name of its processor."""
    # UNet2DConditionModel's attentions in its own order, which is the files': motion modules lie between them here.
    spatial = [name for name in unet.attn_processors if ".motion_modules." not in name]
    cross = spatial[1::2]
    linears = [cast(nn.Linear, cast(Attention, unet.get_submodule(name.rpartition(".")[0])).to_k) for name in cross]
    for prompt in prompts:
        if [linear.weight.shape for linear in linears] != [key.shape for key, _ in prompt.adapter.matrices]:
            raise AnimateDiffPictureAdapterWrongBase(model=prompt.adapter.model)
    device, dtype = unet.device, unet.dtype
    processors: dict[str, IPAdapterAttnProcessor2_0] = {}
    for place, (name, linear) in enumerate(zip(cross, linears, strict=True)):
        with torch.device("meta"):
            processor = IPAdapterAttnProcessor2_0(
                hidden_size=linear.out_features,
                cross_attention_dim=linear.in_features,
                num_tokens=[made.shape[2] for made in tokens],
                scale=cast(Any, [prompt.scale for prompt in prompts]),
            )
        matrices = {
            f"{to}.{number}.weight": matrix.to(device, dtype)
            for number, prompt in enumerate(prompts)
            for to, matrix in zip(("to_k_ip", "to_v_ip"), prompt.adapter.matrices[place], strict=True)
        }
        processor.load_state_dict(matrices, strict=True, assign=True)
        processors[name] = processor
    return processors
