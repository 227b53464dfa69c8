"""The compose files for more than one machine, held against the specification, the first file and the code."""

import re
from typing import Any

import pytest
import yaml

from tests.declared import VARIABLES
from tests.stack import ROOT
from tests.test_compose import COMPOSE, NO_SETTINGS, complaints

FILES = {name: (ROOT / f"docker-compose.{name}.yml").read_text("utf-8") for name in ("worker", "several")}
READ: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in FILES.items()}
OF_ONE_MACHINE = {"environment", "networks", "depends_on", "volumes", "build", "expose"}
"""Where a worker on a machine of its own is another than beside the bot."""


@pytest.mark.parametrize("name", FILES)
def test_a_file_fits_the_compose_specification(name: str) -> None:
    assert complaints(READ[name]) == []


def test_a_further_machine_runs_a_worker_alone_and_knows_no_token() -> None:
    assert list(READ["worker"]["services"]) == ["worker"]
    assert "DISCORD" not in FILES["worker"].upper()
    assert "ports" not in READ["worker"]["services"]["worker"]


def test_its_worker_is_the_one_of_the_first_machine() -> None:
    worker, first = READ["worker"]["services"]["worker"], COMPOSE["services"]["worker"]

    assert {key: worker.get(key) for key in first if key not in OF_ONE_MACHINE} == {
        key: value for key, value in first.items() if key not in OF_ONE_MACHINE
    }
    assert worker["build"]["dockerfile"] == first["build"]["dockerfile"]


def test_redis_is_reached_from_outside_over_tls_alone() -> None:
    redis = READ["several"]["services"]["redis"]
    tls = (ROOT / "docker" / "redis" / "tls.conf").read_text("utf-8")

    [port] = redis["ports"]
    assert re.fullmatch(r"\$\{REDIS_ADDRESS:\?[^}]+\}:6380:6380", port)
    assert "tls-port 6380" in tls.splitlines()
    assert ":6380/0" in READ["worker"]["services"]["worker"]["environment"]["ZOETROPE_REDIS__URL"]


@pytest.mark.parametrize("name", FILES)
def test_every_setting_and_every_place_is_there(name: str) -> None:
    services = {**COMPOSE["services"], **READ[name]["services"]} if name == "worker" else COMPOSE["services"]
    for each, service in READ[name]["services"].items():
        assert each in services
        ours = {key for key in service.get("environment", {}) if key.startswith("ZOETROPE_")}
        assert ours - NO_SETTINGS <= VARIABLES
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() or source == "./ca.crt" or source in READ[name]["volumes"]


@pytest.mark.parametrize("name", FILES)
def test_what_must_stand_in_the_environment_is_said_at_the_top(name: str) -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", FILES[name]))
    head = FILES[name].partition("\n\n")[0] + FILES[name].split("\n\n")[0]

    assert wanted
    assert {variable for variable in wanted if variable not in head} == set()


@pytest.mark.parametrize("name", ["bot", "worker"])
def test_an_image_takes_s3fs_where_it_is_asked_to(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text("utf-8")
    [line] = [line for line in text.splitlines() if "pip install" in line]

    assert line.endswith(" ${EXTRA_PACKAGES}")
    assert "--constraint constraints.txt" in line
    assert text.index("ARG EXTRA_PACKAGES=") < text.index(line)
    assert re.search(r"^s3fs==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
