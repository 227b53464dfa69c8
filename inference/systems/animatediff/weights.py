"""Every published checkpoint of the AnimateDiff family, and what it can be combined with.

No torch here: worker, `doctor` and `models` read it. README.md says where revisions and hashes are from; None stands
where no record was found, and the hub's own record at the pinned revision is used then. A layout after the first may be
one that another repository publishes: it is known when it is there, and never fetched.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference.systems.animatediff.controls.weights import CONTROLS, DETECTORS
from inference.systems.animatediff.layouts import APACHE, FP16, RAIL, RAIL_URL, one_file, one_network
from inference.weights import Layout, Weights
from jobs.requests.cameras import CAMERAS as CAMERA_NAMES

RAIL_XL = "CreativeML Open RAIL++-M"
RAIL_XL_URL = "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md"
ANIMATEDIFF_URL = "https://github.com/guoyww/AnimateDiff/blob/main/LICENSE.txt"
IP_ADAPTER_URL = "https://github.com/tencent-ailab/IP-Adapter/blob/main/LICENSE"

VOCABULARY = "e089ad92ba36837a0d31433e555c8f45fe601ab5c221d4f607ded32d9f7a4349"
MERGES = "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"
SPECIAL_TOKENS = "c4864a9376a8401918425bed71fc14fc0e81f9b59ec45c1cf96cccb2df508eac"


# -- image models --

STABLE_DIFFUSION = Weights(
    name="stable-diffusion-v1-5",
    repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
    revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    layouts=(
        Layout(
            {
                "model_index.json": "e2f6f22e274374010aec30c79eb2d6e53fff4a36ac0225523a92cb2d41a83347",
                "scheduler/scheduler_config.json": "699cce92eb7c122e2eb7dfdea78e6187fda76a5ed4a8e42319b85610e620e091",
                "text_encoder/config.json": "845df614cb9327ae7bbea027316246fae917827407da6df13572e41b5f93b4cc",
                "text_encoder/model.fp16.safetensors": (
                    "77795e2023adcf39bc29a884661950380bd093cf0750a966d473d1718dc9ef4e"
                ),
                "tokenizer/merges.txt": MERGES,
                "tokenizer/special_tokens_map.json": SPECIAL_TOKENS,
                "tokenizer/tokenizer_config.json": "00439066fcba73de57644cf41e4e3b9f2dbb09d7f3fc2005898ba52399045882",
                "tokenizer/vocab.json": VOCABULARY,
                "unet/config.json": "78f474de6bab3d893868f37be97b636ae65c0df3073ed3256ca458ff599b5f96",
                "unet/" + FP16: "c83908253f9a64d08c25fc90874c9c8aef9a329ce1ca5fb909d73b0c83d1ea21",
                "vae/config.json": "786a7d21647ddea6a04b9675c03d3cb45e90a2f3c6da5fbda2c54ade040036de",
                "vae/" + FP16: "4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c",
            }
        ),
        one_file(
            "v1-5-pruned-emaonly.safetensors",
            "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
        ),
        one_file(  # Comfy-Org/stable-diffusion-v1-5-archive
            "v1-5-pruned-emaonly-fp16.safetensors",
            "e9476a13728cd75d8279f6ec8bad753a66a1957ca375a1464dc63b37db6e3916",
        ),
    ),
    licence=RAIL,
    licence_url=RAIL_URL,
    megabytes=2134,
    purpose="the image model that AnimateDiff moves; other Stable Diffusion 1.5 models may stand in for it",
)

STABLE_DIFFUSION_XL = Weights(
    name="sdxl-base",
    repo="stabilityai/stable-diffusion-xl-base-1.0",
    revision="462165984030d82259a11f4367a4eed129e94a7b",
    layouts=(
        one_file(
            "sd_xl_base_1.0.safetensors",
            "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",
        ),
        Layout(
            {
                "model_index.json": "6d7b93508390ab91ac5bfbe4aeb4dc2d83f7bb1b05fb069d714b5b0c75f70d44",
                "scheduler/scheduler_config.json": "af3e45a949aff8b8341ab8b811429ec03fee857a700a1d9477363e4fff9666e2",
                "text_encoder/config.json": "39b8b2e4b1949e36969caa425b6c81c68bace99198dd9078ce05d16ad401fe7f",
                "text_encoder/model.fp16.safetensors": (
                    "660c6f5b1abae9dc498ac2d21e1347d2abdb0cf6c0c0c8576cd796491d9a6cdd"
                ),
                "text_encoder_2/config.json": "a892d1c3a69a7e9247a24de2bc1d5891e3109a54696e53be20093af671072c34",
                "text_encoder_2/model.fp16.safetensors": (
                    "ec310df2af79c318e24d20511b601a591ca8cd4f1fce1d8dff822a356bcdb1f4"
                ),
                "tokenizer/merges.txt": MERGES,
                "tokenizer/special_tokens_map.json": SPECIAL_TOKENS,
                "tokenizer/tokenizer_config.json": "19d7b034cb0cc3ce9766c2231373ab8aa8991fc72e2c8f76558bfaae3de0d563",
                "tokenizer/vocab.json": VOCABULARY,
                "tokenizer_2/merges.txt": MERGES,
                "tokenizer_2/special_tokens_map.json": (
                    "f118ab3a983206e4f32583448de6bd6aae4ee21869135cef1f5848a753cdaab6"
                ),
                "tokenizer_2/tokenizer_config.json": (
                    "c9d23941f76a41cbd50eda9290f57be7828f0a7a677939e9ef181f7e12bd1bdf"
                ),
                "tokenizer_2/vocab.json": VOCABULARY,
                "unet/config.json": "30ebc70750223e59006f7f2b4e1e6c102570aa19a9c4ae3e1fbe7591332dbae6",
                "unet/" + FP16: "83e012a805b84c7ca28e5646747c90a243c65c8ba4f070e2d7ddc9d74661e139",
                "vae/config.json": "0b331c8ac22ded5f9997a144a575c1d113d6169aff262c353f39015bd24a6264",
                "vae/" + FP16: "bcb60880a46b63dea58e9bc591abe15f8350bde47b405f9c38f4be70c6161e68",
            }
        ),
    ),
    licence=RAIL_XL,
    licence_url=RAIL_XL_URL,
    megabytes=6938,
    purpose="the larger image model, for AnimateDiff's SDXL motion and Hotshot-XL",
)

CLIP_TOKENIZER = Weights(
    name="clip-tokenizer",
    repo="openai/clip-vit-large-patch14",
    revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
    layouts=(Layout({"vocab.json": None, "merges.txt": None}),),
    licence="MIT",
    licence_url="https://github.com/openai/CLIP/blob/main/LICENSE",
    megabytes=2,
    purpose="reads words for image models that come as one file",
)


# -- motion modules --


def _guoyww(
    name: str,
    file: str,
    sha256: str | None,
    megabytes: int,
    purpose: str,
    others: tuple[Layout, ...] = (),
) -> Weights:
    """A file of the authors' own repository."""
    return Weights(
        name=name,
        repo="guoyww/animatediff",
        revision="fdfe36afa161e51b3e9c24022b0e368d59e7345e",  # earlier ones hold other v3 files under these names
        layouts=(one_file(file, sha256), *others),
        licence=APACHE,
        licence_url=ANIMATEDIFF_URL,
        megabytes=megabytes,
        purpose=purpose,
    )


ANIMATEDIFF_V3 = _guoyww(
    "animatediff-v3",
    "v3_sd15_mm.ckpt",
    "2412711886f61091846f53204aabc38aa6e09356d62a9808abe4daa802168343",
    1673,
    "motion for Stable Diffusion 1.5: the newest, and the one that pictures can be pinned in",
    one_network(),  # guoyww/animatediff-motion-adapter-v1-5-3
)
ANIMATEDIFF_V15_V2 = _guoyww(
    "animatediff-v15-v2",
    "mm_sd_v15_v2.ckpt",
    "69ed0f5fef82b110aca51bcab73b21104242bc65d6ab4b8b2a2a94d31cad1bf0",
    1818,
    "motion for Stable Diffusion 1.5: larger motion, and the one that camera moves fit",
)
ANIMATEDIFF_V15 = _guoyww(
    "animatediff-v15",
    "mm_sd_v15.ckpt",
    "cf16ea656cb16124990c8e2c70a29c793f9841f3a2223073fac8bd89ebd9b69a",
    1672,
    "motion for Stable Diffusion 1.5: the first release, little motion",
)
ANIMATEDIFF_V14 = _guoyww(
    "animatediff-v14",
    "mm_sd_v14.ckpt",
    "aa7fd8a200a89031edd84487e2a757c5315460eca528fa70d4b3885c399bffd5",
    1672,
    "motion for Stable Diffusion 1.4 and 1.5: the first release, more motion, less steady",
)
ANIMATEDIFF_SDXL = _guoyww(
    "animatediff-sdxl",
    "mm_sdxl_v10_beta.ckpt",
    "fa4950a062e892fca50d4c441fcd6130d1ad68a621a0404d155be17580072978",
    950,
    "motion for SDXL at 1024 × 1024: a beta, slow",
)


def _lightning(steps: int, purpose: str, diffusers: str | None, comfyui: str | None) -> Weights:
    """Distilled from v2. Lin, Yang 2024 (arXiv 2403.12706); sampling as on the model card."""
    stem = f"animatediff_lightning_{steps}step"
    return Weights(
        name=f"animatediff-lightning-{steps}",
        repo="ByteDance/AnimateDiff-Lightning",
        revision="027c893eec01df7330f5d4b733bc9485ee02e8b2",
        layouts=(
            one_file(f"{stem}_diffusers.safetensors", diffusers),
            one_file(f"{stem}_comfyui.safetensors", comfyui),
        ),
        licence=RAIL,
        licence_url="https://huggingface.co/ByteDance/AnimateDiff-Lightning/blob/main/LICENSE.md",
        megabytes=908,
        purpose=purpose,
    )


LIGHTNING_1 = _lightning(
    1,
    "motion in one step, for looking into it: of poor quality",
    "ca4ea6e68f4634d72c222de2b0187c3a31f00278a55868420b4e66b987bb7ccb",
    "5f45da3a6ffa5edbc868f577a875a0e0d6cdc6f8048dbbd17a13bc93ccf34393",
)
LIGHTNING_2 = _lightning(
    2,
    "motion in two or three steps, best with stylised image models",
    "fbd62904484d3e0842aa6c2f12d919ef91bacac45d36b1a13ae1ba10b5da4fdd",
    "29b4879520056657b897f48821760285b3eef371576e80c86c2ef1fdf95f6c1d",
)
LIGHTNING_4 = _lightning(
    4,
    "motion in four steps, best with stylised image models",
    "8f3330914edd8fc2ee5659e6944323858feb0ec21cc913789202d043f69b5e17",
    "aeb66ae8ff4a868d31379c3bde3e5e7e510a4d4b565a06ee4f1297e93a561dc5",
)
LIGHTNING_8 = _lightning(
    8,
    "motion in eight steps, best with stylised image models",
    "849e93641e2ae7dde37fb312747a5e8671920bddf5a8d27757ac7b1699571a96",
    "5173ea8209053dd5de9b973baefac1801fbe7a433d07fa0122664121751885cf",
)

ANIMATELCM = Weights(
    name="animatelcm",
    repo="wangfuyun/AnimateLCM",
    revision="3d4d00fc113225e1040f4d3bec504b6ec750c10c",
    layouts=(
        Layout(
            {
                "AnimateLCM_sd15_t2v.ckpt": "b46c3de62e5696af72c4056e3cdcbea12fbc19581c0aad7b6f2b027851148f5f",
                "AnimateLCM_sd15_t2v_lora.safetensors": (
                    "8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4"
                ),
            }
        ),
    ),
    licence="MIT",
    licence_url="https://github.com/G-U-N/AnimateLCM/blob/7e072d57656311f34c01ead677ca0f8f2ab7b36e/LICENSE.txt",
    megabytes=1948,
    purpose="motion in four to eight steps, for any Stable Diffusion 1.5 model",
)

HOTSHOT_XL = Weights(
    name="hotshot-xl",
    repo="hotshotco/Hotshot-XL",
    revision="41498d0b05468fa28294718e787da812b2007cd1",
    layouts=(
        one_file(
            "hsxl_temporal_layers.f16.safetensors",
            "b46ce6b4ec297b21e508b8888135f65b5a07aa76d755cc086dc5ee804064bb1c",
        ),
        one_file(
            "hsxl_temporal_layers.safetensors",
            "3a3a8013f99ba2991da633a9b82c833c7e7e6b62020b6cab41756601ad06c484",
        ),
    ),
    licence=RAIL_XL,
    licence_url="https://huggingface.co/hotshotco/Hotshot-XL/blob/main/LICENSE.md",
    megabytes=475,
    purpose="motion for SDXL models tuned to about 512 × 512: one second at 8 frames",
)  # fmt: skip

PIA = Weights(
    name="pia",
    repo="Leoxing/PIA",
    revision="49c17a03d7d2ca51938937ad59c6d4278600ace2",
    layouts=(
        one_file("pia.ckpt", "95dfff949e18ac23a112d4185e99372033eeb676f2d9014dcad9e1ba4c404b13"),
        *one_network(),  # openmmlab/PIA-condition-adapter
    ),
    licence=APACHE,
    licence_url="https://github.com/open-mmlab/PIA/blob/main/LICENSE",
    megabytes=1673,
    purpose="motion that starts from a picture, by the words beside it",
)


# -- LoRAs, pictures pinned to frames --

V3_ADAPTER = _guoyww(
    "animatediff-v3-adapter",
    "v3_sd15_adapter.ckpt",
    "fd2d8e26480f6ab013c1e6af86fdf1dedbb1ed5baf850ccd5f365f39d6c3472c",
    102,
    "the look of the videos that v3 was trained on; pinned pictures need it",
)


def _camera(move: str, file: str, sha256: str | None) -> Weights:
    return _guoyww(
        CAMERA_NAMES[move], file, sha256, 77, f"a camera move for version 2: {move}",
    )  # fmt: skip


CAMERAS: Mapping[str, Weights] = {
    move: _camera(move, file, sha256)
    for move, file, sha256 in (
        (
            "zoom in",
            "v2_lora_ZoomIn.ckpt",
            "70ce8b9057b173b9249c48aca5d66c8aa1d8aaa040fda394e50e37f3e278195e",
        ),
        ("zoom out", "v2_lora_ZoomOut.ckpt", "4172fb2d36410ef638ae0e29d604b66c11ee44b94db9c7cc5ee34d7f865c55d9"),
        ("pan left", "v2_lora_PanLeft.ckpt", "ed79025f8bea018c8925f43b6304a27e462335b6ec5e6f8a222c2726153844b3"),
        ("pan right", "v2_lora_PanRight.ckpt", "f4eb9154623c628c76dbd83109f125617c985490fec36ddca5464eb61ac7f6d5"),
        ("tilt up", "v2_lora_TiltUp.ckpt", "c0ee2f181fc69d7fe26e013ad5cfea11f25cb9f5e8fded3c9942b61803cd6c3d"),
        ("tilt down", "v2_lora_TiltDown.ckpt", "09e4d5448aba4ea51b3bcd4b5d2b058ed4b47bb72d94d8c05a3ccce3368db6d9"),
        (
            "roll clockwise",
            "v2_lora_RollingClockwise.ckpt",
            "361b1af8500d7fd09c2f884fac5dc0397a4323bae8fab5233443de5383d13630",
        ),
        (
            "roll anticlockwise",
            "v2_lora_RollingAnticlockwise.ckpt",
            "7ae6cbc81044895243bba9a64df9666db763a52acfd8e496c490af84e812748a",
        ),
    )
}
"""The camera moves, by the words people use."""

SPARSECTRL_RGB = _guoyww(
    "sparsectrl-rgb",
    "v3_sd15_sparsectrl_rgb.ckpt",
    "c93f27a3cd15edf99bbddf4522509f2e831f515cc7db9c820d955037ddafbe45",
    1988,
    "pins pictures to frames, with version 3",
    one_network(),  # guoyww/animatediff-sparsectrl-rgb
)
SPARSECTRL_SCRIBBLE = _guoyww(
    "sparsectrl-scribble",
    "v3_sd15_sparsectrl_scribble.ckpt",
    "148399d3267e104bee1b1171100af0ad7e125c4f99aacada21342d778eaf3896",
    1992,
    "pins sketches to frames, with version 3",
    one_network(),  # guoyww/animatediff-sparsectrl-scribble
)


# -- pictures instead of words --


def _ip_adapter(name: str, files: Mapping[str, str | None], megabytes: int, purpose: str) -> Weights:
    """Ye et al. 2023 (arXiv 2308.06721). The hub keeps the files in folders; who moved them out is understood too."""
    bare = {file.rsplit("/", 1)[-1]: sha256 for file, sha256 in files.items()}
    return Weights(
        name=name,
        repo="h94/IP-Adapter",
        revision="018e402774aeeddd60609b4ecdb7e298259dc729",
        layouts=(Layout(files), Layout(bare)),
        licence=APACHE,
        licence_url=IP_ADAPTER_URL,
        megabytes=megabytes,
        purpose=purpose,
    )


IP_ADAPTER = _ip_adapter(
    "ip-adapter-sd15",
    {"models/ip-adapter_sd15.safetensors": "289b45f16d043d0bf542e45831f971dcdaabe18b656f11e86d9dfba7e9ee3369"},
    45,
    "takes subject and style from a picture, loosely",
)
IP_ADAPTER_PLUS = _ip_adapter(
    "ip-adapter-plus-sd15",
    {"models/ip-adapter-plus_sd15.safetensors": "a1c250be40455cc61a43da1201ec3f1edaea71214865fb47f57927e06cbe4996"},
    98,
    "takes subject and style from a picture, closely",
)
IP_ADAPTER_XL = _ip_adapter(
    "ip-adapter-sdxl",
    {
        "sdxl_models/ip-adapter_sdxl_vit-h.safetensors": (
            "ebf05d918348aec7abb02a5e9ecef77e0aaea6914a5c4ea13f50d45eb1681831"
        )
    },
    698,
    "takes subject and style from a picture, for SDXL",
)
CLIP_VIT_H = _ip_adapter(
    "clip-vit-h",
    {
        "models/image_encoder/config.json": None,
        "models/image_encoder/model.safetensors": "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030",
    },
    2528,
    "sees the picture for the IP-Adapters",
)


# -- all of them --

BASES: tuple[Weights, ...] = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)
MOTION_MODULES: tuple[Weights, ...] = (
    ANIMATEDIFF_V3,
    ANIMATEDIFF_V15_V2,
    LIGHTNING_4,
    LIGHTNING_8,
    LIGHTNING_2,
    ANIMATELCM,
    ANIMATEDIFF_V15,
    ANIMATEDIFF_V14,
    LIGHTNING_1,
    PIA,
    ANIMATEDIFF_SDXL,
    HOTSHOT_XL,
)
SPARSECTRLS: tuple[Weights, ...] = (SPARSECTRL_RGB, SPARSECTRL_SCRIBBLE)
IP_ADAPTERS: tuple[Weights, ...] = (IP_ADAPTER_PLUS, IP_ADAPTER, IP_ADAPTER_XL)

WEIGHTS: tuple[Weights, ...] = (
    *BASES,
    CLIP_TOKENIZER,
    *MOTION_MODULES,
    V3_ADAPTER,
    *CAMERAS.values(),
    *SPARSECTRLS,
    *IP_ADAPTERS,
    CLIP_VIT_H,
    *CONTROLS,
    *DETECTORS,
)
BY_NAME: Mapping[str, Weights] = {weights.name: weights for weights in WEIGHTS}
