"""Which networks stay in GPU memory, which wait in main memory, and which are dropped."""

import pytest
import torch
from torch import nn

from inference.residency import NetworkTooLarge, Residency, Resident, device_bytes, num_bytes
from jobs.texts import word

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Watched(Residency):
    """Notes where networks would go: the moves are real decisions, only the card is not there."""

    def __init__(self, vram: int = 100, ram: int = 1000) -> None:
        super().__init__(GPU, vram_bytes=vram, ram_bytes=ram)
        self.moves: list[tuple[int, str]] = []

    def move(self, network: nn.Module, device: torch.device) -> None:
        """Only written down."""
        self.moves.append((num_bytes(network), device.type))


def network(size: int) -> nn.Module:
    """A module of exactly so many bytes."""
    module = nn.Module()
    module.register_buffer("weight", torch.zeros(size, dtype=torch.uint8))
    return module


def get(residency: Residency, size: int) -> Resident[nn.Module]:
    """The network whose key is its size."""
    return residency.get(size, lambda: network(size))


def use(residency: Residency, size: int, working_bytes: int = 0) -> None:
    with residency.on_device(get(residency, size), working_bytes):
        pass


def on_device(residency: Residency) -> set[object]:
    return {resident.key for resident in residency.residents if resident.on_device}


def kept(residency: Residency) -> set[object]:
    return {resident.key for resident in residency.residents}


def test_a_network_is_loaded_once_and_moved_once() -> None:
    residency, loads = Watched(), []
    for _ in range(3):
        resident = residency.get("unet", lambda: loads.append(1) or network(60))
        with residency.on_device(resident) as held:
            assert held is resident.network

    assert len(loads) == 1
    assert residency.moves == [(60, "cuda")]


def test_the_least_recently_used_makes_way_first() -> None:
    residency = Watched(vram=100)
    for size in (30, 40, 20, 30):  # 30 is used again, so 40 is the oldest
        use(residency, size)

    use(residency, 25)
    assert on_device(residency) == {20, 25, 30}
    assert residency.moves[-2:] == [(40, "cpu"), (25, "cuda")]
    assert kept(residency) == {20, 25, 30, 40}, "what made way waits in main memory"


def test_what_is_held_does_not_make_way() -> None:
    residency = Watched(vram=100)
    use(residency, 40)
    with residency.on_device(get(residency, 30)):
        use(residency, 60)
        assert on_device(residency) == {30, 60}

    use(residency, 50)
    assert on_device(residency) == {30, 50}, "60 was used before 30 was let go"


def test_held_twice_is_let_go_twice() -> None:
    residency = Watched(vram=100)
    resident = get(residency, 60)
    with residency.on_device(resident):
        with residency.on_device(resident):
            pass
        with pytest.raises(NetworkTooLarge), residency.on_device(get(residency, 50)):
            pass
    use(residency, 50)
    assert on_device(residency) == {50}


def test_working_memory_makes_others_go_but_not_the_one_that_works() -> None:
    residency = Watched(vram=100)
    use(residency, 50)
    use(residency, 10)

    use(residency, 10, working_bytes=60)
    assert on_device(residency) == {10}


def test_what_cannot_fit_is_refused_in_words_and_stays_in_main_memory() -> None:
    residency = Watched(vram=100)
    resident = get(residency, 101)
    with pytest.raises(NetworkTooLarge) as refused, residency.on_device(resident):
        pass

    assert "GB of GPU memory" in word(refused.value)
    assert (resident.holds, resident.on_device, residency.moves) == (0, False, [])


def test_an_estimate_of_working_memory_is_no_reason_to_refuse() -> None:
    residency = Watched(vram=100)
    use(residency, 30)

    use(residency, 20, working_bytes=10**12)
    assert on_device(residency) == {20}


def test_a_failure_inside_lets_go() -> None:
    residency = Watched()
    resident = get(residency, 10)
    with pytest.raises(ZeroDivisionError), residency.on_device(resident):
        raise ZeroDivisionError

    assert resident.holds == 0


def test_main_memory_has_its_budget_too() -> None:
    residency = Watched(vram=100, ram=100)
    for size in (60, 30, 20):
        get(residency, size)

    assert kept(residency) == {30, 20}, "60 was the least recently used"
    assert residency.used_ram_bytes == 50


def test_from_the_device_through_main_memory_to_nothing() -> None:
    residency = Watched(vram=100, ram=200)
    for size in (70, 80, 90):
        use(residency, size)

    assert on_device(residency) == {90}
    assert kept(residency) == {80, 90}, "70 went to main memory, and from there made way for 80 and 90"


def test_a_network_dropped_before_its_use_counts_again() -> None:
    residency = Watched(vram=200, ram=100)
    first = get(residency, 60)
    get(residency, 70)
    assert kept(residency) == {70}

    with residency.on_device(first):
        assert on_device(residency) == {60}


def test_on_a_cpu_nothing_moves_and_only_main_memory_counts() -> None:
    residency = Residency(CPU, vram_bytes=1, ram_bytes=100)
    for size in (60, 30):
        with residency.on_device(get(residency, size), working_bytes=10**15) as held:
            assert num_bytes(held) == size

    assert kept(residency) == {60, 30}
    get(residency, 20)
    assert kept(residency) == {30, 20}


def test_clear_forgets_what_nobody_holds() -> None:
    residency = Watched()
    use(residency, 20)
    with residency.on_device(get(residency, 10)):
        residency.clear()
        assert kept(residency) == {10}


def test_budgets_left_open_are_measured() -> None:
    residency = Residency(CPU)

    assert 0 < residency.ram_bytes < residency.vram_bytes == device_bytes(CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_card_networks_really_move() -> None:
    residency = Residency(GPU, vram_bytes=3 * 10**6)
    first, second = (residency.get(name, lambda: nn.Linear(700, 700)) for name in ("first", "second"))
    for resident, other in ((first, second), (second, first)):
        with residency.on_device(resident) as linear:
            assert linear(torch.ones(1, 700, device=GPU)).device == GPU
        assert next(other.network.parameters()).device == CPU
