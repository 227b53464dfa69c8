"""The three published SVD checkpoints, each as a diffusers folder or as the one file of the original release.

Revisions and hashes were compared with public records of these repositories (README.md says which); None stands where
no record was found, and the hub's own record at the pinned revision is used then.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference.weights import Layout, Weights

LICENCE = "Stability AI Community License"
LICENCE_URL = "https://stability.ai/community-license-agreement"

IMAGE_ENCODER = "image_encoder/model.fp16.safetensors"
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
VAE = "vae/diffusion_pytorch_model.fp16.safetensors"

HUB_FILES = (
    "model_index.json",
    "feature_extractor/preprocessor_config.json",
    "image_encoder/config.json",
    IMAGE_ENCODER,
    "scheduler/scheduler_config.json",
    "unet/config.json",
    UNET,
    "vae/config.json",
    VAE,
)
"""What a diffusers folder of SVD consists of; the tensors in float16."""


def _hub(hashes: Mapping[str, str]) -> Layout:
    return Layout({name: hashes.get(name) for name in HUB_FILES})


SVD_XT = Weights(
    name="svd-xt",
    repo="stabilityai/stable-video-diffusion-img2vid-xt",
    revision="9e43909513c6714f1bc78bcb44d96e733cd242aa",
    layouts=(
        _hub(
            {
                "model_index.json": "9119b8837600736ae38009c5dc80c76112307cb2d229a2cfb477d54c329ff53d",
                "feature_extractor/preprocessor_config.json": (
                    "4db495644e3e5bd8fcac52f70e7fc0b413c911086021acf73ac30e5911166e95"
                ),
                "image_encoder/config.json": "65da4496f116d2b297fe864e0f31242fbc57e26a5d95b93310f2034e1e90d0ec",
                IMAGE_ENCODER: "ae616c24393dd1854372b0639e5541666f7521cbe219669255e865cb7f89466a",
                "scheduler/scheduler_config.json": "59aa43afc33395efd40fe94c7369c0477b81698f4b65b63e3ae06f26269876d5",
                "unet/config.json": "9c44e614afa89887aeeeae3113ba73a53fabacbc545ae1237c44c99d0e80fb54",
                UNET: "9fbc02e90f37d422f5e3a4aeaee95f6629dc8c45ca211b951626e930daf2bddf",
                "vae/config.json": "8f34272db69f7e2c615da6142ca3f9fdcd7b682bcfd903ceb15035fea79a8303",
                VAE: "af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
            }
        ),
        Layout({"svd_xt.safetensors": "b2652c23d64a1da5f14d55011b9b6dce55f2e72e395719f1cd1f8a079b00a451"}),
    ),
    licence=LICENCE,
    licence_url=LICENCE_URL,
    megabytes=4509,
    purpose="25 frames from one picture",
    facts={"num_frames": 25, "min_guidance_scale": 1.5, "max_guidance_scale": 3.0},
)

SVD_XT_1_1 = Weights(
    name="svd-xt-1-1",
    repo="stabilityai/stable-video-diffusion-img2vid-xt-1-1",
    revision="043843887ccd51926e3efed36270444a838e7861",
    layouts=(_hub({}), Layout({"svd_xt_1_1.safetensors": None})),
    licence=LICENCE,
    licence_url=LICENCE_URL,
    gated=True,
    megabytes=4509,
    purpose="25 frames from one picture, steadier at its fixed 6 frames a second and motion 127",
    facts={
        "num_frames": 25,
        "min_guidance_scale": 1.5,
        "max_guidance_scale": 3.0,
        "only_fps": 6,
        "only_motion": 127,
    },
)

SVD = Weights(
    name="svd",
    repo="stabilityai/stable-video-diffusion-img2vid",
    revision="9cf024d5bfa8f56622af86c884f26a52f6676f2e",
    layouts=(
        _hub(
            {
                IMAGE_ENCODER: "ae616c24393dd1854372b0639e5541666f7521cbe219669255e865cb7f89466a",
                UNET: "cb552818963e736506c6693ffc279d59df423d63aced38902ea4373ab1fd2932",
                VAE: "af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
            }
        ),
        Layout({"svd.safetensors": None}),
    ),
    licence=LICENCE,
    licence_url=LICENCE_URL,
    megabytes=4509,
    purpose="14 frames from one picture",
    facts={"num_frames": 14, "min_guidance_scale": 1.0, "max_guidance_scale": 2.5},
)

WEIGHTS: tuple[Weights, ...] = (SVD_XT, SVD_XT_1_1, SVD)
"""In the order of preference where nobody chose: 1.1 is steadier, but deaf to the motion and rate that people set."""
BY_NAME: Mapping[str, Weights] = {weights.name: weights for weights in WEIGHTS}
