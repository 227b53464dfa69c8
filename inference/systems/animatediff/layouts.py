"""Forms in which the family's checkpoints are published, and the licences that many share. No torch here."""

from __future__ import annotations

from inference.weights import Layout

RAIL = "CreativeML Open RAIL-M"
RAIL_URL = "https://huggingface.co/spaces/CompVis/stable-diffusion-license"
APACHE = "Apache-2.0"

FP16, FP32 = "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"


def one_file(name: str, sha256: str | None = None) -> Layout:
    """All of it in one file."""
    return Layout({name: sha256})


def one_network(half: str | None = None, full: str | None = None) -> tuple[Layout, Layout]:
    """A diffusers folder of one network, in float16 or in float32."""
    return Layout({"config.json": None, FP16: half}), Layout({"config.json": None, FP32: full})
