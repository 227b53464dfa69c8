"""Pictures as a prompt: what CLIP sees, IP-Adapters' files, and the adapter in a UNet."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from inference.systems.animatediff import errors, loader, sampling
from inference.systems.animatediff.ip_adapter import (
    AnimateDiffPictureAdapterWrongBase,
    AnimateDiffPictureAdapterWrongEncoder,
    PicturePrompt,
    open_ip_adapter,
    prompted,
)
from inference.systems.animatediff.ip_adapter_vision import (
    SeenPictures,
    clip_pixels,
    encode_pictures,
    open_image_encoder,
)
from inference.systems.animatediff.pia import open_pia
from jobs.errors import Failure
from tests.animatediff.picturing import adapter, painted, passed, with_, without
from tests.animating import Tensors, write
from tests.tiny_models import pictures as tiny

KINDS = ["plain", "plus"]


@pytest.fixture(scope="module")
def unet(base: UNet2DConditionModel, models: Path) -> UNetMotionModel:
    """With PIA's motion modules, but four channels: any motion module would do."""
    return loader.put_into(base, open_pia(models / "pia" / "pia.ckpt", "pia").motion)


def nested(tensors: Tensors) -> dict[str, Tensors]:
    """As a `.bin` has them."""
    parts: dict[str, Tensors] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


# -- what CLIP sees --


@pytest.mark.parametrize("size", [(300, 200), (200, 333), (224, 224), (97, 500), (1024, 1023)])
def test_a_picture_is_prepared_as_clips_own_processor_does_it(size: tuple[int, int]) -> None:
    picture = painted(*size)
    theirs = CLIPImageProcessorPil()(picture, return_tensors="pt")["pixel_values"]

    assert torch.allclose(clip_pixels(picture, 224), torch.as_tensor(theirs), atol=1e-6)


def test_the_encoders_two_answers_and_a_blank(models: Path) -> None:
    encoder = open_image_encoder(models / "clip-vit-h", "clip-vit-h", torch.float32)
    picture = painted(300, 200)
    seen = encode_pictures(encoder, [picture, painted(64, 64)])

    with torch.no_grad():
        alone = encoder(clip_pixels(picture, 224), output_hidden_states=True)
        blank = encoder(torch.zeros(1, 3, 224, 224), output_hidden_states=True)
    assert seen.embeds.shape == (2, 40)
    assert torch.allclose(seen.embeds[:1], alone.image_embeds, atol=1e-5)
    assert torch.allclose(seen.patches[:1], alone.hidden_states[-2], atol=1e-5)
    assert torch.allclose(seen.blank, blank.hidden_states[-2], atol=1e-5)
    assert not torch.allclose(seen.embeds[0], seen.embeds[1], atol=1e-2)
    # Guidance goes away from what the authors' `get_image_embeds` takes for no picture.
    for (negative, positive), answer in (
        (seen.branches("plain"), (torch.zeros(2, 40), seen.embeds)),
        (seen.branches("plus"), (seen.blank.repeat(2, 1, 1), seen.patches)),
    ):
        assert torch.equal(negative, answer[0])
        assert torch.equal(positive, answer[1])


def test_an_encoder_that_is_not_what_its_config_says_is_refused(models: Path, tmp_path: Path) -> None:
    there = models / "clip-vit-h"
    (tmp_path / "model.safetensors").symlink_to(there / "model.safetensors")
    for config, code in (
        ("{", "animatediff_unreadable"),
        ("[]", "animatediff_unreadable"),
        ((there / "config.json").read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'), "missing"),
        ((there / "config.json").read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 2'), "unknown"),
        ((there / "config.json").read_text().replace('"projection_dim": 40', '"projection_dim": 48'), "wrong_shape"),
    ):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(Failure) as refused:
            open_image_encoder(tmp_path, "mine", torch.float32)
        assert code in refused.value.code


# -- the adapter's files --


@pytest.mark.parametrize("kind", KINDS)
def test_both_published_layouts_are_read(kind: str, models: Path, tmp_path: Path) -> None:
    ours = adapter(models, kind)
    other = open_ip_adapter(write(tmp_path / "adapter.bin", nested(tiny.ip_adapter(kind))), kind)

    assert ours.kind == other.kind == kind
    assert len(ours.matrices) == 16
    assert all(torch.equal(at, other.projection[name]) for name, at in ours.projection.items())
    pairs = zip(ours.matrices, other.matrices, strict=True)
    assert all(torch.equal(a, b) for mine, its in pairs for a, b in zip(mine, its, strict=True))


KEY = "ip_adapter.7.to_k_ip.weight"
NOT_PUBLISHED: list[tuple[str, Callable[[Tensors], Tensors], str]] = [
    ("plain", partial(without, KEY), "animatediff_missing_tensors"),
    ("plain", partial(without, "ip_adapter."), "animatediff_missing_tensors"),
    ("plain", partial(without, "image_proj.norm"), "animatediff_missing_tensors"),
    ("plain", partial(without, "ip_adapter.7."), "animatediff_unknown_tensors"),  # and so 31 is one too many
    ("plain", partial(with_, "ip_adapter.2.to_k_ip.weight", (32, 32)), "animatediff_unknown_tensors"),
    ("plain", partial(with_, "ip_adapter.99999999999.to_k_ip.weight", (32, 32)), "animatediff_unknown_tensors"),
    ("plain", partial(with_, "ip_adapter.1.to_k_lora.down.weight", (8, 32)), "animatediff_unknown_tensors"),
    ("plain", partial(with_, KEY, (32, 48)), "animatediff_wrong_shape"),
    ("plain", partial(with_, KEY, (48, 32)), "animatediff_wrong_shape"),
    ("plain", partial(with_, "image_proj.proj.weight", (130, 40)), "animatediff_wrong_shape"),
    ("plain", partial(with_, "image_proj.proj.weight", ()), "animatediff_wrong_shape"),
    ("plain", partial(without, "image_proj.proj"), "animatediff_foreign"),
    ("plus", partial(without, "image_proj.layers.2.0.to_kv"), "animatediff_missing_tensors"),
    ("plus", partial(without, "image_proj.layers.0.0.to_q"), "animatediff_missing_tensors"),
    ("plus", partial(with_, "image_proj.layers.4.2.weight", (4,)), "animatediff_unknown_tensors"),
    ("plus", partial(with_, "image_proj.layers.1.0.to_kv.weight", (129, 64)), "animatediff_wrong_shape"),
    ("plus", partial(with_, "image_proj.latents", (16, 64)), "animatediff_wrong_shape"),
]


@pytest.mark.parametrize(("kind", "change", "code"), NOT_PUBLISHED)
@pytest.mark.parametrize("file", ["a.safetensors", "a.bin"])
def test_what_is_not_the_published_adapter_is_refused(
    kind: str, change: Callable[[Tensors], Tensors], code: str, file: str, tmp_path: Path
) -> None:
    tensors = change(tiny.ip_adapter(kind))

    with pytest.raises(Failure) as refused:
        open_ip_adapter(write(tmp_path / file, nested(tensors) if file == "a.bin" else tensors), "mine")
    assert refused.value.code == code


@pytest.mark.parametrize("held", [[1], {"image_proj": {}}, {"image_proj": {"a": 1}, "ip_adapter": {}}, {"a": 3}])
def test_a_bin_without_its_two_dictionaries_is_refused(held: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.AnimateDiffUnreadable):
        open_ip_adapter(write(tmp_path / "a.bin", held), "mine")


# -- the adapter in a UNet --


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pictures", "scale"), [(1, 1.0), (2, 0.6)])
def test_the_unet_answers_as_with_diffusers_own_loader(
    kind: str, pictures: int, scale: float, models: Path, unet: Any, seen: SeenPictures
) -> None:
    """Theirs converts the file's tensors itself and is told the pictures with each pass."""
    seen = SeenPictures(seen.embeds[:pictures], seen.patches[:pictures], seen.blank)
    theirs: Any = copy.deepcopy(unet)
    theirs._load_ip_adapter_weights([nested({name: at.float() for name, at in tiny.ip_adapter(kind).items()})])
    for processor in theirs.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [scale]
    expected = passed(
        theirs, added_cond_kwargs={"image_embeds": [seen.branches("plain" if kind == "plain" else "plus")]}
    )

    with adapter(models, kind).put_into(unet, seen, scale):
        ours = passed(unet)

    assert torch.allclose(ours, expected, atol=1e-6)
    assert (ours - passed(unet)).abs().max() > 1e-2, "and the pictures do count"


def test_the_files_count_attentions_as_the_image_model_does(base: Any, unet: Any) -> None:
    assert [name for name in unet.attn_processors if ".motion_modules." not in name] == list(base.attn_processors)


@pytest.mark.parametrize("kind", KINDS)
def test_one_branch_is_the_positive_one(kind: str, models: Path, unet: Any, seen: SeenPictures) -> None:
    """Guided or not, and for clips of any length."""
    for frames in (1, 5):
        x, context = torch.randn(1, 4, frames, 8, 8), torch.randn(frames, 5, tiny.CONTEXT)
        with torch.no_grad(), adapter(models, kind).put_into(unet, seen):
            guided = unet(x.repeat(2, 1, 1, 1, 1), 7, encoder_hidden_states=context.repeat(2, 1, 1)).sample
            alone = unet(x, 7, encoder_hidden_states=context).sample
        # Matrices of another height are multiplied in another order, and a random network makes that larger.
        assert (guided[1:] - alone).abs().max() < 2e-3
        assert (guided[:1] - alone).abs().max() > 2e-2


def test_the_denoiser_needs_to_know_nothing_of_it(models: Path, unet: Any, seen: SeenPictures) -> None:
    words = sampling.Words(torch.randn(1, 5, tiny.CONTEXT), torch.randn(1, 5, tiny.CONTEXT))
    denoiser = sampling.Denoiser(unet, words, 7.5)
    noise = sampling.starting_noise(3, 4, (64, 64))

    def ended() -> Tensor:
        *_, last = sampling.denoise(denoiser.whole(), sampling.ddim(), noise, 2)
        return last

    with adapter(models, "plus").put_into(unet, seen, 0.8):
        prompt = ended()
        again = ended()
    with adapter(models, "plus").put_into(unet, seen, 0.0):
        silent = ended()
    assert torch.equal(prompt, again)
    assert not torch.allclose(prompt, silent, atol=1e-3)
    assert torch.equal(silent, ended())


def trace(unet: Any) -> Any:
    """All that a module holds by name; of the processors and the config, what they are."""
    modules: list[tuple[str, Any]] = list(unet.named_modules())
    names = {name: (sorted(module.__dict__), sorted(module._modules)) for name, module in modules}
    processors = {name: id(at) for name, at in unet.attn_processors.items()}
    return names, processors, dict(unet.config), repr(unet.config.__dict__), len(unet._forward_pre_hooks)


@pytest.mark.parametrize("kind", KINDS)
def test_it_leaves_no_trace(kind: str, models: Path, unet: Any, seen: SeenPictures) -> None:
    """Neither when all went well nor when a pass failed, or the adapter never fitted."""
    answer = passed(unet)
    before = trace(unet)
    numbers = {name: at.data_ptr() for name, at in unet.state_dict().items()}

    def failing() -> None:
        with adapter(models, kind).put_into(unet, seen):
            assert type(unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor).__name__.startswith("IPA")
            passed(unet)
            raise RuntimeError("a cancel")

    with pytest.raises(RuntimeError, match="a cancel"):
        failing()
    with pytest.raises(ValueError, match="3 clips"), adapter(models, kind).put_into(unet, seen):
        passed(unet, branches=3)

    assert trace(unet) == before
    assert {name: at.data_ptr() for name, at in unet.state_dict().items()} == numbers
    assert torch.equal(passed(unet), answer)


def test_what_else_a_pass_is_told_stays(models: Path, unet: Any, seen: SeenPictures) -> None:
    """SDXL's UNet is told sizes and a pooled prompt in the same way."""
    told: list[dict[str, Any]] = []
    sizes = torch.zeros(2, 6)
    with adapter(models, "plain").put_into(unet, seen):

        def listen(_unet: Any, _args: Any, kwargs: dict[str, Any]) -> None:
            told.append(kwargs["added_cond_kwargs"])

        listening = unet.register_forward_pre_hook(listen, with_kwargs=True)
        passed(unet, added_cond_kwargs={"time_ids": sizes})
        listening.remove()
    assert told[0]["time_ids"] is sizes
    assert told[0]["image_embeds"][0].shape == (2, 2, 4, tiny.CONTEXT)


def test_motion_and_self_attention_are_left_alone(models: Path, unet: Any, seen: SeenPictures) -> None:
    before = dict(unet.attn_processors)
    with adapter(models, "plus").put_into(unet, seen):
        changed = {name for name, at in unet.attn_processors.items() if at is not before[name]}
    spatial = {name for name in before if ".motion_modules." not in name}
    assert changed == {name for name in spatial if name.endswith("attn2.processor")}
    assert len(changed) == 16


@pytest.mark.slow
def test_several_adapters_add_up(models: Path, unet: Any, seen: SeenPictures) -> None:
    """A style from one picture and a face from another; the order in which they are named means nothing."""
    style = PicturePrompt(adapter(models, "plain"), seen, 0.7)
    face = PicturePrompt(adapter(models, "plus"), seen, 0.4)
    with prompted(unet, [style, face]):
        both = passed(unet)
    with prompted(unet, [face, style]):
        swapped = passed(unet)
    with prompted(unet, [style, replace(face, scale=0.0)]):
        first = passed(unet)
    with prompted(unet, [style]):
        alone = passed(unet)

    assert torch.allclose(both, swapped, atol=1e-5)
    assert torch.equal(first, alone)
    assert not torch.allclose(both, alone, atol=1e-3)


def test_it_computes_in_the_unets_type(models: Path, unet: Any, seen: SeenPictures) -> None:
    narrow = copy.deepcopy(unet).to(torch.bfloat16)
    x, context = torch.randn(1, 4, 2, 8, 8), torch.randn(2, 5, tiny.CONTEXT)
    with torch.no_grad(), adapter(models, "plus").put_into(narrow, seen):
        assert {at.dtype for at in narrow.state_dict().values()} == {torch.bfloat16}
        answer = narrow(x.bfloat16(), 7, encoder_hidden_states=context.bfloat16()).sample
    assert answer.dtype == torch.bfloat16
    assert answer.isfinite().all()


def test_an_adapter_for_another_image_model_or_encoder_is_refused(
    models: Path, unet: Any, seen: SeenPictures, tmp_path: Path
) -> None:
    answer = passed(unet)
    fewer = without("ip_adapter.31.", tiny.ip_adapter("plain"))
    shallow = open_ip_adapter(write(tmp_path / "a.safetensors", fewer), "xl")
    with pytest.raises(AnimateDiffPictureAdapterWrongBase) as refused, shallow.put_into(unet, seen):
        pass
    assert refused.value.facts == {"model": "xl"}

    for kind in KINDS:
        other = SeenPictures(torch.randn(1, 64), torch.randn(1, 17, 64), torch.randn(1, 17, 64))
        with pytest.raises(AnimateDiffPictureAdapterWrongEncoder) as other_encoder:
            adapter(models, kind).put_into(unet, other).__enter__()
        wanted = 40 if kind == "plain" else 48
        assert other_encoder.value.facts == {"model": kind, "wanted": wanted, "found": 64}
    assert torch.equal(passed(unet), answer)
