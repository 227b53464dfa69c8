"""What AnimateDiff's tests share: small checkpoints, written once; nobody writes to what is given here."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from inference.residency import Residency
from inference.systems.animatediff.base.kinds import Family
from inference.systems.animatediff.ip_adapter_vision import SeenPictures, encode_pictures, open_image_encoder
from inference.systems.base import Frame, Place
from tests.animatediff.opening import FAMILIES
from tests.animatediff.picturing import filled, painted
from tests.animatediff.rendering import CPU, LORAS, STYLES
from tests.tiny_models import FAMILY
from tests.tiny_models import pictures as tiny
from tests.tiny_models.depth import write_depth
from tests.tiny_models.loras import lora_tensors, write_lora
from tests.tiny_models.stable_diffusion import (
    TOKENIZER,
    TinyModel,
    random_model,
    write_hub,
    write_single,
    write_tokenizer,
)


@pytest.fixture
def seeded() -> None:
    """Torch's own numbers are the same in every test."""
    torch.default_generator.manual_seed(5)


@pytest.fixture(scope="session")
def image_models() -> dict[Family, TinyModel]:
    """One of each family, in main memory."""
    return {family: random_model(family) for family in FAMILIES}


@pytest.fixture(scope="session")
def shelf(image_models: dict[Family, TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, as a file and as a folder, and CLIP's words."""
    folder = tmp_path_factory.mktemp("models")
    for family, model in image_models.items():
        write_single(folder / f"{family}.safetensors", model)
        write_hub(folder / family, model)
    write_tokenizer(folder / TOKENIZER)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every checkpoint that AnimateDiff can use, and two styles and three LoRAs of the owner's."""
    folder = tmp_path_factory.mktemp("models")
    for write in (*FAMILY, write_depth):
        write(folder)
    (folder / "checkpoints").mkdir()
    write_single(folder / STYLES["toonyou"], random_model("sd15", seed=5))
    write_hub(folder / STYLES["dreams"], random_model("sd15", seed=6))
    sd15, sdxl = (random_model(family) for family in FAMILIES)
    write_lora(folder / LORAS["ghibli"], lora_tensors(sd15))
    write_lora(folder / LORAS["words"], lora_tensors(sd15, networks=("text_encoder",)))
    write_lora(folder / LORAS["sdxl-detail"], lora_tensors(sdxl, networks=("unet", "text_encoder", "text_encoder_2")))
    return folder


@pytest.fixture(scope="session")
def place(models: Path) -> Place:
    """One renderer for all: nothing that one test does may be seen by the next."""
    return Place(models, CPU, torch.float32, Residency(CPU), {"styles": STYLES, "loras": LORAS})


@pytest.fixture(scope="session")
def base() -> UNet2DConditionModel:
    """SD 1.5's, for whatever comes into it."""
    return filled(UNet2DConditionModel(**tiny.sd15_unet_config()), 25)


@pytest.fixture(scope="session")
def seen(models: Path) -> SeenPictures:
    """Two pictures, as the tiny encoder sees them."""
    encoder = open_image_encoder(models / "clip-vit-h", "clip-vit-h", torch.float32)
    return encode_pictures(encoder, [painted(300, 200), painted(200, 240, seed=1)])


@pytest.fixture(scope="session")
def film() -> list[Frame]:
    """Three frames of a disc that goes to the right before a slope, as a spool gives them: not to be written to."""
    frames: list[Frame] = []
    for step in range(3):
        slope = np.linspace(30, 120, 96, dtype=np.float32)[:, None, None]
        frame = np.repeat(np.repeat(slope, 128, axis=1), 3, axis=2).astype(np.uint8)
        cv2.circle(frame, (40 + 10 * step, 50), 20, (230, 180, 90), -1)
        frame.setflags(write=False)
        frames.append(frame)
    return frames
