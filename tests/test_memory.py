"""When a device's memory does not suffice: less at a time, networks one by one, fewer frames, then a sentence.

The networks, the ladder and the messages are the real ones. Only the card is made up: it lets no more than so many
frames through a network at once, and says so as CUDA does.
"""

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from inference.memory import ran_out
from inference.messages import CannotRender, ClipBegins, Done, End, OneFrame, Order, Setup
from inference.piecewise import piecewise
from inference.rendering import Renderer
from inference.residency import NetworkTooLarge, Residency, Resident
from jobs.recipe import Recipe, Source, Value
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from jobs.texts import say
from tests.tiny_models.svd import write_svd

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
CPU = torch.device("cpu")
N = TypeVar("N", bound=nn.Module)


class SmallCard(Residency):
    """So many frames fit through the decoder, and through the UNet, at once."""

    def __init__(self, decodes: int = 1000, denoises: int = 1000) -> None:
        super().__init__(CPU)
        self.fits = {"vae": decodes, "unet": denoises}
        self.denoised = 0
        """How often the UNet was called with what fits."""

    def get(self, key: Hashable, load: Callable[[], N]) -> Resident[N]:
        """The network, watched from the moment it is read."""

        def watched() -> N:
            network = load()
            name = key[2] if isinstance(key, tuple) else ""
            if name == "vae":
                network.get_submodule("decoder").register_forward_pre_hook(
                    lambda _, arguments: self._let_through("vae", len(arguments[0]))
                )
            if name == "unet":
                network.register_forward_pre_hook(
                    lambda _, arguments: self._let_through("unet", arguments[0].shape[0] * arguments[0].shape[1])
                )
            return network

        return super().get(key, watched)

    def _let_through(self, network: str, frames: int) -> None:
        if frames > self.fits[network]:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {frames} frames.")
        self.denoised += network == "unet"


class Heard:
    """The parent's end of the wire."""

    def __init__(self) -> None:
        self.clips: list[ClipBegins] = []
        self.frames: list[bytes] = []

    def send(self, message: Value, payload: bytes = b"") -> None:
        """A clip that begins anew takes back the frames of the one before, as in the parent."""
        if isinstance(message, ClipBegins):
            self.clips.append(message)
            self.frames = []
        if isinstance(message, OneFrame):
            self.frames.append(payload)


class NobodyStops:
    """No cancel comes."""

    def stopped(self, _: str) -> bool:
        """Never."""
        return False


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_svd(folder)
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").resize((160, 90)).convert("RGB").save(path)
    return path


def renderer(models: Path, card: SmallCard) -> tuple[Renderer, Heard]:
    heard: Any = Heard()
    nobody: Any = NobodyStops()
    setup = Setup(models=models, device="cpu", dtype="auto", vram_bytes=None, ram_bytes=None, threads=1, options={})
    renderer = Renderer(setup, heard, nobody)
    renderer.residency = card
    return renderer, heard


def order(picture: Path, request: SvdRequest | ParallaxRequest) -> Order:
    recipe = Recipe(sources={"image": Source(digest="0" * 64, width=160, height=90)}, steps=(request,))
    return Order(job_id="1", recipe=recipe, sources={"image": picture})


def svd(num_frames: int = 4, **fields: Any) -> SvdRequest:
    return SvdRequest(**{"seed": 5, "num_frames": num_frames, "num_inference_steps": 2, **fields})


def render(models: Path, picture: Path, card: SmallCard, request: SvdRequest) -> tuple[End, Heard]:
    child, heard = renderer(models, card)
    return child.answer(order(picture, request)), heard


def said(heard: Heard) -> list[str]:
    return [say(note.code, note.facts) for note in heard.clips[-1].said]


def test_where_memory_suffices_nothing_is_spared_and_nothing_is_said(models: Path, picture: Path) -> None:
    end, heard = render(models, picture, SmallCard(), svd())

    assert isinstance(end, Done)
    assert len(heard.clips) == 1
    assert heard.clips[0].said == ()


def test_first_fewer_frames_are_decoded_at_a_time_and_no_step_is_denoised_twice(models: Path, picture: Path) -> None:
    plenty = SmallCard()
    render(models, picture, plenty, svd())
    card = SmallCard(decodes=1)
    end, heard = render(models, picture, card, svd())

    assert isinstance(end, Done)
    assert len(heard.frames) == 4
    assert said(heard) == [say("memory_chunks", {"frames": 1})]
    assert card.denoised == plenty.denoised


def test_then_networks_come_one_by_one_and_the_branches_after_each_other(models: Path, picture: Path) -> None:
    _, usual = render(models, picture, SmallCard(), svd())
    end, heard = render(models, picture, SmallCard(denoises=4), svd())

    assert isinstance(end, Done)
    assert said(heard) == [say("memory_offload")]
    assert_alike(heard, usual)


@pytest.mark.slow
def test_then_the_clip_has_fewer_frames_and_says_how_many_were_asked(models: Path, picture: Path) -> None:
    end, heard = render(models, picture, SmallCard(denoises=6), svd(12))

    assert isinstance(end, Done)
    assert (heard.clips[-1].num_frames, len(heard.frames)) == (6, 6)
    assert say("memory_frames", {"frames": 6, "asked": 12}) in said(heard)


def test_in_the_end_it_is_a_sentence_and_the_next_job_is_rendered(models: Path, picture: Path) -> None:
    child, heard = renderer(models, SmallCard(denoises=2))
    end = child.answer(order(picture, svd()))

    assert isinstance(end, CannotRender)
    assert "memory of the rendering machine" in say(end.reason.code, end.reason.facts)
    assert child.residency.residents == (), "what could not be used makes room"
    next_end = child.answer(order(picture, ParallaxRequest(seconds=0.5, fps=5, size=360, depth="off")))
    assert isinstance(next_end, Done)
    assert heard.frames


def assert_alike(heard: Heard, usual: Heard) -> None:
    """The same clip but for roundings: thrift may not change what is seen."""
    assert len(heard.frames) == len(usual.frames)
    for mine, theirs in zip(heard.frames, usual.frames, strict=True):
        apart = np.frombuffer(mine, np.uint8).astype(int) - np.frombuffer(theirs, np.uint8)
        assert np.abs(apart).max() <= 2


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (NetworkTooLarge(needed_gb=5, budget_gb=4), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you …"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_a_want_of_memory_is_taken_for_one(error: BaseException, is_memory: bool) -> None:
    assert ran_out(error) is is_memory


def test_this_machines_own_want_of_memory_is_one() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)

    assert ran_out(caught.value)


# --- a network in pieces ---


class Carrier:
    """Carries copies over, and knows how many of them are alive."""

    def __init__(self) -> None:
        self.carried: list[Tensor] = []

    def __call__(self, weights: Tensor) -> Tensor:
        """A copy, on the made-up device."""
        self.carried.append(weights.clone())
        return self.carried[-1]


def layers(network: nn.Module) -> Iterator[nn.Module]:
    return (module for module in network.modules() if list(module.parameters(recurse=False)))


def test_in_pieces_it_computes_the_same_and_no_layer_stays_behind() -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.Sequential(nn.GELU(), nn.Linear(16, 16)), nn.LayerNorm(16)).eval()
    homes = {id(module): [weights.data_ptr() for weights in module.parameters()] for module in layers(network)}
    data = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    usual, carry, away = network(data), Carrier(), list[int]()

    def count(*_: object) -> None:
        away.append(
            sum(
                weights.data_ptr() != home
                for module in layers(network)
                for weights, home in zip(module.parameters(), homes[id(module)], strict=True)
            )
        )

    with piecewise(network, carry), torch.no_grad():
        for module in layers(network):
            module.register_forward_pre_hook(count)
        assert torch.equal(network(data), usual)

    assert away == [2, 2, 2], "weight and bias of one layer at a time"
    assert len(carry.carried) == 6
    assert all([w.data_ptr() for w in module.parameters()] == homes[id(module)] for module in layers(network))
    with torch.no_grad():
        network(data)
    assert len(carry.carried) == 6, "outside the block nothing is carried"


def test_a_layer_that_fails_is_brought_home() -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.Linear(4, 4))
    homes = [weights.data_ptr() for weights in network.parameters()]
    with piecewise(network, Carrier()), pytest.raises(RuntimeError, match="shapes"):
        network(torch.zeros(1, 8))

    assert [weights.data_ptr() for weights in network.parameters()] == homes
