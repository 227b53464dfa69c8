"""`console models` with the real huggingface_hub, against a hub on this machine."""

import hashlib
import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console.models import app
from inference.checksums import RECORD, Checksums, UnsafeNameError, place_of, states
from inference.systems import ROOMS
from inference.systems.svd.weights import SVD_XT_1_1, UNET
from inference.weights import Layout, Weights
from tests.local_hub import LocalHub

ROOT = Path(__file__).resolve().parents[1]
NAME = SVD_XT_1_1.name
"""Gated, and without pins: the hub's own record is what counts."""
LARGE_BYTES = 24 * 2**20
"""More than two of the pieces that huggingface_hub reads at once."""
COMMAND = (sys.executable, "-m", "console", "models")


def content(name: str, size: int) -> bytes:
    """The same made-up bytes each time."""
    return random.Random(name).randbytes(size)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """The repository of SVD-XT 1.1 with small files; nothing of the machine's own settings or tokens counts."""
    for variable in [name for name in os.environ if name.startswith(("ZOETROPE_", "HF_", "HUGGING"))]:
        monkeypatch.delenv(variable)
    files = {
        name: content(name, 3000 if name.endswith(".safetensors") else 200) for name in SVD_XT_1_1.layouts[0].files
    }
    with LocalHub(SVD_XT_1_1.repo, SVD_XT_1_1.revision, files) as hub:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setenv("ZOETROPE_MODELS__DIR", str(tmp_path / "models"))
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / NAME


def models(*arguments: str) -> Result:
    """Type it; both streams are in `output`."""
    return CliRunner().invoke(app, list(arguments))


def pull() -> Result:
    return models("pull", NAME, "--accept-licence")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def is_whole(folder: Path, hub: LocalHub) -> bool:
    return all((folder / name).read_bytes() == data for name, data in hub.files.items())


def test_a_checkpoint_is_fetched_and_then_installed(hub: LocalHub, folder: Path) -> None:
    done = pull()

    assert done.exit_code == 0, done.output
    assert is_whole(folder, hub)
    assert SVD_XT_1_1.layout_in(folder.parent) is SVD_XT_1_1.layouts[0]
    assert SVD_XT_1_1.licence in done.output
    assert SVD_XT_1_1.licence_url in done.output
    assert "Next: python -m console doctor" in done.output


def test_what_came_is_recorded_with_its_hash(hub: LocalHub, folder: Path) -> None:
    pull()

    record = Checksums.read(folder, SVD_XT_1_1.revision)
    assert record.files == {name: hashlib.sha256(data).hexdigest() for name, data in hub.files.items()}
    assert {state for _, state in states(SVD_XT_1_1, SVD_XT_1_1.layouts[0], folder.parent)} == {"good"}


def test_a_second_pull_fetches_nothing(hub: LocalHub) -> None:
    pull()
    before = len(hub.downloads())

    again = pull()

    assert again.exit_code == 0
    assert "installed and whole" in again.output
    assert len(hub.downloads()) == before == len(hub.files)


def test_a_damaged_file_alone_is_fetched_again(hub: LocalHub, folder: Path) -> None:
    pull()
    (folder / UNET).write_bytes(b"rot")
    hub.asked.clear()

    assert models("verify", NAME).exit_code == 1
    assert pull().exit_code == 0
    assert is_whole(folder, hub)
    assert len(hub.downloads()) == len(hub.downloads(UNET)) == 1


def test_files_that_somebody_put_there_are_compared_and_kept(hub: LocalHub, folder: Path) -> None:
    for name, data in hub.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    assert "nothing says what it should hash to" in models("verify", NAME).output
    assert pull().exit_code == 0
    assert hub.downloads() == []
    assert models("verify", NAME).exit_code == 0


@pytest.mark.slow
def test_a_line_that_breaks_is_taken_up_where_it_broke(hub: LocalHub, folder: Path) -> None:
    hub.files[UNET] = content("large", LARGE_BYTES)
    hub.cut_after[UNET] = [15 * 2**20]

    assert pull().exit_code == 0
    assert is_whole(folder, hub)
    first, second = hub.downloads(UNET)
    assert "range" not in first
    assert int(second["range"].removeprefix("bytes=").removesuffix("-")) >= 10 * 2**20


@pytest.mark.slow
def test_a_killed_pull_goes_on_from_its_last_byte(hub: LocalHub, folder: Path) -> None:
    """huggingface_hub itself would begin the file again."""
    hub.files[UNET] = content("large", LARGE_BYTES)
    hub.stall_after[UNET] = 22 * 2**20
    first = subprocess.Popen([*COMMAND, "pull", NAME, "--accept-licence"], env=environment(), stdout=subprocess.DEVNULL)
    assert hub.stalled.wait(45)
    part = folder.parent / ".parts" / NAME / hashlib.sha256(hub.files[UNET]).hexdigest()
    deadline = time.monotonic() + 10
    while part.stat().st_size < 20 * 2**20 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    there = part.stat().st_size
    hub.released.set()

    assert not (folder / UNET).exists()
    assert SVD_XT_1_1.layout_in(folder.parent) is None
    assert pull().exit_code == 0
    assert is_whole(folder, hub)
    assert hub.downloads(UNET)[-1]["range"] == f"bytes={there}-"


def test_a_file_with_the_wrong_content_is_thrown_away(hub: LocalHub, folder: Path) -> None:
    hub.sent_instead[UNET] = content("somebody else's", len(hub.files[UNET]))

    done = pull()

    assert done.exit_code == 1
    assert f"{UNET} of {NAME} arrived damaged" in done.output
    assert not (folder / UNET).exists()
    assert not any(path.is_file() and path.name != "lock" for path in (folder.parent / ".parts").rglob("*"))
    hub.sent_instead.clear()
    assert pull().exit_code == 0


def test_a_small_file_is_held_against_gits_own_record(hub: LocalHub, folder: Path) -> None:
    """The hub keeps no SHA-256 of what is not in its large-file store."""
    hub.sent_instead["unet/config.json"] = content("somebody else's", len(hub.files["unet/config.json"]))

    assert "unet/config.json of svd-xt-1-1 arrived damaged" in pull().output
    assert not (folder / "unet/config.json").exists()


def test_another_file_than_the_pinned_one_is_not_even_fetched(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict(SVD_XT_1_1.layouts[0].files) | {UNET: "0" * 64}
    pinned = replace(SVD_XT_1_1, layouts=(Layout(files),))
    monkeypatch.setitem(ROOMS, "svd", replace(ROOMS["svd"], weights=(pinned,)))

    done = pull()

    assert done.exit_code == 1
    assert f"another {UNET} than the one pinned here" in done.output
    assert hub.downloads() == []


def test_a_pinned_file_is_checked_where_the_hub_has_no_record(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict(SVD_XT_1_1.layouts[0].files) | {"unet/config.json": "0" * 64}
    pinned = replace(SVD_XT_1_1, layouts=(Layout(files),))
    monkeypatch.setitem(ROOMS, "svd", replace(ROOMS["svd"], weights=(pinned,)))

    assert "unet/config.json of svd-xt-1-1 arrived damaged" in pull().output


def test_a_gated_checkpoint_says_how_to_get_in(hub: LocalHub) -> None:
    hub.gated = True

    done = pull()

    assert done.exit_code == 1
    assert f"accept its licence at https://huggingface.co/{SVD_XT_1_1.repo}" in done.output
    assert "HF_TOKEN" in done.output


def test_a_token_that_has_not_accepted_is_told_so(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")

    done = pull()

    assert "the account of this HF_TOKEN has not accepted its licence" in done.output
    assert "hf_somebody" not in done.output


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated, hub.token = True, "hf_accepted"
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")

    assert pull().exit_code == 0
    assert is_whole(folder, hub)
    assert len(hub.downloads()) == len(hub.files)
    assert all("authorization" not in headers for headers in hub.downloads())


def test_a_licence_out_of_the_ordinary_is_not_accepted_in_silence(hub: LocalHub) -> None:
    done = models("pull", NAME)

    assert done.exit_code == 1
    assert "add --accept-licence" in done.output
    assert hub.asked == []


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_person_is_asked_for_the_licence(hub: LocalHub, folder: Path, answer: str, code: int) -> None:
    terminal, typed = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "pull", NAME], env=environment(), stdin=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.write(terminal, f"{answer}\n".encode())
    output, _ = process.communicate(timeout=45)
    os.close(terminal)
    os.close(typed)

    assert process.returncode == code, output
    assert b"do you accept it?" in output
    assert folder.exists() == (answer == "y")


def test_a_name_that_is_nearly_right_is_guessed(hub: LocalHub) -> None:
    done = models("pull", "svd-xl")

    assert done.exit_code == 1
    assert "Did you mean svd-xt" in done.output


def test_a_name_that_is_far_off_gets_the_list(hub: LocalHub) -> None:
    assert "There are: svd-xt, svd-xt-1-1, svd, stable-diffusion-v1-5, sdxl-base," in models("verify", "qqq").output


def test_a_full_disk_is_noticed_before_anything_comes(hub: LocalHub) -> None:
    hub.claimed_bytes[UNET] = 10**18

    done = pull()

    assert done.exit_code == 1
    assert "GB are needed: make room" in done.output
    assert hub.downloads() == []


@pytest.mark.parametrize(("status", "says"), [(503, "try again in a while"), (403, "check that HF_TOKEN is valid")])
def test_a_hub_in_trouble_is_named(hub: LocalHub, status: int, says: str) -> None:
    hub.status = status

    done = pull()

    assert done.exit_code == 1
    assert says in done.output


def test_a_hub_that_is_away_is_named(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    assert "http://127.0.0.1:9 cannot be reached" in pull().output


def test_a_revision_that_is_gone_is_named(hub: LocalHub) -> None:
    hub.revision = "0" * 40

    done = pull()

    assert done.exit_code == 1
    assert f"does not know {SVD_XT_1_1.repo} at revision" in done.output


def test_two_pulls_at_once_do_not_meet(hub: LocalHub, folder: Path) -> None:
    hub.stall_after[UNET] = 0
    first = subprocess.Popen([*COMMAND, "pull", NAME, "--accept-licence"], env=environment(), stdout=subprocess.DEVNULL)
    assert hub.stalled.wait(45)

    second = pull()
    hub.released.set()

    assert "is being fetched by another process" in second.output
    assert first.wait(30) == 0
    assert is_whole(folder, hub)


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a/../../escape", "a\\..\\escape", ""])
def test_a_file_name_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeNameError):
        place_of(tmp_path / "models", name)


def test_a_link_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "unet").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafeNameError):
        place_of(tmp_path / "models", "unet/config.json")


def test_a_pull_refuses_such_a_name_in_a_sentence(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["../../escape"] = b"out"
    bad = Weights("bad", hub.repo, hub.revision, (Layout({"../../escape": None}),), "MIT", "https://example.org")
    monkeypatch.setitem(ROOMS, "svd", replace(ROOMS["svd"], weights=(bad,)))

    done = models("pull", "bad")

    assert done.exit_code == 1
    assert "would lie outside" in done.output
    assert not (tmp_path / "escape").exists()


def test_verify_names_the_bad_file_and_what_to_do(hub: LocalHub, folder: Path) -> None:
    pull()
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(bytes([data[0] ^ 1]) + data[1:])

    done = models("verify")

    assert done.exit_code == 1
    assert f"{NAME}/{UNET} is damaged; pull it again" in done.output
    assert f"Next: python -m console models pull {NAME}" in done.output


def test_verify_of_nothing_says_so(hub: LocalHub) -> None:
    done = models("verify")

    assert done.exit_code == 0
    assert "Nothing is installed" in done.output


def test_a_record_that_is_damaged_counts_as_none(hub: LocalHub, folder: Path) -> None:
    pull()
    (folder / RECORD).write_text("{", "utf-8")

    assert "nothing says what it should hash to" in models("verify", NAME).output


def test_the_list_shows_each_checkpoint_once_with_its_state(hub: LocalHub) -> None:
    before = models("list")
    pull()

    for room in ROOMS.values():
        for weights in room.weights:
            [line] = [line for line in before.output.splitlines() if line.startswith(f"{weights.name} ")]
            assert weights.licence in line
            assert weights.purpose in line
            assert f"{room.name} " in line
            assert " no " in line
    [line] = [line for line in models("list").output.splitlines() if line.startswith(NAME)]
    assert line.split()[:3] == [NAME, "svd", "yes"]
    assert "Next: python -m console models pull svd-xt" in before.output


def test_a_half_fetched_checkpoint_shows_as_such(hub: LocalHub, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_bytes(hub.files["model_index.json"])

    assert "1 of 9 files" in models("list").output


def test_the_machine_of_the_bot_says_where_to_pull(hub: LocalHub) -> None:
    """There huggingface_hub is not installed."""
    code = "import sys; sys.modules['huggingface_hub'] = None; from console.models import app; app()"
    command = [sys.executable, "-c", code, "pull", "svd"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "docker compose run --rm worker python -m console models pull svd" in " ".join(done.stderr.split())
