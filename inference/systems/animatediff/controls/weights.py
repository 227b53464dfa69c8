"""Published ControlNets, and the detectors that draw what they are shown. No torch here; more in `../weights.py`."""

from __future__ import annotations

from inference.systems.animatediff.layouts import APACHE, RAIL, RAIL_URL, one_file, one_network
from inference.weights import Layout, Weights

COMFYUI = "comfyanonymous/ControlNet-v1-1_fp16_safetensors"


def _control(kind: str, repo: str, revision: str, layouts: tuple[Layout, ...], purpose: str) -> Weights:
    """ControlNet 1.1 for Stable Diffusion 1.5. Zhang, Rao, Agrawala 2023 (arXiv 2302.05543)."""
    return Weights(
        name=f"controlnet-{kind}",
        repo=repo,
        revision=revision,
        layouts=layouts,
        licence=RAIL,
        licence_url=RAIL_URL,
        megabytes=723,
        purpose=purpose,
    )


def _single(stem: str, half: str | None, pickled: str | None) -> tuple[Layout, Layout]:
    """One file each: ComfyUI's (`COMFYUI`) and the author's (lllyasviel/ControlNet-v1-1)."""
    return one_file(f"{stem}_fp16.safetensors", half), one_file(f"{stem}.pth", pickled)


CONTROL_DEPTH = _control(
    "depth",
    "lllyasviel/control_v11f1p_sd15_depth",
    "539f99181d33db39cf1af2e517cd8056785f0a87",
    (
        *one_network(
            "838f3e848cb93231d41084d858d117416ab32907a5c8c80c421a131d101ba1ef",
            "999aca923ca5e19e70e6afc8d11073cc3c03553ca935b636bd5925df4a1c77d1",
        ),
        *_single(
            "control_v11f1p_sd15_depth",
            "1c4a79aa52fb63f607cb9ff479ea5aa1923b6ceb21267bd14b69bd05d7b617be",
            "761077ffe369fe8cf16ae353f8226bd4ca29805b161052f82c0170c7b50f1d99",
        ),
    ),
    "keeps what is near and far",
)
CONTROL_OPENPOSE = _control(
    "openpose",
    "lllyasviel/control_v11p_sd15_openpose",
    "9ae9f970358db89e211b87c915f9535c6686d5ba",
    (
        *one_network(
            "b25b1125e870275550b2a7de289056cb3c236c01c293bd5ba883657b1c006e3e",
            "46b10abb28f3750aba7eea208e188539f7945d9256de9a248cbb9902f2276988",
        ),
        *_single(
            "control_v11p_sd15_openpose",
            "4003c1da17b0e4ba444e02140e1c0d83bb24b79e4dcfd613c3a554d38f0f89c7",
            "db97becd92cd19aff71352a60e93c2508decba3dee64f01f686727b9b406a9dd",
        ),
    ),
    "keeps how people stand and move",
)
CONTROL_LINEART = _control(
    "lineart",
    "lllyasviel/control_v11p_sd15_lineart",
    "8a158f547e031c5b8fbca19ead09a74767ff4db0",
    (
        *one_network(
            "de4f699573813c5ad07091fe1ad4097ddc957c22e313187caa885c82e3b6a85b",
            "d9d6d0e5526dd21dfc503f9e42a93ff1f977aa52df3c14e8ac11085b518cb114",
        ),
        *_single("control_v11p_sd15_lineart", "10559106d1bb8196298b7a81565ede9279295d2b2df15165b9dbe189994def56", None),
    ),
    "keeps lines, as drawn",
)
CONTROL_SOFTEDGE = _control(
    "softedge",
    "lllyasviel/control_v11p_sd15_softedge",
    "b5bcad0c48e9b12f091968cf5eadbb89402d6bc9",
    (
        *one_network(None, "5d1b47a80e58fb8be102efbb574068afde3f2a7d0d72d96f70fa67f1ea9f72a9"),
        *_single(
            "control_v11p_sd15_softedge",
            "e78fea5b4599fec2ecd7e3f14b171feb290b88200c95d569ec0ff59a19bc3478",
            "20759ef71a109c4796e637d86eea8db492ec9772b6d5cb7a9afd077847b403f3",
        ),
    ),
    "keeps outlines, loosely",
)
CONTROL_TILE = _control(
    "tile",
    COMFYUI,  # the author's folder has nothing but a pickle
    "e05625af65b7110c593fb4d426e53f9885da2b26",
    (
        *_single(
            "control_v11f1e_sd15_tile",
            "2f31868eedb243a77932e3c63907a6ba0a2058b6d65b5c27b89ee1b7f618ea33",
            "8aa69b8d391e72c2fced6a650268137dc0ed594cafe8a2c0f8b994799a21979b",
        ),
        *one_network(),
    ),
    "keeps colours and composition, renews details",
)

ANNOTATORS, ANNOTATORS_REVISION = "lllyasviel/Annotators", "982e7edaec38759d914a963c48c4726685de7d96"

VITPOSE = Weights(
    name="vitpose-base",
    repo="usyd-community/vitpose-base-simple",
    revision="a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
    layouts=(
        Layout(
            {
                "config.json": None,
                "model.safetensors": "85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf",
            }
        ),
    ),
    licence=APACHE,
    licence_url="https://github.com/ViTAE-Transformer/ViTPose/blob/main/LICENSE",
    megabytes=344,
    purpose="finds how people stand, for controlnet-openpose",
)
RTDETR = Weights(
    name="rtdetr-r50",
    repo="PekingU/rtdetr_r50vd_coco_o365",
    revision="457857cec8ac28ddede40ecee9eed2beca321af8",
    layouts=(Layout({"config.json": None, "model.safetensors": None}),),
    licence=APACHE,
    licence_url="https://github.com/lyuwenyu/RT-DETR/blob/main/LICENSE",
    megabytes=172,
    purpose="finds people, for vitpose-base",
)
HED = Weights(
    name="hed",
    repo=ANNOTATORS,
    revision=ANNOTATORS_REVISION,
    layouts=(one_file("ControlNetHED.pth", "5ca93762ffd68a29fee1af9d495bf6aab80ae86f08905fb35472a083a4c7a8fa"),),
    licence=APACHE,  # in its code; the repository itself has no licence file
    licence_url="https://github.com/lllyasviel/ControlNet-v1-1-nightly/blob/main/annotator/hed/__init__.py",
    megabytes=29,
    purpose="finds outlines, for controlnet-softedge",
)
LINEART = Weights(
    name="lineart",
    repo=ANNOTATORS,
    revision=ANNOTATORS_REVISION,
    layouts=(
        Layout(
            {
                "sk_model.pth": "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6",
                "sk_model2.pth": "30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0",
            }
        ),
        one_file("sk_model.pth", "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6"),
    ),
    licence="MIT",
    licence_url="https://github.com/carolineec/informative-drawings/blob/main/LICENSE",
    megabytes=34,
    purpose="draws lines, fine and coarse, for controlnet-lineart",
)

CONTROLS: tuple[Weights, ...] = (CONTROL_DEPTH, CONTROL_OPENPOSE, CONTROL_LINEART, CONTROL_SOFTEDGE, CONTROL_TILE)
DETECTORS: tuple[Weights, ...] = (VITPOSE, RTDETR, HED, LINEART)
