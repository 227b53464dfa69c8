"""What /animatediff and /restyle do alike: put a UNet together for one job, denoise with it, and decode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import torch
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor, nn

from inference.residency import Resident
from inference.systems.animatediff import sampling
from inference.systems.animatediff.controls.frame_control import Control
from inference.systems.animatediff.engine import Engine, Pair, unet_bytes, windowing_for
from inference.systems.animatediff.errors import AnimateDiffNotFinite
from inference.systems.animatediff.frames import Colours, Size, Undecoded
from inference.systems.animatediff.freenoise import freenoise_order, rearranged
from inference.systems.animatediff.ip_adapter import open_ip_adapter
from inference.systems.animatediff.ip_adapter_vision import SeenPictures
from inference.systems.animatediff.loras import Lora
from inference.systems.animatediff.motion_scale import MotionScale
from inference.systems.animatediff.pia import PiaCondition
from inference.systems.animatediff.samplers import scheduler_for
from inference.systems.base import Place, Sources, System, Thrift, Tick
from jobs.errors import Note
from jobs.requests.animatediff_modules import MODULES
from jobs.requests.base import Shape
from jobs.requests.diffusion import Diffusion
from jobs.requests.image_models import kind_of
from jobs.requests.learnmotion import LearnMotionRequest
from media.frames import FrameSpool

R = TypeVar("R", bound=Diffusion | LearnMotionRequest)
N = TypeVar("N", bound=nn.Module)

FEW_FRAMES = 8
"""In fewer than these, motion modules hardly move anything."""
SHORTEST_WINDOW = 8
"""Where memory is short, no window is made shorter than this."""


@dataclass(frozen=True)
class Job:
    """One clip to be denoised: everything that was found out about it before."""

    pair: Pair
    num_frames: int
    fps: Fraction
    size: Size
    words: sampling.Words
    sources: Sources
    controls: Callable[[], AbstractContextManager[Sequence[Control]]]
    """Brings the networks that steer to the device, after the UNet."""
    look: SeenPictures | None = None
    pia: PiaCondition | None = None
    beginning: sampling.Beginning | None = None
    more: Sequence[tuple[Lora, float]] = ()
    """LoRAs beside those that the request names, with their strengths."""


@contextmanager
def nothing() -> Generator[Sequence[Control]]:
    """Nothing steers."""
    yield ()


class DiffusionSystem(System[R]):
    """A system of the family."""

    name: str

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.engine = Engine(place)
        self.colours = Colours()
        self.undecoded = Undecoded()

    def thriftier(self, thrift: Thrift, stage: str) -> Thrift | None:
        """The UNet layer by layer, one branch of guidance after the other; then windows half as long.

        A frame that is too large to decode at once is decoded in tiles.
        """
        if stage == "decoding" and thrift.decode_chunk_size is None:
            return replace(thrift, offload=True, decode_chunk_size=1)
        if not thrift.offload:
            return replace(thrift, offload=True)
        if stage == "denoising" and thrift.num_frames is None:
            return replace(thrift, num_frames=SHORTEST_WINDOW)
        return None

    def holding(self) -> Iterable[str]:
        """Image models of which everything lies in memory with a motion module, and the system itself then."""
        keys = {key[1:] for key in self.place.residency.keys if isinstance(key, tuple) and key[0] == "animatediff"}
        for key in keys:
            if len(key) == 3 and key[2] == "unet" and {(key[0], "vae"), (key[0], "text_encoder")} <= keys:
                module = next(name for name, profile in MODULES.items() if profile.weights == key[1])
                yield kind_of(self.name, key[0], module)
                yield kind_of(self.name, key[0], None)
                yield self.name

    def denoised(self, request: Diffusion, job: Job, tick: Tick, thrift: Thrift) -> Tensor:
        """The clip's latents, `[1, C, T, H/8, W/8]`.

        Raises:
            AnimateDiffNotFinite: some are no numbers.
        """
        windowing = windowing_for(request, most=thrift.num_frames)
        at_once = job.num_frames if windowing.schedule == "view_as_context" else min(windowing.length, job.num_frames)
        guided = request.guidance > 1
        working = unet_bytes(at_once, job.size, guided=guided)
        latents = noise = starting_noise(request, job)
        total = request.steps
        if job.beginning is not None:
            total = sampling.steps_taken(total, job.beginning.strength)

        def show(clean: Tensor) -> None:
            self.place.show(lambda: self.colours.look(job.pair.base, clean[0, :, job.num_frames // 2]))

        with ExitStack() as held:
            unet = held.enter_context(self._at_work(request, job, working, thrift))
            denoiser = sampling.Denoiser(
                unet,
                job.words,
                request.guidance,
                held.enter_context(job.controls()),
                motion_scale(request, job),
                pia=job.pia,
                num_steps=total,
                branch_by_branch=thrift.offload and job.look is None,
            )
            tick("loading", 4, 4)
            passes = sampling.denoise(
                denoiser.windowed(windowing),
                scheduler_for(job.pair.profile, request.sampler, job.pair.base.prediction_type),
                noise.to(self.place.device),
                request.steps,
                generator=torch.Generator("cpu").manual_seed(request.seed + 1),
                beginning=job.beginning,
                seen=show,
            )
            tick("denoising", 0, total)  # so that memory that runs out in the first pass is known to have done so there
            for step, latents in enumerate(passes, start=1):  # noqa: B007 - the last ones are the clip's
                tick("denoising", step, total)
        if not latents.isfinite().all():
            raise AnimateDiffNotFinite()
        return latents

    @contextmanager
    def _at_work(self, request: Diffusion, job: Job, working: int, thrift: Thrift) -> Generator[UNetMotionModel]:
        """The UNet where it computes, with everything on it that this job wants."""
        resident, residency = self.engine.unet(job.pair), self.place.residency
        if not thrift.offload:
            if request.loras:  # the matrices that they change wait beside the sums: nearly all of the network's
                working += resident.num_bytes
            with residency.on_device(resident, working) as unet, self._armed(unet, request, job):
                yield unet
            return
        residency.make_way()
        # Layers come over one by one: whatever is put on them must be there before.
        with self._armed(resident.network, request, job), residency.in_pieces(resident) as unet:
            yield unet

    @contextmanager
    def _armed(self, unet: UNetMotionModel, request: Diffusion, job: Job) -> Generator[None]:
        with ExitStack() as held:
            held.enter_context(self.engine.armed(unet, request, job.pair, job.sources, job.more))
            if job.look is not None:
                name = request.look_adapter
                adapter = open_ip_adapter(self.engine.file(name), name)
                held.enter_context(adapter.put_into(unet, job.look, request.look_scale))
            yield

    def notes(self, request: Diffusion, pair: Pair, num_frames: int, thrift: Thrift) -> Iterator[Note]:
        """What should be said with the clip."""
        if request.negative and request.guidance <= 1:
            yield Note("negative_unread", {"module": pair.module})
        if num_frames < FEW_FRAMES:
            yield Note("animatediff_few_frames", {"frames": num_frames})
        if thrift.offload:
            yield Note("memory_offload")
        if thrift.decode_chunk_size is not None:
            yield Note("animatediff_tiles")
        if thrift.num_frames is not None:
            yield Note("animatediff_short_windows", {"frames": thrift.num_frames})


def motion_scale(request: Diffusion, job: Job) -> MotionScale:
    """How much moves: one number where it is the same all along."""
    scales = request.motion_scales(job.num_frames, float(job.fps))
    return MotionScale(scales[0] if len(set(scales)) == 1 else scales)


def starting_noise(request: Diffusion, job: Job) -> Tensor:
    """`[1, C, T, H/8, W/8]` on the CPU; of a clip longer than a window, each window's own, shuffled."""
    noise = sampling.starting_noise(request.seed, job.num_frames, job.size)
    if not request.freenoise or job.num_frames <= request.window:
        return noise
    windowing = windowing_for(request)
    return rearranged(noise, freenoise_order(job.num_frames, windowing.length, windowing.overlap, request.seed))


@contextmanager
def where_it_computes(place: Place, resident: Resident[N], thrift: Thrift) -> Generator[N]:
    """A network on the device, or where memory is short, in pieces."""
    residency = place.residency
    with residency.in_pieces(resident) if thrift.offload else residency.on_device(resident) as network:
        yield network


def shape_of(sources: Sources, name: str) -> Shape:
    """What is known of a picture."""
    width, height = sources.image(name).size
    return Shape(width, height, 1, Fraction(1))


def glimpsed(spool: FrameSpool) -> bytes:
    """Tells one clip from another by some of its frames."""
    total = hashlib.sha256(f"{spool.width} {spool.height} {len(spool)} {spool.fps}".encode())
    for index in range(0, len(spool), max(1, len(spool) // 8)):
        total.update(spool[index].tobytes())
    return total.digest()


def digest(sources: Sources) -> bytes:
    """Of all pictures and motions: the same latents only for the same ones."""
    total = hashlib.sha256()
    for picture in sources.images.values():
        total.update(picture.tobytes())
    for path in sources.motions.values():
        total.update(path.read_bytes())
    return total.digest()
