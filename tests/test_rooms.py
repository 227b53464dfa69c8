"""Every request has its room, and every room everything that docs/add-a-system.md asks for."""

import ast
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from inference.checksums import place_of
from inference.settings import SystemSettings
from inference.systems import ROOMS
from inference.systems.animatediff.weights import BY_NAME as ANIMATEDIFF
from inference.weights import Weights
from jobs.requests import BY_SYSTEM, GENERATIONS, REQUESTS, AnyRequest, Request

ROOT = Path(__file__).resolve().parents[1]
NAMES = list(ROOMS)
PICKLED = {
    **dict.fromkeys(("rife-4.26", "rife-4.9", "rife-4.7", "film"), (".zip", ".pkl", ".pth", ".pt")),
    **{
        name: (".ckpt", ".pth")
        for name in ANIMATEDIFF
        if name.startswith(("animatediff-", "motion-lora-", "sparsectrl-", "controlnet-", "animatelcm", "pia"))
        or name in ("hed", "lineart")
    },
}
"""Published as pickles; test_smooth_networks.py and animatediff/test_loading.py show that only tensors are ever taken
out of them."""
WEIGHTS = [weights for room in ROOMS.values() for weights in room.weights]


def test_requests_rooms_and_settings_name_the_same_systems() -> None:
    assert set(BY_SYSTEM) == set(ROOMS) == set(SystemSettings.model_fields)
    assert len(BY_SYSTEM) == len(REQUESTS)


def test_a_stored_recipe_can_hold_every_request() -> None:
    assert set(get_args(AnyRequest)) == set(REQUESTS)


def test_no_two_requests_are_equally_preferred() -> None:
    ranks = [request.front_door_rank for request in GENERATIONS.values()]

    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize("request_class", REQUESTS, ids=lambda request: request.name())
def test_a_request_says_what_it_is(request_class: type[Request]) -> None:
    assert request_class.__doc__
    assert len(request_class.__doc__.splitlines()[0]) <= 100, "Discord's limit for a description"
    for name, field in request_class.model_fields.items():
        assert name == "system" or field.description


@pytest.mark.parametrize("name", NAMES)
def test_a_room_has_its_files(name: str) -> None:
    folder = ROOT / "inference" / "systems" / ROOMS[name].folder

    assert len((folder / "README.md").read_text("utf-8").splitlines()) > 5
    assert (folder / "weights.py").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_room_opens_with_a_class_that_is_there(name: str) -> None:
    """Read, not imported: the class needs torch."""
    module, class_name = ROOMS[name].factory.split(":")
    tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text("utf-8"))

    assert class_name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize("name", NAMES)
def test_a_room_is_walled_off_from_the_others(name: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [independent] = [contract["modules"] for contract in contracts if contract["type"] == "independence"]

    assert f"inference.systems.{ROOMS[name].folder}" in independent


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: weights.name)
def test_published_weights_are_pinned_and_licensed(weights: Weights, tmp_path: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", weights.revision), "a commit, never a branch"
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", weights.repo)
    assert re.fullmatch(r"[a-z0-9.-]+", weights.name)
    assert weights.licence
    assert weights.licence_url.startswith("https://")
    assert weights.purpose
    assert weights.megabytes > 0
    for layout in weights.layouts:
        for name, digest in layout.files.items():
            suffix = place_of(tmp_path, name).suffix
            assert suffix in (".json", ".safetensors", ".txt", ".model", *PICKLED.get(weights.name, ())), "no pickle"
            assert digest is None or re.fullmatch(r"[0-9a-f]{64}", digest)


def test_no_two_checkpoints_share_a_folder() -> None:
    names = [weights.name for weights in WEIGHTS]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", NAMES)
def test_a_room_that_can_do_without_says_so(name: str, tmp_path: Path) -> None:
    installed = ROOMS[name].installed(tmp_path, {})

    assert installed == (() if ROOMS[name].runs_without else None)
