"""The worker's tables of `config.toml`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from inference.systems import ROOMS
from inference.systems.animatediff.weights import BY_NAME as CHECKPOINTS
from jobs.requests.image_models import OTHERS, PREFIXES
from jobs.requests.svd import SvdModel
from jobs.settings import Table


class ModelSettings(Table, header="models"):
    """Where the checkpoints lie and what they may use."""

    dir: Path = Field(default=Path("models"), description="folder of the checkpoints, one sub-folder each")
    cache: Path = Field(default=Path("data/cache"), description="scratch folder of the worker")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N"
    )
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        default="auto", description="of the big networks; auto: float16 on a GPU, float32 on a CPU"
    )
    vram: float | None = Field(
        default=None, gt=0, description="gigabytes of GPU memory to use; empty: what is free at the start"
    )
    ram: float | None = Field(
        default=None, gt=0, description="gigabytes of main memory for idle networks; empty: half of it"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the renderer; empty: all cores")


class WorkerSettings(Table, header="worker"):
    """How a worker goes about its jobs."""

    stop_seconds: float = Field(
        default=45, ge=0, le=3600, description="told to stop, it may take so long over the jobs it has"
    )
    previews: bool = Field(default=True, description="show small pictures of a clip while it is being rendered")


class Options(BaseModel):
    """What every system's own table has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="whether this worker offers the system")


class SvdOptions(Options):
    """`[systems.svd]`."""

    checkpoints: tuple[SvdModel, ...] = Field(
        default=("svd-xt", "svd-xt-1-1", "svd"), description="offered where installed, the preferred one first"
    )
    faithful: bool = Field(default=True, description="follow the original engine where diffusers departs from it")


NAME = r"^[a-z0-9][a-z0-9._-]{0,59}$"
"""What people type: of an owner's image model or LoRA."""


class AnimateDiffOptions(Options):
    """`[systems.animatediff]`."""

    styles: dict[Annotated[str, Field(pattern=NAME)], str] = Field(
        default_factory=dict,
        description="your own image models: a name (of SDXL beginning with sdxl-), and a file or folder below "
        "models.dir, or owner/name@commit of a hub repository",
    )

    loras: dict[Annotated[str, Field(pattern=NAME)], str] = Field(
        default_factory=dict,
        description="LoRAs of image models that people may choose: a name (of SDXL's beginning with sdxl-), and a file "
        "below models.dir",
    )

    @field_validator("styles")
    @classmethod
    def _names_are_free(cls, styles: dict[str, str]) -> dict[str, str]:
        taken = sorted(name for name in styles if name in CHECKPOINTS or name in OTHERS or name.startswith(PREFIXES))
        if taken:
            raise ValueError(f"{taken[0]} is, or begins like, a published checkpoint; call it otherwise")
        return styles

    @field_validator("styles", "loras")
    @classmethod
    def _lie_below(cls, files: dict[str, str]) -> dict[str, str]:
        outside = [where for where in files.values() if Path(where).is_absolute() or ".." in Path(where).parts]
        if outside:
            raise ValueError(f"{outside[0]} must lie below models.dir")
        return files


class ParallaxOptions(Options):
    """`[systems.parallax]`."""


class SmoothOptions(Options):
    """`[systems.smooth]`."""

    checkpoints: tuple[Literal["rife-4.26", "rife-4.9", "rife-4.7", "film"], ...] = Field(
        default=("rife-4.26", "rife-4.9", "rife-4.7", "film"), description="used where installed, preferred one first"
    )


class FinishingOptions(Options):
    """The tables of all other steps that finish a clip."""


class SystemSettings(Table, header="systems"):
    """One sub-table for each system."""

    svd: SvdOptions = Field(default=SvdOptions(), description="Stable Video Diffusion")
    animatediff: AnimateDiffOptions = Field(default=AnimateDiffOptions(), description="clips from words and pictures")
    restyle: FinishingOptions = Field(default=FinishingOptions(), description="videos in another look")
    learnmotion: FinishingOptions = Field(default=FinishingOptions(), description="motions learned from clips")
    parallax: ParallaxOptions = Field(default=ParallaxOptions(), description="camera moves over a still picture")
    smooth: SmoothOptions = Field(default=SmoothOptions(), description="frames in between")
    deflicker: FinishingOptions = Field(default=FinishingOptions(), description="steadier light and colours")
    loop: FinishingOptions = Field(default=FinishingOptions(), description="clips without a seam")
    upscale: FinishingOptions = Field(default=FinishingOptions(), description="larger pictures")
    trim: FinishingOptions = Field(default=FinishingOptions(), description="a part of a clip")
    crop: FinishingOptions = Field(default=FinishingOptions(), description="a part of the picture")
    speed: FinishingOptions = Field(default=FinishingOptions(), description="faster or slower")
    stitch: FinishingOptions = Field(default=FinishingOptions(), description="two clips as one")
    sound: FinishingOptions = Field(default=FinishingOptions(), description="music and sounds")
    convert: FinishingOptions = Field(default=FinishingOptions(), description="another format")
    sticker: FinishingOptions = Field(default=FinishingOptions(), description="stickers")
    emoji: FinishingOptions = Field(default=FinishingOptions(), description="emoji")


def tables_of(systems: SystemSettings) -> dict[str, dict[str, Any]]:
    """Each room's table of `config.toml`, over that of its family."""
    tables = systems.model_dump(mode="json")
    return {name: {**tables.get(room.family, {}), **tables[name]} for name, room in ROOMS.items()}
