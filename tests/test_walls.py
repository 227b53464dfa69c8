"""What a process has imported once it is up. import-linter reads imports; this looks at what was really loaded."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "diffusers", "transformers", "accelerate"}


def loaded_by(modules: str) -> set[str]:
    """Top-level packages in a fresh interpreter that imported these modules."""
    program = f"import json, sys, {modules}\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("modules", "needed", "forbidden"),
    [
        ("bot, commands, jobs, media, bot.client, commands.make", {"discord"}, HEAVY | {"inference"}),
        ("inference.worker", {"arq", "media"}, HEAVY | {"discord", "bot", "commands"}),
        ("inference.rendering", {"torch"}, {"discord", "bot", "commands", "arq", "redis"}),
        ("inference.systems, inference.weights, inference.settings", {"jobs"}, HEAVY | {"discord", "bot"}),
        ("console.__main__", {"typer"}, HEAVY),
        ("jobs.queue, jobs.workers, jobs.texts", {"arq"}, HEAVY | {"discord", "bot", "commands", "inference", "media"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_process_loads_what_it_needs_and_nothing_from_behind_its_wall(
    modules: str, needed: set[str], forbidden: set[str]
) -> None:
    loaded = loaded_by(modules)

    assert needed <= loaded
    assert not forbidden & loaded


INERT = {"inference/systems/rife/loader.py"}
"""FILM is published as a program alone. Its reader knows ten names, all of them inert, and never runs what it finds:
tests/test_smooth_networks.py feeds it what would."""


@pytest.mark.parametrize("room", ["jobs", "bot", "commands", "media", "console", "inference"])
def test_no_file_of_ours_unpickles(room: str) -> None:
    """What came from outside is JSON, safetensors or a picture."""
    wary = re.compile(
        r"^\s*(?:import|from)\s+(?:pickle|marshal|shelve|dill|cloudpickle|joblib)\b|weights_only=False|(?<![.\w])eval\(",
        re.MULTILINE,
    )
    files = [path for path in (ROOT / room).rglob("*.py") if str(path.relative_to(ROOT)) not in INERT]
    found = [str(path) for path in files if wary.search(path.read_text("utf-8"))]

    assert found == []
