"""Small RIFE and FILM checkpoints: the real networks, narrow and random, in the published files' layouts and names."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from inference.systems.rife.film import Film, FilmSizes
from inference.systems.rife.ifnet import IFNet
from inference.systems.rife.versions import VERSIONS
from inference.systems.rife.weights import FILM, RIFE_4_26

TINY_FILM = FilmSizes(filters=4, flow_filters=(2, 4, 8, 16))
DIVISOR = 8


N = TypeVar("N", bound=nn.Module)


def _drawn(build: Callable[[], N], gain: float) -> N:
    """A network whose answer depends on what it sees: drawn wider than torch begins a training with."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build()
        for weight in network.parameters():
            if weight.dim() == 4 and weight.shape[0] > 1:
                nn.init.normal_(weight, std=gain * weight[0].numel() ** -0.5)
    return network.eval()


def tiny_rife(version: str = "4.26") -> IFNet:
    """A version an eighth as wide."""
    return _drawn(lambda: IFNet(VERSIONS[version].narrowed(DIVISOR)), 0.8)


def tiny_film() -> Film:
    """A sixteenth as wide."""
    return _drawn(lambda: Film(TINY_FILM), 1.0)


def training_file(network: nn.Module) -> dict[str, Tensor]:
    """As `flownet.pkl` holds it: below `module.`, among parts that only training used."""
    held = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    return {**held, "module.teacher.conv0.0.0.weight": torch.zeros(4, 4), "module.caltime.0.weight": torch.zeros(2)}


def write_rife(models: Path) -> None:
    """`models/rife-4.26/RIFEv4.26_0921.zip` with `train_log/flownet.pkl` and, as published, programs beside it."""
    folder = models / RIFE_4_26.name
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = io.BytesIO()
    torch.save(training_file(tiny_rife()), checkpoint)
    with zipfile.ZipFile(folder / "RIFEv4.26_0921.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_log/IFNet_HDv3.py", "raise SystemExit('never to be run')\n")
        archive.writestr("train_log/flownet.pkl", checkpoint.getvalue())


class _Traced(nn.Module):
    """FILM as its port to torch was traced: pictures and a moment in, the picture out, parameters by the same names."""

    def __init__(self, film: Film) -> None:
        super().__init__()
        self.extract, self.predict_flow, self.fuse = film.extract, film.predict_flow, film.fuse
        self.film = [film]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.film[0](first, second, 0.5).frame


def write_film(models: Path) -> None:
    """`models/film/film_net_fp32.pt`: a TorchScript archive."""
    folder = models / FILM.name
    folder.mkdir(parents=True, exist_ok=True)
    picture = torch.zeros(1, 3, 64, 64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to give up TorchScript; the published file stays what it is
        traced = torch.jit.trace(_Traced(tiny_film()).eval(), (picture, picture), check_trace=False)
        traced.save(str(folder / "film_net_fp32.pt"))
