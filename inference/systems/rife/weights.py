"""Which published files frame interpolation can use. It needs none; README.md says where revisions and hashes are from.

No torch here: worker, `doctor` and `models` read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference.weights import Layout, Weights

MIT, MIT_URL = "MIT", "https://github.com/hzwer/Practical-RIFE/blob/main/LICENSE"

RIFE_4_26 = Weights(
    name="rife-4.26",
    repo="hzwer/RIFE",
    revision="01fdc7e97404120c243c3ea7b427046e5dc7643e",
    layouts=(
        Layout({"RIFEv4.26_0921.zip": "1fa9b9cda3d9b8c3e301359e2595960902f97bf926c08598b0e9957a3f3f760e"}),
        Layout({"flownet.pkl": "45c7f74156704769dc9f85cfcaf8552e1e926f9399dcfa3a553dee88fac6f53f"}),
        Layout({"flownet_v4.26.pkl": "45c7f74156704769dc9f85cfcaf8552e1e926f9399dcfa3a553dee88fac6f53f"}),
        Layout({"rife426.pth": "606421fe2148a9fdeca14e58d94dc339e87b87e0ebcc5dec84a50d6f488cfe7b"}),
    ),
    licence=MIT,
    licence_url=MIT_URL,
    megabytes=25,
    purpose="frames between frames for /smooth: the newest, steady on rendered clips",
)

RIFE_4_9 = Weights(
    name="rife-4.9",
    repo="hfmaster/models-moved",
    revision="cab6dcee2fbb05e190dbb8f536fbdaa489031a14",
    layouts=(
        Layout({"rife/rife49.pth": None}),
        Layout({"rife49.pth": None}),
        Layout({"flownet_v4.9.pkl": None}),
    ),
    licence=MIT,
    licence_url=MIT_URL,
    megabytes=21,
    purpose="frames between frames for /smooth: older, as many ComfyUI users have it",
)

RIFE_4_7 = Weights(
    name="rife-4.7",
    repo="hfmaster/models-moved",
    revision="cab6dcee2fbb05e190dbb8f536fbdaa489031a14",
    layouts=(
        Layout({"rife/rife47.pth": "6a8a825ab2750558bdd20dcced386fd82b7222c7ba58c11d3b611d9c44f1be63"}),
        Layout({"rife47.pth": "6a8a825ab2750558bdd20dcced386fd82b7222c7ba58c11d3b611d9c44f1be63"}),
    ),
    licence=MIT,
    licence_url=MIT_URL,
    megabytes=21,
    purpose="frames between frames for /smooth: older, as many ComfyUI users have it",
)

FILM = Weights(
    name="film",
    repo="nguu/film-pytorch",
    revision="887b2c42bebcb323baf6c3b6d59304135699b575",
    layouts=(Layout({"film_net_fp32.pt": None}), Layout({"film_net_fp16.pt": None})),
    licence="Apache-2.0",
    licence_url="https://github.com/google-research/frame-interpolation/blob/main/LICENSE",
    megabytes=138,
    purpose="frames between frames for /smooth: slower than RIFE, better over large jumps",
)

RIFE: tuple[Weights, ...] = (RIFE_4_26, RIFE_4_9, RIFE_4_7)
"""In the order of preference."""
WEIGHTS: tuple[Weights, ...] = (*RIFE, FILM)
BY_NAME: Mapping[str, Weights] = {weights.name: weights for weights in WEIGHTS}
