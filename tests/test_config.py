"""`config.toml` documents every setting with its default; what does not fit stops the start in one sentence."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bot.settings import DiscordSettings
from console.settings import Settings
from inference.settings import ModelSettings, SystemSettings
from jobs.settings import BadSettings, LimitSettings, RedisSettings
from tests.declared import DECLARED as ALL_DECLARED

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "config.toml").read_text("utf-8")
SECRET = ("provenance", "key_pem")
"""Read from the environment alone, so that it stands in no file."""
DECLARED = {path: default for path, default in ALL_DECLARED.items() if path != SECRET}
KEY_LINE = re.compile(r"^(?:# )?([a-z_]+) = .+$")


def lines_by_setting() -> dict[tuple[str, ...], int]:
    """Where each setting stands, commented out or not: its path and its line."""
    found: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    for number, line in enumerate(TEXT.splitlines()):
        if line.startswith("["):
            header = tuple(line.strip("[]").split("."))
        elif header and (match := KEY_LINE.match(line)):
            found[(*header, match[1])] = number
    return found


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory and no variable of ours, whoever runs the tests; the settings file to write."""
    import os

    for variable in [name for name in os.environ if name.startswith("ZOETROPE_") or name == "DISCORD_TOKEN"]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config.toml"


def test_the_file_holds_every_setting_and_no_other() -> None:
    assert set(lines_by_setting()) == set(DECLARED)


@pytest.mark.parametrize("path", DECLARED, ids=".".join)
def test_a_setting_stands_there_with_its_default(path: tuple[str, ...]) -> None:
    line = TEXT.splitlines()[lines_by_setting()[path]]
    if DECLARED[path] in (None, "", [], {}):
        assert line.startswith("# "), "empty by default, so the line is an example"
        return
    value: Any = tomllib.loads(TEXT)
    for part in path:
        value = value[part]
    assert value == DECLARED[path]


@pytest.mark.parametrize("path", DECLARED, ids=".".join)
def test_a_setting_is_explained_in_the_line_above(path: tuple[str, ...]) -> None:
    above = TEXT.splitlines()[lines_by_setting()[path] - 1]

    assert above.startswith("# ")
    assert not KEY_LINE.match(above)


def test_the_file_as_it_stands_gives_the_defaults(no_settings_from_outside: Path) -> None:
    defaults = Settings.read()
    no_settings_from_outside.write_text(TEXT, "utf-8")

    assert Settings.read() == defaults


def test_every_example_in_the_file_is_accepted(no_settings_from_outside: Path) -> None:
    lines = TEXT.splitlines()
    for number in lines_by_setting().values():
        lines[number] = lines[number].removeprefix("# ")
    no_settings_from_outside.write_text("\n".join(lines), "utf-8")

    settings = Settings.read()

    assert settings.models.vram == 12.0
    assert settings.discord.token.get_secret_value() == "your-token"


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("[models]\nvrma = 8", "`models.vrma`"),
        ("[modles]\nvram = 8", "[modles]"),
        ("[models]\nvram = -1", "`models.vram`"),
        ("[models]\ndevice = 'gpu'", "`models.device`"),
        ("[systems.svd]\nfaithfull = true", "`systems.svd.faithfull`"),
        ("[systems.svd]\ncheckpoints = ['svd-xl']", "`systems.svd.checkpoints`"),
        ("[systems.sdv]\nenabled = true", "`systems.sdv`"),
        ("[discord]\nguilds = ['here']", "`discord.guilds`"),
        ("models = 3", "[models]"),
        ("[models\n", "config.toml"),
    ],
)
def test_what_does_not_fit_in_the_file_is_named(no_settings_from_outside: Path, file: str, named: str) -> None:
    no_settings_from_outside.write_text(file, "utf-8")

    with pytest.raises(BadSettings) as stopped:
        Settings.read()

    sentence = str(stopped.value)
    assert named in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ZOETROPE_MODELS__VRMA", "8", "ZOETROPE_MODELS__VRMA"),
        ("ZOETROPE_MODLES__VRAM", "8", "no table [modles]"),
        ("ZOETROPE_MODELS__VRAM", "much", "ZOETROPE_MODELS__VRAM in the environment"),
        ("ZOETROPE_SYSTEMS__SVD__FAITHFULL", "true", "ZOETROPE_SYSTEMS__SVD__FAITHFULL"),
        ("ZOETROPE_SYSTEMS__SVD__FAITHFUL", "perhaps", "ZOETROPE_SYSTEMS__SVD__FAITHFUL"),
        ("ZOETROPE_DISCORD__GUILDS", "here,there", "ZOETROPE_DISCORD__GUILDS"),
        ("ZOETROPE_DISCORD__GUILDS", "[1,", "ZOETROPE_DISCORD__GUILDS"),
        ("ZOETROPE_DISCORD_TOKEN", "x", "did you mean ZOETROPE_DISCORD__TOKEN?"),
    ],
)
def test_what_does_not_fit_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadSettings) as stopped:
        Settings.read()

    assert says in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("table", "key", "text", "value"),
    [
        (LimitSettings, "attempts", "3", 3),
        (LimitSettings, "download_seconds", "7.5", 7.5),
        (DiscordSettings, "api", "http://localhost:1/api", "http://localhost:1/api"),
        (DiscordSettings, "guilds", "1", (1,)),
        (DiscordSettings, "guilds", "1, 2", (1, 2)),
        (DiscordSettings, "guilds", "[1, 2]", (1, 2)),
        (DiscordSettings, "cdn", "http://a,http://b", ("http://a", "http://b")),
        (DiscordSettings, "message_content", "off", "off"),
        (ModelSettings, "dir", "/models", Path("/models")),
        (ModelSettings, "vram", "10", 10.0),
        (ModelSettings, "threads", "2", 2),
    ],
)
def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, table: Any, key: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"ZOETROPE_{table.header.upper()}__{key.upper()}", text)

    assert getattr(table.read(tomllib.loads(TEXT)), key) == value


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose hands on `${NAME:-}` as an empty string."""
    monkeypatch.setenv("ZOETROPE_MODELS__VRAM", "")

    assert ModelSettings.read({"models": {"vram": 8}}).vram == 8


def test_a_nested_override_leaves_the_rest_of_the_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOETROPE_SYSTEMS__SVD__FAITHFUL", "false")
    file = {"systems": {"svd": {"checkpoints": ["svd"]}, "parallax": {"enabled": False}}}

    systems = SystemSettings.read(file)

    assert not systems.svd.faithful
    assert systems.svd.checkpoints == ("svd",)
    assert not systems.parallax.enabled


def test_a_nested_list_may_be_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOETROPE_SYSTEMS__SVD__CHECKPOINTS", "svd,svd-xt")

    assert SystemSettings.read({}).svd.checkpoints == ("svd", "svd-xt")


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOETROPE_CONFIG", str(tmp_path / "mine.toml"))

    with pytest.raises(BadSettings, match=r"mine\.toml"):
        Settings.read()


def test_the_token_comes_by_its_usual_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "by-its-usual-name")

    assert Settings.read().discord.token.get_secret_value() == "by-its-usual-name"


def test_the_tables_own_variable_is_nearer_than_the_usual_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "usual")
    monkeypatch.setenv("ZOETROPE_DISCORD__TOKEN", "own")

    assert Settings.read().discord.token.get_secret_value() == "own"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "hush-token")
    monkeypatch.setenv("ZOETROPE_REDIS__URL", "redis://:hush-password@localhost/0")

    shown = repr(Settings.read()) + str(RedisSettings.read()) + str(DiscordSettings.read())

    assert "hush" not in shown


def test_a_secret_of_the_wrong_type_is_not_shown_either(no_settings_from_outside: Path) -> None:
    """A traceback of the validation error would be the way out."""
    no_settings_from_outside.write_text("[discord]\ntoken = 123454321", "utf-8")

    with pytest.raises(BadSettings) as stopped:
        Settings.read()

    assert "123454321" not in str(stopped.value) + str(stopped.value.__cause__)
