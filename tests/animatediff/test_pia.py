"""A picture as the clip's beginning: PIA, held against diffusers."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel
from diffusers.pipelines.deprecated.pia.pipeline_pia import PIAPipeline, prepare_mask_coef_by_statistics
from PIL import Image
from torch import Tensor

from inference.systems.animatediff import errors, loader, sampling
from inference.systems.animatediff import pia as pia_room
from inference.systems.animatediff.ip_adapter_vision import SeenPictures
from inference.systems.animatediff.norms import AllFramesNorm, PerFrameNorm
from inference.systems.animatediff.pia import Pia, affinity, condition, framed, open_pia, put_pia_into
from inference.systems.animatediff.sparsectrl import encode_pictures as encode_latents
from jobs.errors import Failure
from tests.animatediff.picturing import adapter, filled, painted, passed, with_, without
from tests.animating import Tensors, original, with_tables, write
from tests.tiny_models import pictures as tiny


@pytest.fixture(scope="module")
def pia(models: Path) -> Pia:
    return open_pia(models / "pia" / "pia.ckpt", "pia")


@pytest.fixture(scope="module")
def pia_unet(base: UNet2DConditionModel, pia: Pia) -> UNetMotionModel:
    return put_pia_into(base, pia)


def left_as_it_is(network: Any, *, all_frames: bool = False) -> None:
    """diffusers' own norms."""


@pytest.fixture(scope="module")
def pia_unet_with_diffusers_norms(base: UNet2DConditionModel, pia: Pia) -> UNetMotionModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "follow_original", left_as_it_is)
        return put_pia_into(base, pia)


@pytest.fixture(scope="module")
def diffusers_pia_unet(base: UNet2DConditionModel) -> Any:
    adapter = MotionAdapter(tiny.CHANNELS, use_motion_mid_block=False, conv_in_channels=9)  # pyright: ignore[reportArgumentType]
    adapter.load_state_dict(tiny.pia(), strict=False)
    unet: Any = UNetMotionModel.from_unet2d(base, adapter)
    return unet.eval()


def test_pia_is_read_as_published_and_as_diffusers_has_it(pia: Pia, tmp_path: Path) -> None:
    tensors = tiny.pia()
    folder = {"diffusion_pytorch_model.safetensors": with_tables(tensors), "pia.ckpt": original(tensors)}
    for ours in (pia, *(open_pia(write(tmp_path / name, held), "pia") for name, held in folder.items())):
        assert torch.equal(ours.weight, tensors["conv_in.weight"])
        assert torch.equal(ours.bias, tensors["conv_in.bias"])
        assert all(torch.equal(at, tensors[name]) for name, at in ours.motion.tensors.items())
        assert ours.motion.tensors.keys() == tiny.pia(conv_in=False).keys()
        assert (ours.motion.sizes.positions, ours.motion.sizes.channels) == (32, tiny.CHANNELS)


NOT_PIA: list[tuple[Callable[[Tensors], Tensors], str]] = [
    (partial(without, "conv_in"), "animatediff_missing_tensors"),
    (partial(without, "conv_in.bias"), "animatediff_missing_tensors"),
    (partial(with_, "conv_in.weight", (32, 4, 3, 3)), "animatediff_wrong_shape"),
    (partial(with_, "conv_in.scale", (32,)), "animatediff_unknown_tensors"),
    (partial(with_, "conv_out.weight", (4, 32, 3, 3)), "animatediff_unknown_tensors"),
    (partial(without, "up_blocks.1.motion_modules.2."), "animatediff_missing_tensors"),
    (partial(without, "motion_modules"), "animatediff_foreign"),
]


@pytest.mark.parametrize(("change", "code"), NOT_PIA)
def test_what_is_not_pia_is_refused(change: Callable[[Tensors], Tensors], code: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as refused:
        open_pia(write(tmp_path / "pia.ckpt", change(original(tiny.pia(), 32))), "pia")
    assert refused.value.code == code


def test_pia_goes_into_a_unet_whose_image_model_stays_as_it_is(base: Any, pia: Pia) -> None:
    before = {name: at.clone() for name, at in base.state_dict().items()}
    unet: Any = put_pia_into(base, pia)

    assert unet.config["in_channels"] == 9
    assert base.config["in_channels"] == 4
    state = unet.state_dict()
    shared = [name for name, at in base.state_dict().items() if state[name].data_ptr() == at.data_ptr()]
    assert set(before) - set(shared) == {"conv_in.weight"}
    assert all(torch.equal(at, before[name]) for name, at in base.state_dict().items())
    # The checkpoint's own convolution sees the noisy latents; PIA's part sees the rest.
    assert torch.equal(unet.conv_in.weight[:, :4], before["conv_in.weight"])
    assert torch.equal(unet.conv_in.weight[:, 4:], pia.weight[:, 4:])
    whole: Any = put_pia_into(base, pia, own_first=True)
    assert torch.equal(whole.conv_in.weight, pia.weight)
    assert torch.equal(whole.conv_in.bias, pia.bias)
    config: dict[str, Any] = {**tiny.sd15_unet_config(), "block_out_channels": (32,) * 4}
    with torch.device("meta"):
        narrow = UNet2DConditionModel(**config)
    with pytest.raises(errors.AnimateDiffWrongBase):
        put_pia_into(narrow, pia)


def test_pias_norms_are_the_first_versions(pia_unet: Any) -> None:
    assert isinstance(pia_unet.conv_norm_out, AllFramesNorm)
    kinds = {
        "resnets": AllFramesNorm,
        "motion_modules": PerFrameNorm,
        "attentions": torch.nn.GroupNorm,
    }
    found = {
        (part, type(module))
        for name, module in pia_unet.named_modules()
        for part in kinds
        if isinstance(module, torch.nn.GroupNorm) and f".{part}." in name
    }
    assert found == set(kinds.items())


def tiny_vae() -> AutoencoderKL:
    sizes: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return filled(AutoencoderKL(**sizes, latent_channels=4, norm_num_groups=4), 26)


@pytest.mark.parametrize("guidance_scale", [7.5, 1.0])
def test_a_clip_is_what_diffusers_pipeline_makes(
    guidance_scale: float, pia_unet_with_diffusers_norms: Any, diffusers_pia_unet: Any
) -> None:
    """With diffusers' norms, from picture to latents; the room's own sampler, and nothing added but `beside`."""
    unet = pia_unet_with_diffusers_norms
    vae: Any = tiny_vae()
    picture = painted(64, 80)
    noise = sampling.starting_noise(3, 5, (64, 80))
    positive, negative = torch.randn(2, 1, 7, tiny.CONTEXT)

    latents = encode_latents(vae, framed(picture), torch.Generator().manual_seed(4))
    shown = condition(latents, 5, 1)
    words = sampling.Words(positive, negative)
    guided = guidance_scale > 1

    def ask(at: Tensor, timestep: Tensor, _step: int) -> Tensor:
        inputs = shown.at(range(5)).beside(torch.cat([at] * (2 if guided else 1)))
        predicted = unet(inputs, timestep, encoder_hidden_states=words.context(range(5), guided=guided)).sample
        if not guided:
            return predicted
        without_words, with_words = predicted.chunk(2)
        return without_words + guidance_scale * (with_words - without_words)

    *_, ours = sampling.denoise(ask, sampling.ddim(), noise, 3)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline: Any = PIAPipeline(vae, None, None, diffusers_pia_unet, sampling.ddim())  # pyright: ignore[reportArgumentType]
        pipeline.set_progress_bar_config(disable=True)
        theirs = pipeline(
            image=picture,
            prompt_embeds=positive,
            negative_prompt_embeds=negative,
            width=64,
            height=80,
            num_frames=5,
            num_inference_steps=3,
            guidance_scale=guidance_scale,
            latents=noise.clone(),
            generator=torch.Generator().manual_seed(4),
            motion_scale=1,
            output_type="latent",
        ).frames

    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    assert ours.std() > 1e-2


def test_pia_takes_a_picture_prompt_too(pia_unet: Any, models: Path, seen: SeenPictures) -> None:
    """As in the authors' own demo."""
    alone = passed(pia_unet, channels=9)
    with adapter(models, "plain").put_into(pia_unet, seen, 0.5):
        both = passed(pia_unet, channels=9)
    assert both.shape == alone.shape == (2, 4, 3, 8, 8)
    assert not torch.allclose(both, alone, atol=1e-3)
    assert torch.equal(passed(pia_unet, channels=9), alone)


@pytest.mark.parametrize("motion_scale", range(9))
@pytest.mark.parametrize("num_frames", [1, 8, 16, 24, 32])
def test_how_much_each_frame_is_like_the_picture(motion_scale: int, num_frames: int) -> None:
    published = prepare_mask_coef_by_statistics(num_frames, 0, motion_scale)
    ours = affinity(num_frames, motion_scale)

    assert len(ours) == num_frames
    if motion_scale not in pia_room.LOOPS or num_frames == 16:
        assert list(ours) == pytest.approx(published)
    elif num_frames > 1:
        assert ours[0] == ours[-1] == 1, "a loop closes at any length"
        assert min(ours) == pytest.approx(min(affinity(16, motion_scale)), abs=0.06)


@pytest.mark.parametrize("motion_scale", [-1, 9])
def test_there_are_nine_kinds_of_motion(motion_scale: int) -> None:
    with pytest.raises(ValueError, match="0 to 8"):
        affinity(16, motion_scale)


def test_a_window_sees_its_own_frames() -> None:
    shown = condition(torch.randn(1, 4, 1, 2, 3), 16, 0)
    assert shown.mask.shape == (1, 1, 16, 2, 3)
    assert shown.latents.shape == (1, 4, 16, 2, 3)

    noisy = torch.randn(2, 4, 3, 2, 3)
    inputs = shown.at([0, 1, 5]).beside(noisy)

    assert inputs.shape == (2, 9, 3, 2, 3)
    assert torch.equal(inputs[:, :4], noisy)
    assert torch.allclose(inputs[:, 4, :, 0, 0], torch.tensor([1.0, 0.9, 0.8]))
    assert torch.equal(inputs[:, 5:], shown.latents[:, :, :3].expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize(
    ("size", "expected"), [((1000, 500), (512, 256)), ((300, 411), (296, 408)), ((2000, 3), (512, 8)), ((8, 8), (8, 8))]
)
def test_a_picture_keeps_its_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels = framed(painted(*size))

    assert pixels.shape == (1, 3, *reversed(expected))
    assert pixels.min() >= -1
    assert pixels.max() <= 1
    assert torch.allclose(framed(Image.new("RGB", size, (255, 0, 0)))[0, :, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
