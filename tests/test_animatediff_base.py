"""Image models in every layout in which people publish them; what is refused; and what their words become."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff import loader as room
from inference.systems.animatediff.base import errors, words
from inference.systems.animatediff.base.architecture import clip_config, unet_sizes, vae_sizes
from inference.systems.animatediff.base.emphasis import MOST, Piece, parse
from inference.systems.animatediff.base.keymap import OPEN_CLIP, laid_out, unet_map, vae_map
from inference.systems.animatediff.base.kinds import Family, family_of, seems
from inference.systems.animatediff.base.loader import open_base
from inference.systems.animatediff.base.model import BUILD, Base, build_text_encoder_2, build_vae
from inference.systems.animatediff.sampling import ddim
from jobs.errors import Failure
from tests import references
from tests.animating import original, random
from tests.tiny_models.stable_diffusion import (
    SD15_FILE,
    SD15_UNET,
    TOKENIZER,
    TinyModel,
    random_model,
    single_names,
    unet_name,
    write_hub,
    write_single,
    write_stable_diffusion,
    write_tokenizer,
)

FAMILIES: tuple[Family, ...] = ("sd15", "sdxl")
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def models() -> dict[Family, TinyModel]:
    return {family: random_model(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def shelf(models: dict[Family, TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, as a file and as a folder, and CLIP's words."""
    folder = tmp_path_factory.mktemp("models")
    for family, model in models.items():
        write_single(folder / f"{family}.safetensors", model)
        write_hub(folder / family, model)
    write_tokenizer(folder / TOKENIZER)
    return folder


@cache
def opened(path: Path, shelf: Path) -> Base:
    return open_base("mine", path, shelf / TOKENIZER)


def same(network: torch.nn.Module, original: torch.nn.Module) -> None:
    ours, theirs = network.state_dict(), original.state_dict()
    assert ours.keys() == theirs.keys()
    assert [key for key in theirs if not torch.equal(ours[key].float(), theirs[key])] == []
    assert not network.training
    assert not any(at.is_meta for at in (*network.parameters(), *network.buffers()))


# -- layouts --


@pytest.mark.parametrize("layout", ["{}.safetensors", "{}"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_read_from_a_file_and_from_a_folder(
    family: Family, layout: str, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    base = opened(shelf / layout.format(family), shelf)

    assert (base.family, base.prediction_type) == (family, "epsilon")
    assert base.native_side == {"sd15": 512, "sdxl": 1024}[family]
    assert base.configs.keys() == models[family].networks.keys()
    for name, network in models[family].networks.items():
        loaded = base.load(name, torch.float32)
        same(loaded, network)
        assert type(loaded) is type(network)
        assert {at.dtype for at in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_file_and_folder_give_the_same_networks_in_every_setting(family: Family, shelf: Path) -> None:
    """Heads, activations, projections and the like: what stands in a folder's config and in no tensor's shape."""
    file, folder = opened(shelf / f"{family}.safetensors", shelf), opened(shelf / family, shelf)

    for name, build in BUILD.items():
        if name in file.configs:
            assert repr(build(file.configs[name])) == repr(build(folder.configs[name]))
    noise, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, int(file.configs["unet"]["cross_attention_dim"]))
    added = {"text_embeds": torch.randn(1, 64), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
    predicted = [
        base.load("unet", torch.float32)(noise, 500, text, added_cond_kwargs=added).sample for base in (file, folder)
    ]
    assert torch.equal(*predicted)
    vaes: list[Any] = [BUILD["vae"](base.configs["vae"]) for base in (file, folder)]
    assert [vae.config["scaling_factor"] for vae in vaes] == [{"sd15": 0.18215, "sdxl": 0.13025}[family]] * 2


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("safetensors", torch.bfloat16), ("safetensors", torch.float32), ("ckpt", torch.float16), ("ckpt", torch.float32)],
)
def test_any_width_of_number_is_read(
    dtype: torch.dtype, suffix: str, tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    path = write_single(tmp_path / f"model.{suffix}", models["sd15"], dtype=dtype)

    unet = opened(path, shelf).load("unet", torch.float16)

    expected = models["sd15"].networks["unet"].conv_in.weight.to(dtype).half()
    assert torch.equal(unet.get_parameter("conv_in.weight"), expected)


def test_a_folder_with_plain_names_and_one_in_pieces(
    tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "plain", models["sd15"], variant=None)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    keys = list(tensors)
    for number, half in enumerate((keys[: len(keys) // 2], keys[len(keys) // 2 :]), start=1):
        save_file({key: tensors[key] for key in half}, whole.with_stem(f"{whole.stem}-0000{number}-of-00002"))
    whole.unlink()

    for name, network in models["sd15"].networks.items():
        same(opened(folder, shelf).load(name, torch.float32), network)


def test_a_text_encoder_as_todays_transformers_writes_it(
    tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    """Without `text_model` before the names, if it so pleases; and saved by the library itself, all of it."""
    folder = write_hub(tmp_path / "new", models["sdxl"], variant=None)
    for name, network in models["sdxl"].networks.items():
        network.save_pretrained(folder / name)

    for name, network in models["sdxl"].networks.items():
        same(opened(folder, shelf).load(name, torch.float32), network)


def test_clip_without_text_model_in_its_names(tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]) -> None:
    """Some merges lost it."""
    tensors = {key.replace(".text_model.", "."): at.contiguous() for key, at in single_names(models["sd15"]).items()}
    save_file(tensors, tmp_path / "merge.safetensors")

    base = opened(tmp_path / "merge.safetensors", shelf)

    same(base.load("text_encoder", torch.float32), models["sd15"].networks["text_encoder"])


def test_a_vae_whose_attention_kept_diffusers_names(
    tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    """As one converter wrote it: names and layout of the library, inside a file of the old kind."""

    def kept(key: str) -> str:
        for old, new in {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}.items():
            key = key.replace(f".mid.attn_1.{old}.", f".mid.attn_1.{new}.")
        return key

    tensors = {kept(key): at for key, at in single_names(models["sd15"]).items()}
    linear = {key: at.flatten(1) if ".mid.attn_1.to_" in key and at.ndim == 4 else at for key, at in tensors.items()}
    save_file({key: at.contiguous() for key, at in linear.items()}, tmp_path / "merge.safetensors")

    base = opened(tmp_path / "merge.safetensors", shelf)

    same(base.load("vae", torch.float32), models["sd15"].networks["vae"])


def test_v_prediction_is_told_by_marks_notes_and_schedulers(
    tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    tensors = {key: at.contiguous() for key, at in single_names(models["sdxl"]).items()}
    marked, noted = tmp_path / "marked.safetensors", tmp_path / "noted.safetensors"
    save_file({**tensors, "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, marked)
    save_file(tensors, noted, metadata={"modelspec.prediction_type": "v"})
    folder = write_hub(tmp_path / "folder", models["sdxl"])
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "v_prediction"}))

    assert [opened(path, shelf).prediction_type for path in (marked, noted, folder)] == ["v_prediction"] * 3


def test_the_vae_of_sdxl_is_kept_wide_unless_it_was_mended(
    tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "mended", models["sdxl"])
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "force_upcast": False}))
    half, brain = torch.float16, torch.bfloat16

    assert opened(shelf / "sd15.safetensors", shelf).vae_dtype(half) == half
    assert opened(shelf / "sd15", shelf).vae_dtype(half) == half
    assert opened(shelf / "sdxl.safetensors", shelf).vae_dtype(half) == torch.float32
    assert opened(shelf / "sdxl", shelf).vae_dtype(half) == torch.float32
    assert opened(shelf / "sdxl", shelf).vae_dtype(brain) == brain
    assert opened(folder, shelf).vae_dtype(half) == half


# -- held against diffusers and against published names --


@pytest.mark.parametrize("family", FAMILIES)
def test_our_renaming_is_that_of_diffusers(family: Family, shelf: Path, models: dict[Family, TinyModel]) -> None:
    path = shelf / f"{family}.safetensors"
    base, held = opened(path, shelf), load_file(path)
    configs: Any = base.configs
    first = "cond_stage_model.transformer." if family == "sd15" else "conditioner.embedders.0.transformer."
    theirs = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint(dict(held), configs["unet"]),
        "vae": single_file_utils.convert_ldm_vae_checkpoint(dict(held), configs["vae"]),
        "text_encoder": {
            key.removeprefix("text_model."): at
            for key, at in single_file_utils.convert_ldm_clip_checkpoint(dict(held), first).items()
            if "position_ids" not in key
        },
    }
    if family == "sdxl":
        encoder = models["sdxl"].networks["text_encoder_2"]
        prefix = "conditioner.embedders.1.model."
        theirs["text_encoder_2"] = single_file_utils.convert_open_clip_checkpoint(encoder, dict(held), prefix)

    for name, tensors in theirs.items():
        ours = base.load(name, torch.float16).state_dict()
        assert ours.keys() == tensors.keys()
        assert all(torch.equal(ours[key], at) for key, at in tensors.items())


PUBLISHED: dict[Family, tuple[dict[str, Any], int]] = {
    "sd15": (
        {
            "block_out_channels": (320, 640, 1280, 1280),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        859_520_964,
    ),
    "sdxl": (
        {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "transformer_layers_per_block": [1, 2, 10],
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "sample_size": 128,
        },
        2_567_463_684,
    ),
}
"""The hub's UNet configs, where they are not the class's own defaults, and how many numbers such a UNet holds."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_full_size_is_told_from_shapes(family: Family) -> None:
    config, numbers = PUBLISHED[family]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    shapes = {unet_name(key, family): shape for key, shape in room.parameters_of(unet).items()}

    sizes = unet_sizes(shapes)
    told = sizes.config(family, 1280)

    assert sum(at.numel() for at in unet.parameters()) == numbers
    for name, value in config.items():
        assert told[name] == (list(value) if isinstance(value, tuple) else value), name
    ours = unet_map(sizes)
    assert {str(ours.look_up(key)): shape for key, shape in shapes.items()} == room.parameters_of(unet)


MANIFEST = references.FOLDER / "dynamicrafter" / "manifest" / "dynamicrafter_256.json"


@pytest.mark.skipif(not MANIFEST.is_file(), reason=f"no {MANIFEST}; set ZOETROPE_GOLDENS")
def test_published_names_of_vae_and_open_clip_are_known() -> None:
    """DynamiCrafter carries SD's VAE, full size, and an OpenCLIP text tower of another size."""
    held = {key: tuple(entry[0]) for key, entry in json.loads(MANIFEST.read_text("utf-8"))["tensors"].items()}
    vae = {
        key.removeprefix("first_stage_model."): at for key, at in held.items() if key.startswith("first_stage_model.")
    }
    tower = "cond_stage_model.model."
    text = {key.removeprefix(tower): at for key, at in held.items() if key.startswith(tower)}
    sizes = vae_sizes(vae)
    assert (sizes.channels, sizes.res_blocks, sizes.latent_channels) == ((128, 256, 512, 512), 2, 4)
    network = build_vae(sizes.config("sd15"))
    assert sum(at.numel() for at in network.parameters()) == 83_653_863
    assert renamed(vae, "vae", vae_map(sizes).look_up) == room.parameters_of(network)

    found = renamed(text, "text_encoder_2", OPEN_CLIP.look_up)
    assert found == room.parameters_of(build_text_encoder_2(clip_config(found, "text_model.", "gelu")))
    assert family_of(held) is None
    assert seems(held) == "Stable Diffusion 2, or made from it"


def renamed(
    shapes: dict[str, tuple[int, ...]], network: str, look_up: Callable[[str], str | None]
) -> dict[str, tuple[int, ...]]:
    laid: dict[str, tuple[int, ...]] = {}
    for key, shape in shapes.items():
        if (name := look_up(key)) is not None:
            for ours, tensor in laid_out(f"{network}.{name}", torch.empty(shape, device="meta")):
                laid[ours.removeprefix(f"{network}.")] = tuple(tensor.shape)
    return laid


# -- it draws --


def test_motion_modules_go_into_it_and_words_and_time_tell(shelf: Path, tmp_path: Path) -> None:
    torch.default_generator.manual_seed(3)
    base = opened(shelf / "sd15.safetensors", shelf)
    channels = SD15_UNET["block_out_channels"]
    with torch.device("meta"):
        adapter = MotionAdapter(channels, motion_layers_per_block=2, use_motion_mid_block=False)
    torch.save(original(random(adapter), 32), tmp_path / "v3_sd15_mm.ckpt")
    unet = room.put_into(
        base.load("unet", torch.float32),  # pyright: ignore[reportArgumentType]
        room.open_motion(tmp_path / "v3_sd15_mm.ckpt", "v3"),
    )
    encoded = words.encode(["a cat", "the sea at night"], base.tokenizers(), [base.load("text_encoder", torch.float32)])
    noise = torch.randn(1, 4, 4, 8, 8)

    def predicted(text: str, time: int) -> torch.Tensor:
        with torch.no_grad():
            return unet(noise, torch.tensor(time), encoded[text].embeds.expand(4, -1, -1)).sample

    cat = predicted("a cat", 500)
    assert cat.shape == noise.shape
    assert 0.1 < float(cat.std()) < 10
    for other in (predicted("the sea at night", 500), predicted("a cat", 20)):
        assert float((other - cat).std()) > 0.01 * float(cat.std())


@pytest.mark.parametrize("family", FAMILIES)
def test_decoded_latents_are_a_picture(family: Family, shelf: Path) -> None:
    vae: Any = opened(shelf / family, shelf).load("vae", torch.float32)
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(1))

    with torch.no_grad():
        one, other = (vae.decode(at).sample for at in (latents, latents.flip(-1)))

    assert one.shape == (1, 3, 64, 64)
    assert 0.1 < float(one.std()) < 3
    assert float((one - other).abs().mean()) > 0.1


# -- refusals --


def refused_as(path: Path, shelf: Path) -> str:
    with pytest.raises(errors.AnimateDiffBaseForeign) as refused:
        opened(path, shelf)
    assert refused.value.facts["model"] == "mine"
    return str(refused.value.facts["seems"])


def one(shape: tuple[int, ...] = (2, 2)) -> torch.Tensor:
    return torch.zeros(shape)


FOREIGN = {
    "a LoRA": ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "lora_te_text_model.alpha"],
    "Flux": ["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"],
    "Stable Diffusion 3": ["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "first_stage_model.a"],
    "Stable Video Diffusion": ["model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight"],
    "Stable Diffusion 2, or made from it": ["model.diffusion_model.out.0.bias", "cond_stage_model.model.ln_final.bias"],
    "a ControlNet": ["control_model.time_embed.0.weight"],
    "a file of motion modules": ["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"],
    "a VAE alone": ["decoder.conv_in.weight", "encoder.conv_in.weight"],
    "a UNet without its VAE and text encoder": ["model.diffusion_model.out.0.bias"],
    "an image model without its VAE": ["model.diffusion_model.out.0.bias", "cond_stage_model.transformer.x"],
    "an image model without its text encoder": ["model.diffusion_model.out.0.bias", "first_stage_model.x"],
    "a textual inversion": ["emb_params"],
    "something unknown": ["weight"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_kind_of_file_is_refused_by_its_name(kind: str, tmp_path: Path, shelf: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: one() for name in FOREIGN[kind]}, path)

    assert refused_as(path, shelf) == kind


@pytest.mark.parametrize(("channels", "kind"), [(9, "an inpainting model"), (5, "a model that follows depth")])
def test_a_unet_that_takes_more_than_noise_is_refused(
    channels: int, kind: str, tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    tensors = {key: at.contiguous() for key, at in single_names(models["sd15"]).items()}
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, channels, 3, 3)
    save_file(tensors, tmp_path / "inpainting.safetensors")
    folder = write_hub(tmp_path / "folder", models["sd15"])
    changed(folder / "unet" / "config.json", in_channels=channels)

    assert refused_as(tmp_path / "inpainting.safetensors", shelf) == kind
    assert refused_as(folder, shelf) == kind


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


@pytest.mark.parametrize(
    ("file", "values", "kind"),
    [
        ("unet", {"use_linear_projection": True}, "Stable Diffusion 2"),
        ("unet", {"_class_name": "FluxTransformer2DModel"}, "a model with FluxTransformer2DModel"),
        ("unet", {"encoder_hid_dim_type": "text_image_proj"}, "an image model of another family"),
        ("text_encoder", {"architectures": ["T5EncoderModel"]}, "a model with T5EncoderModel"),
        ("vae", {"_class_name": "AutoencoderTiny"}, "a model with AutoencoderTiny"),
    ],
)
def test_another_kind_of_folder_is_refused_by_its_configs(
    file: str, values: dict[str, Any], kind: str, tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "folder", models["sd15"])
    changed(folder / file / "config.json", **values)

    assert refused_as(folder, shelf) == kind


def test_a_folder_of_something_else_is_refused(tmp_path: Path, shelf: Path) -> None:
    assert refused_as(tmp_path, shelf) == "no model in diffusers' layout"


def altered(source: Path, target: Path, change: Callable[[Tensors], object]) -> Path:
    tensors = load_file(source)
    change(tensors)
    save_file({key: at.contiguous() for key, at in tensors.items()}, target)
    return target


ONE_OFF: list[tuple[Family, str]] = [
    ("sd15", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"),
    ("sd15", "first_stage_model.encoder.mid.attn_1.q.weight"),
    ("sd15", "cond_stage_model.transformer.text_model.encoder.layers.2.self_attn.k_proj.weight"),
    ("sdxl", "model.diffusion_model.output_blocks.5.2.conv.bias"),
    ("sdxl", "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"),
    ("sdxl", "conditioner.embedders.1.model.text_projection"),
]


@pytest.mark.parametrize(("family", "key"), ONE_OFF)
def test_one_tensor_off_and_a_file_is_refused(family: Family, key: str, shelf: Path, tmp_path: Path) -> None:
    source, target = shelf / f"{family}.safetensors", tmp_path / "off.safetensors"

    def longer(tensors: Tensors) -> None:
        tensors[key] = torch.cat([tensors[key], tensors[key]])

    with pytest.raises(room_errors.AnimateDiffMissingTensors):
        opened(altered(source, target, lambda at: at.pop(key)), shelf)
    with pytest.raises(room_errors.AnimateDiffUnknownTensors) as unknown:
        opened(altered(source, target, lambda at: at.update({f"{key}_more": one()})), shelf)
    assert unknown.value.facts["count"] == 1
    with pytest.raises(room_errors.AnimateDiffWrongShape):
        opened(altered(source, target, longer), shelf)


def test_a_second_name_for_the_same_tensor_is_refused(shelf: Path, tmp_path: Path) -> None:
    name = "cond_stage_model.transformer.final_layer_norm.weight"

    path = altered(shelf / "sd15.safetensors", tmp_path / "x.safetensors", lambda at: at.update({name: one((32,))}))

    with pytest.raises(room_errors.AnimateDiffUnknownTensors):
        opened(path, shelf)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: (folder / "unet" / "config.json").unlink(), "unreadable"),
        (lambda folder: (folder / "vae" / "config.json").write_text("[1]"), "unreadable"),
        (lambda folder: (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink(), "unreadable"),
        (lambda folder: (folder / "text_encoder" / "model.fp16.safetensors").write_bytes(b"no"), "unreadable"),
        (lambda folder: changed(folder / "unet" / "config.json", block_out_channels=[32, 32]), "wrong_shape"),
        (lambda folder: changed(folder / "unet" / "config.json", layers_per_block=1), "unknown_tensors"),
        (lambda folder: changed(folder / "text_encoder" / "config.json", num_hidden_layers=5), "missing_tensors"),
        (lambda folder: changed(folder / "text_encoder" / "config.json", hidden_size=64), "wrong_shape"),
    ],
)
def test_a_damaged_folder_is_refused(
    change: Callable[[Path], object], code: str, tmp_path: Path, shelf: Path, models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "folder", models["sd15"])
    change(folder)

    with pytest.raises(Failure) as refused:
        opened(folder, shelf)
    assert refused.value.code == f"animatediff_{code}"


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.ckpt", "missing.safetensors", "missing.ckpt"])
def test_a_damaged_file_is_refused(name: str, shelf: Path, tmp_path: Path) -> None:
    if name.startswith("cut"):
        (tmp_path / name).write_bytes((shelf / "sd15.safetensors").read_bytes()[:10_000])

    with pytest.raises(room_errors.AnimateDiffUnreadable):
        opened(tmp_path / name, shelf)


def test_a_file_that_goes_away_is_said_when_it_is_read(shelf: Path, tmp_path: Path) -> None:
    path = altered(shelf / "sd15.safetensors", tmp_path / "here.safetensors", lambda _: None)
    base = opened(path, shelf)
    path.unlink()

    with pytest.raises(room_errors.AnimateDiffUnreadable):
        base.load("vae", torch.float32)


# -- words --


def test_a_folder_brings_its_own_words_and_a_file_is_given_them(shelf: Path, tmp_path: Path) -> None:
    folder = open_base("mine", shelf / "sdxl", tmp_path / "nowhere")
    file = open_base("mine", shelf / "sdxl.safetensors", tmp_path / "nowhere")

    first, second = folder.tokenizers()
    assert first.tokenize("Moon  of\nthe cat!") == ["moon</w>", "of</w>", "the</w>", "c", "at</w>", "!</w>"]
    assert (first.pad_token_id, second.pad_token_id) == (first.eos_token_id, 0)
    with pytest.raises(room_errors.AnimateDiffUnreadable) as refused:
        file.tokenizers()
    assert refused.value.facts["file"] == "vocab.json"


@pytest.mark.parametrize(("file", "held"), [("vocab.json", "{"), ("vocab.json", '{"a": 1}'), ("merges.txt", "q zzz z")])
def test_damaged_words_are_refused(file: str, held: str, shelf: Path, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "words")
    (folder / file).write_text(held)

    with pytest.raises(room_errors.AnimateDiffUnreadable) as refused:
        open_base("mine", shelf / "sd15.safetensors", folder).tokenizers()
    assert refused.value.facts["file"] == file


def test_other_words_than_the_text_encoders_are_refused(shelf: Path, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "words")
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "newword</w>": len(vocabulary)}))

    with pytest.raises(errors.AnimateDiffWrongWords) as refused:
        open_base("mine", shelf / "sd15.safetensors", folder).tokenizers()
    assert refused.value.facts == {"model": "mine", "found": len(vocabulary) + 1, "wanted": len(vocabulary)}


def encoders(base: Base) -> list[Any]:
    return [base.load(name, torch.float32) for name in base.encoders]


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_those_of_diffusers_pipelines(family: Family, clip_skip: int, shelf: Path) -> None:
    """Where a prompt has neither length nor emphasis."""
    base = opened(shelf / f"{family}.safetensors", shelf)
    tokenizers, networks = base.tokenizers(), encoders(base)
    prompt = "a photo of the old city at night, masterpiece"

    ours = words.encode([prompt], tokenizers, networks, clip_skip=clip_skip)[prompt]

    theirs, pooled = by_diffusers(base, networks, prompt, clip_skip)
    assert ours.embeds.shape == theirs[0].shape == (77, base.configs["unet"]["cross_attention_dim"])
    assert torch.allclose(ours.embeds, theirs[0], atol=1e-5)
    if family == "sdxl":
        assert ours.pooled is not None
        assert torch.allclose(ours.pooled, pooled[0], atol=1e-5)
    else:
        assert ours.pooled is None


def by_diffusers(base: Base, networks: list[Any], prompt: str, clip_skip: int) -> tuple[Any, Any]:
    tokenizers = base.tokenizers()
    for tokenizer in tokenizers:
        tokenizer.model_max_length = 77
    parts: dict[str, Any] = {
        "vae": base.load("vae", torch.float32),
        "unet": base.load("unet", torch.float32),
        "scheduler": ddim(),
        "text_encoder": networks[0],
        "tokenizer": tokenizers[0],
    }
    asked = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    with torch.no_grad():
        if base.family == "sd15":
            pipe: Any = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
            # Its own clip_skip stumbles over today's transformers; an encoder with fewer layers is the same.
            pipe.text_encoder = copy.deepcopy(networks[0])
            pipe.text_encoder.encoder.layers = networks[0].encoder.layers[: 4 - clip_skip]
            return pipe.encode_prompt(prompt, **asked)[0], None
        pipe = StableDiffusionXLPipeline(**parts, text_encoder_2=networks[1], tokenizer_2=tokenizers[1])
        made = pipe.encode_prompt(prompt, **asked, clip_skip=clip_skip or None)
        return made[0], made[2]


@pytest.fixture(scope="module")
def sd15(shelf: Path) -> tuple[Any, Any]:
    base = opened(shelf / "sd15.safetensors", shelf)
    return base.tokenizers(), encoders(base)


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [
        ("", [0]),
        ("sun " * 75, [75]),
        ("sun " * 76, [75, 1]),
        ("sun " * 160, [75, 75, 10]),
        ("sun " * 60 + ", " + "moon " * 30, [61, 30]),  # at the comma, 14 tokens back
        ("sun " * 54 + ", " + "moon " * 30, [75, 10]),  # too far back
        ("sun " * 55 + ", " + "moon " * 30, [56, 30]),  # as far as it may be
        ("sun " * 56 + ", " + "moon " * 3 + ", " + "star " * 30, [61, 30]),  # at the last of two
        ("sun " * 60 + ", " + "moon " * 14 + ", " + "star " * 9, [75, 10]),  # a comma comes next: nothing is torn
        ("sun " * 74 + ", " + "moon " * 5, [75, 5]),
    ],
)
def test_a_long_prompt_is_cut_at_75_tokens_or_at_a_comma(prompt: str, lengths: list[int], sd15: Any) -> None:
    [tokenizer], networks = sd15

    cut = words.chunked(prompt, tokenizer)

    assert [len(chunk.tokens) for chunk in cut] == lengths
    assert [one for chunk in cut for one in chunk.tokens] == tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert all(len(chunk.ids(tokenizer)) == len(chunk.factors()) == 77 for chunk in cut)
    assert words.chunks(prompt, tokenizer) == len(lengths)
    assert words.encode([prompt], [tokenizer], networks)[prompt].embeds.shape == (77 * len(lengths), 32)


def test_each_chunk_is_encoded_as_a_prompt_of_its_own(shelf: Path) -> None:
    base = opened(shelf / "sdxl.safetensors", shelf)
    first, second = "sun " * 60 + ",", "moon " * 30

    encoded = words.encode([first + second, first, second], base.tokenizers(), encoders(base))

    joined = torch.cat([encoded[first].embeds, encoded[second].embeds])
    assert torch.allclose(encoded[first + second].embeds, joined, atol=1e-5)
    assert encoded[first + second].pooled is not None
    assert torch.allclose(encoded[first + second].pooled, encoded[first].pooled, atol=1e-5)  # pyright: ignore[reportArgumentType]


def test_what_else_is_asked_changes_no_prompt(sd15: Any) -> None:
    tokenizers, networks = sd15
    alone = words.encode(["a cat"], tokenizers, networks)["a cat"].embeds

    among = words.encode(["sun " * 200, "a cat", "", "a cat"], tokenizers, networks)

    assert torch.equal(among["a cat"].embeds, alone)
    assert list(among) == ["sun " * 200, "a cat", ""]
    assert alone.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_emphasis_weighs_tokens_and_keeps_each_encoders_mean(family: Family, shelf: Path) -> None:
    base = opened(shelf / f"{family}.safetensors", shelf)
    prompt, plain = "a (red:1.3) cat", "a red cat"

    encoded = words.encode([prompt, plain], base.tokenizers(), encoders(base))

    factors = torch.ones(77)
    factors[2] = 1.3  # behind the beginning and "a"
    start = 0
    for width in (32,) if family == "sd15" else (32, 64):
        before = encoded[plain].embeds[:, start : start + width]
        after = encoded[prompt].embeds[:, start : start + width]
        weighted = before * factors[:, None]
        assert torch.allclose(after, weighted * (before.mean() / weighted.mean()), atol=1e-5)
        assert not torch.equal(after, before)
        assert float(after.mean()) == pytest.approx(float(before.mean()), rel=1e-3)
        start += width
    if family == "sdxl":  # emphasis is in the tokens, not in the pooled output
        assert torch.equal(encoded[prompt].pooled, encoded[plain].pooled)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("prompt", ["(cat:0)", "(cat:-1)", "(cat:9999) (dog:-9999)", "((((", "(" * 3000 + "a", ":1.2)"])
def test_no_weight_makes_numbers_run_away(prompt: str, sd15: Any) -> None:
    tokenizers, networks = sd15

    embeds = words.encode([prompt], tokenizers, networks)[prompt].embeds

    assert bool(torch.isfinite(embeds).all())
    assert float(embeds.abs().max()) < 1000


# -- emphasis --


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("a cat", [("a cat", 1)]),
        ("", []),
        ("(a cat)", [("a cat", 1.1)]),
        ("((a cat))", [("a cat", 1.21)]),
        ("[a cat]", [("a cat", 1 / 1.1)]),
        ("a (red:1.5) cat", [("a ", 1), ("red", 1.5), (" cat", 1)]),
        ("(red: .5 )", [("red", 0.5)]),
        ("(red:+2.)", [("red", 2)]),
        ("((red:1.5) cat)", [("red", 1.65), (" cat", 1.1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("(an [important] word)", [("an ", 1.1), ("important", 1), (" word", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
             ("sky", 1.4641), (".", 1.1)],
        ),
        (r"\(literal\]", [("(literal]", 1)]),
        (r"a cat \(tabby\), (red \[1\]:1.2)", [("a cat (tabby), ", 1), ("red [1]", 1.2)]),
        (r"back\slash \o/", [(r"back\slash \o/", 1)]),
        ("(never closed", [("never closed", 1.1)]),
        ("never opened) a]", [("never opened) a]", 1)]),
        ("no bracket:1.2)", [("no bracket:1.2)", 1)]),
        ("at 10:30, (a:b:2)", [("at 10:30, ", 1), ("a:b", 2)]),
        ("(1.2.3:1.2.3)", [("1.2.3:1.2.3", 1.1)]),
        ("([crossed)]", [("crossed", 1)]),
        ("()[]((:1.2))", []),
        ("(so:1e9) (much:1000)", [("so:1e9", 1.1), (" ", 1), ("much", 10)]),
    ],
)  # fmt: skip
def test_emphasis_is_read_as_people_know_it(prompt: str, pieces: list[tuple[str, float]]) -> None:
    read = parse(prompt)

    assert [piece.text for piece in read] == [text for text, _ in pieces]
    assert [piece.weight for piece in read] == pytest.approx([weight for _, weight in pieces])


@given(st.text(alphabet="()[]:\\.1a ,\n") | st.text())
def test_no_prompt_is_an_error_and_no_word_is_lost(prompt: str) -> None:
    read = parse(prompt)

    assert all(-MOST <= piece.weight <= MOST and piece.text for piece in read)
    letters = [letter for letter in prompt if letter not in "()[]:.\\0123456789+- \n\t\r\f\v"]
    assert [letter for piece in read for letter in piece.text if letter in set(letters)] == letters


@given(st.text(alphabet=st.characters(exclude_characters="()[]\\")))
def test_a_prompt_without_brackets_is_one_piece(prompt: str) -> None:
    assert parse(prompt) == ([Piece(prompt, 1.0)] if prompt else [])


# -- what the writers write --


def test_the_small_model_is_in_its_place(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)

    base = open_base("stable-diffusion-v1-5", tmp_path / SD15_FILE, tmp_path / TOKENIZER)

    assert (tmp_path / SD15_FILE).stat().st_size < 10_000_000
    assert base.family == "sd15"
    assert len(base.tokenizers()) == 1
