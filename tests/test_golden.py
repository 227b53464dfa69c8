"""Our systems against numbers recorded from the original implementations.

Cases are looked for below the folder that ZOETROPE_GOLDENS names: every JSON file that names a system and a piece.
"""

import json
from pathlib import Path

import pytest

from tests import references
from tests.golden_adapters import ADAPTERS
from tests.golden_adapters.case import Case

# diffusers 0.42's EulerDiscreteScheduler hands tensors to numpy 2's `array` in a way that numpy means to end.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

ROOT = Path(__file__).resolve().parents[1]
FOLDER = references.FOLDER
ROOMS = ROOT / "inference" / "systems"


def is_case(path: Path) -> bool:
    """Whether this is a recorded case, and no manifest or other record."""
    facts = json.loads(path.read_text("utf-8"))
    return isinstance(facts, dict) and {"system", "piece"} <= facts.keys()


CASES = [path for path in sorted(FOLDER.glob("*/**/*.json")) if is_case(path)]


@pytest.mark.skipif(bool(CASES), reason="there are recorded cases")
def test_recorded_cases_are_at_hand() -> None:
    """Said aloud: without the folder, nothing here is compared with the originals."""
    pytest.skip(f"no recorded cases below {FOLDER}; set ZOETROPE_GOLDENS to the folder that holds them")


@pytest.mark.parametrize("path", CASES, ids=lambda path: str(path.relative_to(FOLDER).with_suffix("")))
def test_reproduces_the_original(path: Path) -> None:
    """Every recorded output, within the case's own tolerance."""
    case = Case.read(path)
    system, piece = case.piece
    if (system, piece) not in ADAPTERS:
        if (ROOMS / system).is_dir():
            pytest.fail(
                f"{system}/{piece}: the room is there, but no adapter in tests/golden_adapters answers this piece"
            )
        pytest.xfail(f"{system}/{piece}: missing, there is no room inference/systems/{system} yet")

    checks = {check.output: check for check in ADAPTERS[system, piece](case)}

    assert checks.keys() == case.outputs.keys(), "every recorded output is answered, and nothing else"
    errors = {name: check.error(case.outputs[name]) for name, check in checks.items()}
    beyond = {name: error for name, error in errors.items() if error > checks[name].tolerance}
    assert not beyond, f"{path.name}: beyond tolerance: {beyond}"
