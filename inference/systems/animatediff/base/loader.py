"""Opens an image model, SD 1.5 or SDXL, from a single file or a diffusers folder.

Strict, as the room's `loader.py`: every tensor of every file is used or known to be useless, every parameter is filled
with one of its shape. That is settled here, from the files' headers. (A pickle has none: it is read whole, once to be
checked and once more for each network.)
"""

from __future__ import annotations

from pathlib import Path

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff import loader as room
from inference.systems.animatediff.base import folder, single
from inference.systems.animatediff.base.model import BUILD, Base, sized


def open_base(name: str, path: Path, tokenizer: Path) -> Base:
    """An image model, checked from its files' headers.

    Args:
        name: what people call it.
        path: a `.safetensors` or `.ckpt` with the whole model in it, or a diffusers folder.
        tokenizer: a folder with CLIP's `vocab.json` and `merges.txt` (openai/clip-vit-large-patch14), for what does
            not bring its own.

    Raises:
        Failure: it cannot be read, is another kind of model, or is not whole.
    """
    base = folder.opened(name, path, tokenizer) if path.is_dir() else single.opened(name, path, tokenizer)
    check(base)
    return base


def check(base: Base) -> None:
    """Compare every name and shape in the files with what the networks have, and the networks with each other.

    Raises:
        Failure: something is missing, left over or of another shape.
    """
    for network, config in base.configs.items():
        each = {part.path.name: found for part in base.parts if (found := part.found(network))}
        file = ", ".join(each) or network
        with sized(base.name, file, network):
            wanted = room.parameters_of(BUILD[network](config))
        found = {name: shape for part in each.values() for name, shape in part.items()}
        room.compare(room.TensorFile(base.name, file, {}), found, wanted)
    width = sum(int(base.configs[encoder].get("hidden_size", 0)) for encoder in base.encoders)
    if base.configs["unet"].get("cross_attention_dim") != width:
        raise room_errors.AnimateDiffWrongShape(model=base.name, file="unet", example="attn2.to_k")
