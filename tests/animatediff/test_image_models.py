"""Image models in every layout in which people publish them, held against diffusers and published names."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from safetensors.torch import load_file, save_file

from inference.systems.animatediff import loader as room
from inference.systems.animatediff.base import words
from inference.systems.animatediff.base.architecture import clip_config, unet_sizes, vae_sizes
from inference.systems.animatediff.base.keymap import OPEN_CLIP, laid_out, unet_map, vae_map
from inference.systems.animatediff.base.kinds import Family, family_of, seems
from inference.systems.animatediff.base.loader import open_base
from inference.systems.animatediff.base.model import BUILD, build_text_encoder_2, build_vae
from tests import references
from tests.animatediff.opening import FAMILIES, opened
from tests.animating import original, random
from tests.tiny_models.stable_diffusion import (
    SD15_FILE,
    SD15_UNET,
    TOKENIZER,
    TinyModel,
    single_names,
    unet_name,
    write_hub,
    write_single,
    write_stable_diffusion,
)


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
    family: Family, layout: str, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    base = opened(shelf / layout.format(family), shelf)

    assert (base.family, base.prediction_type) == (family, "epsilon")
    assert base.native_side == {"sd15": 512, "sdxl": 1024}[family]
    assert base.configs.keys() == image_models[family].networks.keys()
    for name, network in image_models[family].networks.items():
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
    dtype: torch.dtype, suffix: str, tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    path = write_single(tmp_path / f"model.{suffix}", image_models["sd15"], dtype=dtype)

    unet = opened(path, shelf).load("unet", torch.float16)

    expected = image_models["sd15"].networks["unet"].conv_in.weight.to(dtype).half()
    assert torch.equal(unet.get_parameter("conv_in.weight"), expected)


def test_a_folder_with_plain_names_and_one_in_pieces(
    tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "plain", image_models["sd15"], variant=None)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    keys = list(tensors)
    for number, half in enumerate((keys[: len(keys) // 2], keys[len(keys) // 2 :]), start=1):
        save_file({key: tensors[key] for key in half}, whole.with_stem(f"{whole.stem}-0000{number}-of-00002"))
    whole.unlink()

    for name, network in image_models["sd15"].networks.items():
        same(opened(folder, shelf).load(name, torch.float32), network)


def test_a_text_encoder_as_todays_transformers_writes_it(
    tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    """Without `text_model` before the names, if it so pleases; and saved by the library itself, all of it."""
    folder = write_hub(tmp_path / "new", image_models["sdxl"], variant=None)
    for name, network in image_models["sdxl"].networks.items():
        copy.deepcopy(network).save_pretrained(folder / name)  # which writes into its config, too

    for name, network in image_models["sdxl"].networks.items():
        same(opened(folder, shelf).load(name, torch.float32), network)


def test_clip_without_text_model_in_its_names(
    tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    """Some merges lost it."""
    tensors = {
        key.replace(".text_model.", "."): at.contiguous() for key, at in single_names(image_models["sd15"]).items()
    }
    save_file(tensors, tmp_path / "merge.safetensors")

    base = opened(tmp_path / "merge.safetensors", shelf)

    same(base.load("text_encoder", torch.float32), image_models["sd15"].networks["text_encoder"])


def test_a_vae_whose_attention_kept_diffusers_names(
    tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    """As one converter wrote it: names and layout of the library, inside a file of the old kind."""

    def kept(key: str) -> str:
        for old, new in {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}.items():
            key = key.replace(f".mid.attn_1.{old}.", f".mid.attn_1.{new}.")
        return key

    tensors = {kept(key): at for key, at in single_names(image_models["sd15"]).items()}
    linear = {key: at.flatten(1) if ".mid.attn_1.to_" in key and at.ndim == 4 else at for key, at in tensors.items()}
    save_file({key: at.contiguous() for key, at in linear.items()}, tmp_path / "merge.safetensors")

    base = opened(tmp_path / "merge.safetensors", shelf)

    same(base.load("vae", torch.float32), image_models["sd15"].networks["vae"])


def test_v_prediction_is_told_by_marks_notes_and_schedulers(
    tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    tensors = {key: at.contiguous() for key, at in single_names(image_models["sdxl"]).items()}
    marked, noted = tmp_path / "marked.safetensors", tmp_path / "noted.safetensors"
    save_file({**tensors, "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, marked)
    save_file(tensors, noted, metadata={"modelspec.prediction_type": "v"})
    folder = write_hub(tmp_path / "folder", image_models["sdxl"])
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "v_prediction"}))

    assert [opened(path, shelf).prediction_type for path in (marked, noted, folder)] == ["v_prediction"] * 3


def test_the_vae_of_sdxl_is_kept_wide_unless_it_was_mended(
    tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "mended", image_models["sdxl"])
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
def test_our_renaming_is_that_of_diffusers(family: Family, shelf: Path, image_models: dict[Family, TinyModel]) -> None:
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
        encoder = image_models["sdxl"].networks["text_encoder_2"]
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


# -- what the writers write --


def test_the_small_model_is_in_its_place(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path)

    base = open_base("stable-diffusion-v1-5", tmp_path / SD15_FILE, tmp_path / TOKENIZER)

    assert (tmp_path / SD15_FILE).stat().st_size < 10_000_000
    assert base.family == "sd15"
    assert len(base.tokenizers()) == 1
