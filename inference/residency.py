"""Who may lie in GPU memory. One rule: a budget in bytes, a hold count for each network, least recently used out first.

A network lies on the device, in main memory, or nowhere. Whoever needs one holds it for as long as it computes; what
nobody holds makes way, from the device to main memory and from there to nothing, until the budgets hold again.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import psutil
import torch
from torch import nn

from inference.piecewise import piecewise
from jobs.errors import Failure

GIGABYTE = 10**9
RESERVE_BYTES = GIGABYTE
"""Of the free GPU memory, left alone: the CUDA context, cuDNN's workspaces and what the allocator cannot pack."""

N = TypeVar("N", bound=nn.Module)


class NetworkTooLarge(Failure):
    """A network's weights do not fit, with everything that nobody holds already out of the way."""

    code = "network_too_large"


@dataclass(eq=False)
class Resident(Generic[N]):
    """One network and where it lies."""

    key: Hashable
    network: N
    num_bytes: int
    on_device: bool = False
    holds: int = 0
    used: int = field(default=0, repr=False)
    """When it was last wanted, in ticks of the residency's own clock."""


def num_bytes(network: nn.Module) -> int:
    """What parameters and buffers occupy."""
    return sum(tensor.nbytes for tensor in itertools.chain(network.parameters(), network.buffers()))


def device_bytes(device: torch.device) -> int:
    """All the memory of this kind of device: the same on every run, unlike what happens to be free."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return psutil.virtual_memory().total


class Residency:
    """The networks that one renderer keeps, in its device's memory and in main memory.

    Args:
        device: where networks compute. On a CPU there is only main memory, and nothing moves.
        vram_bytes: budget on the device; None: what is free now, less a reserve.
        ram_bytes: budget for networks that wait in main memory; None: half of it.
    """

    def __init__(self, device: torch.device, vram_bytes: int | None = None, ram_bytes: int | None = None) -> None:
        self.device = device
        self.vram_bytes = _free_bytes(device) if vram_bytes is None else vram_bytes
        self.ram_bytes = psutil.virtual_memory().total // 2 if ram_bytes is None else ram_bytes
        self._residents: dict[Hashable, Resident[nn.Module]] = {}
        self._clock = itertools.count(1)
        self.loading_seconds = 0.0
        """Spent on reading networks and carrying them about, since this residency began."""
        self._loading = 0

    @contextmanager
    def loading(self) -> Generator[None]:
        """What is done inside counts as loading, once where such blocks lie within each other."""
        if torch.cuda.is_initialized() and not self._loading:
            torch.cuda.synchronize(self.device)  # what is still being computed is no loading
        self._loading += 1
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._loading -= 1
            if not self._loading:
                self.loading_seconds += time.perf_counter() - begun

    def get(self, key: Hashable, load: Callable[[], N]) -> Resident[N]:
        """The network of this key, loaded into main memory by `load` where it is nowhere yet."""
        resident = self._residents.get(key)
        if resident is None:
            with self.loading():
                network = load()
            resident = self._residents[key] = Resident(key, cast(nn.Module, network), num_bytes(network))
        resident.used = next(self._clock)
        self._drop_until_ram_holds(keep=resident)
        return cast("Resident[N]", resident)

    @contextmanager
    def on_device(self, resident: Resident[N], working_bytes: int = 0, *, alone: bool = False) -> Generator[N]:
        """The network on the device, held until the block ends.

        Args:
            resident: what `get` gave.
            working_bytes: about what the computation needs beside the weights. Other networks make way for it too; an
                estimate is no reason to refuse, so where it is still too much, torch finds out.
            alone: everything that nobody holds makes way first, and this network too when the block ends.

        Raises:
            NetworkTooLarge: the weights do not fit even when everything that nobody holds is out of the way.
        """
        with self._held(resident, alone):
            if self.device.type != "cpu":
                self._admit(cast("Resident[nn.Module]", resident), working_bytes)
            yield resident.network

    @contextmanager
    def in_pieces(self, resident: Resident[N]) -> Generator[N]:
        """The network in main memory, each layer's weights on the device only while it computes: slow, and small.

        Everything that nobody holds makes way first, and this network too when the block ends. On a CPU there is only
        main memory, so there it is whole.
        """
        with self._held(resident, alone=True):
            if self.device.type == "cpu":
                yield resident.network
                return
            self._readopt(cast("Resident[nn.Module]", resident))
            if resident.on_device:
                self._send_to_ram(cast("Resident[nn.Module]", resident))
            with piecewise(resident.network, lambda weights: weights.to(self.device)):
                yield resident.network

    @contextmanager
    def _held(self, resident: Resident[N], alone: bool) -> Generator[None]:
        resident.holds += 1
        resident.used = next(self._clock)
        try:
            if alone:
                self.make_way()
            yield
        finally:
            resident.holds -= 1
            resident.used = next(self._clock)
            if alone and not resident.holds:
                self.make_way()

    def make_way(self) -> None:
        """Take everything that nobody holds off the device. On a CPU, whose memory is the main one, forget it."""
        for resident in self._idle(on_device=None):
            if resident.on_device:
                self._send_to_ram(resident)
            elif self.device.type == "cpu":
                self._residents.pop(resident.key, None)
        self._return_memory()

    def clear(self) -> None:
        """Forget every network that nobody holds."""
        for resident in self._idle(on_device=None):
            del self._residents[resident.key]
        self._return_memory()

    @property
    def keys(self) -> frozenset[Hashable]:
        """Which networks need not be read again."""
        return frozenset(self._residents)

    @property
    def residents(self) -> tuple[Resident[nn.Module], ...]:
        """All that is kept, least recently used first."""
        return tuple(sorted(self._residents.values(), key=lambda resident: resident.used))

    @property
    def used_vram_bytes(self) -> int:
        """Weights on the device."""
        return sum(resident.num_bytes for resident in self._residents.values() if resident.on_device)

    @property
    def used_ram_bytes(self) -> int:
        """Weights in main memory."""
        return sum(resident.num_bytes for resident in self._residents.values() if not resident.on_device)

    def move(self, network: nn.Module, device: torch.device) -> None:
        """Carry weights over. The one place where anything moves, so that a test can watch it."""
        network.to(device)

    def _admit(self, resident: Resident[nn.Module], working_bytes: int) -> None:
        self._readopt(resident)
        arriving = 0 if resident.on_device else resident.num_bytes
        for idle in self._idle(on_device=True):
            if self.used_vram_bytes + arriving + working_bytes <= self.vram_bytes:
                break
            self._send_to_ram(idle)
        if arriving and self.used_vram_bytes + arriving > self.vram_bytes:
            raise NetworkTooLarge(
                needed_gb=round((self.used_vram_bytes + arriving) / GIGABYTE, 1),
                budget_gb=round(self.vram_bytes / GIGABYTE, 1),
            )
        if not resident.on_device:
            with self.loading():
                self.move(resident.network, self.device)
            resident.on_device = True

    def _readopt(self, resident: Resident[nn.Module]) -> None:
        """A network that was dropped between `get` and its use counts again: its user kept it alive all the while."""
        self._residents.setdefault(resident.key, resident)

    def _send_to_ram(self, resident: Resident[nn.Module]) -> None:
        with self.loading():
            self.move(resident.network, torch.device("cpu"))
        resident.on_device = False
        self._drop_until_ram_holds(keep=None)
        self._return_memory()

    def _drop_until_ram_holds(self, keep: Resident[nn.Module] | None) -> None:
        for idle in self._idle(on_device=False):
            if self.used_ram_bytes <= self.ram_bytes:
                return
            if idle is not keep:
                del self._residents[idle.key]

    def _idle(self, on_device: bool | None) -> list[Resident[nn.Module]]:
        """Those that nobody holds, least recently used first."""
        return [
            resident
            for resident in self.residents
            if not resident.holds and (on_device is None or resident.on_device == on_device)
        ]

    def _return_memory(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(0, free - RESERVE_BYTES)
    return device_bytes(device)
