"""Settings: one class for each table of `config.toml`, declared in the room that reads it.

The environment wins over the file, the file over the default. `ZOETROPE_<SECTION>__<KEY>` overrides any value. A key
that nobody declared, in the file or in the environment, stops the start and is named.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "ZOETROPE_"
CONFIG_VARIABLE = "ZOETROPE_CONFIG"
"""Names another file than `./config.toml`; it is no setting itself."""


class BadSettings(Exception):
    """One sentence for the owner: which key is wrong, and why."""


def config_path() -> Path:
    """Where the settings file lies: `$ZOETROPE_CONFIG`, else `config.toml` in the working directory."""
    return Path(os.environ.get(CONFIG_VARIABLE, "config.toml"))


def read_config(path: Path | None = None) -> dict[str, Any]:
    """The file's tables; empty where there is no file.

    Raises:
        BadSettings: the file is not TOML, cannot be read, or was named and is not there.
    """
    path = path or config_path()
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise BadSettings(f"{CONFIG_VARIABLE} names {path}, and there is no such file.") from None
        return {}
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path} is not valid TOML: {error}.") from error


class _Environment(EnvSettingsSource):
    """The environment, where a list may also be written as people write lists: `a, b`."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON where it looks like JSON, else the parts between commas."""
        text = str(value).strip()
        if not text.startswith(("[", "{")):
            return [part.strip() for part in text.split(",")]
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text  # validation says which key it does not fit


class Table(BaseSettings):
    """One table of the settings file. Subclasses say which with `class X(Table, header="redis")`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
        hide_input_in_errors=True,  # a traceback must not show a token
    )

    header: ClassVar[str] = ""

    def __init_subclass__(cls, header: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if header:
            cls.header = header

    @classmethod
    def __pydantic_init_subclass__(cls, header: str = "", **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        if header:
            cls.model_config["env_prefix"] = f"{PREFIX}{header.upper()}__"
            cls.model_config["env_nested_delimiter"] = "__"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment, then what was read from the file (given to `__init__` by `read`)."""
        return _Environment(settings_cls), init_settings

    @classmethod
    def read(cls, config: Mapping[str, Any] | None = None) -> Self:
        """This table from the environment, the file and the defaults.

        Raises:
            BadSettings: a key is unknown or a value does not fit.
        """
        config = read_config() if config is None else config
        table = config.get(cls.header, {})
        if not isinstance(table, dict):
            raise BadSettings(f"[{cls.header}] in config.toml must be a table.")
        _forbid_unknown_variables(cls)
        try:
            return cls(**table)
        except ValidationError as error:
            raise BadSettings(_first_sentence(cls.header, error)) from error


def _forbid_unknown_variables(table: type[Table]) -> None:
    prefix = f"{PREFIX}{table.header.upper()}__"
    known = {name.upper() for name in table.model_fields}
    for variable in os.environ:
        if variable.upper().startswith(prefix) and variable.upper()[len(prefix) :].split("__")[0] not in known:
            raise BadSettings(f"{variable} is set in the environment, but [{table.header}] has no such key.")


def _first_sentence(header: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    path = [header, *(part for part in first["loc"] if isinstance(part, str))]  # without places in a list
    key, variable = ".".join(path), PREFIX + "__".join(path).upper()
    named = f"`{key}` ({variable} in the environment)" if variable in os.environ else f"`{key}` in config.toml"
    if first["type"] == "extra_forbidden":
        return f"{named} is no setting of Zoetrope; see config.toml in the repository for those that are."
    return f"{named} does not fit: {first['msg'].removeprefix('Value error, ')}."


def forbid_unknown_tables(config: Mapping[str, Any], known: Iterable[type[Table]]) -> None:
    """Stop at a table, or an environment variable of a table, that nobody declares.

    Raises:
        BadSettings: naming it.
    """
    headers = {table.header for table in known}
    for name in config:
        if name not in headers:
            raise BadSettings(
                f"[{name}] in config.toml is no table of Zoetrope; there are: {', '.join(sorted(headers))}."
            )
    for variable in os.environ:
        if variable.upper().startswith(PREFIX):
            _forbid_unknown_table_of(variable, headers)


def _forbid_unknown_table_of(variable: str, headers: Iterable[str]) -> None:
    table, underscores, _ = variable.upper().removeprefix(PREFIX).partition("__")
    if underscores and table.lower() not in headers:
        raise BadSettings(f"{variable} is set in the environment, but there is no table [{table.lower()}].")
    header, _, key = table.partition("_")
    if not underscores and key and header.lower() in headers:
        raise BadSettings(f"{variable} is set in the environment; did you mean {PREFIX}{header}__{key}?")


REDIS_OPTIONS = {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
"""What a Redis address may carry after its `?`: redis-py knows more, none of it the owner's business."""


class RedisSettings(Table, header="redis"):
    """Where the queue and the job records live."""

    url: SecretStr = Field(
        default=SecretStr(""), description="redis://, rediss:// or unix:// URL; empty: `make run` starts its own server"
    )
    ca: Path | None = Field(
        default=None, description="certificate of the authority that signed the rediss:// server's own, as a PEM file"
    )
    data: Path = Field(default=Path("data/redis"), description="folder of the server that Zoetrope starts by itself")
    lease_seconds: int = Field(default=20, ge=2, le=20, description="a dead worker's job is free again after this long")

    @field_validator("url")
    @classmethod
    def _address(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if url.get_secret_value() and parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis address begins with redis://, rediss:// or unix://")
        if parts.scheme != "unix" and not re.fullmatch(r"(/\d*)?", parts.path):
            raise ValueError("after a Redis address's port stands / and the number of the database")
        _ = parts.port  # a ValueError where it is no number
        if unknown := parse_qs(parts.query, keep_blank_values=True).keys() - REDIS_OPTIONS:
            raise ValueError(
                f"after a Redis address's ? may stand {', '.join(sorted(REDIS_OPTIONS))}, not {min(unknown)}"
            )
        return url

    @property
    def address(self) -> str:
        """The URL with the authority's certificate in it; empty where no server is configured."""
        url = self.url.get_secret_value()
        if self.ca is None or not url.startswith("rediss:"):
            return url
        return f"{url}{'&' if '?' in url else '?'}ssl_ca_certs={quote(str(self.ca.absolute()))}"

    keep_days: float = Field(default=7.0, gt=0, le=365, description="how long the record of a finished job is kept")


class StoreSettings(Table, header="store"):
    """Where pictures and clips lie between the processes."""

    url: str = Field(default="data/store", description="a folder, or an fsspec URL such as s3://bucket/zoetrope")
    keep_days: float = Field(
        default=7.0, gt=0, le=365, description="how long after its last use a picture or clip is kept"
    )


class LimitSettings(Table, header="limits"):
    """What one person may ask for, and what a picture, a clip or a sound may be."""

    picture_bytes: int = Field(default=25 * 2**20, ge=1024, description="largest picture file, in bytes")
    picture_pixels: int = Field(
        default=60_000_000, ge=4096, description="most pixels a picture may have before decoding"
    )
    picture_side: int = Field(default=16_384, ge=64, description="longest side of a picture, in pixels")
    working_side: int = Field(default=2048, ge=256, le=8192, description="larger pictures are scaled down to this side")
    clip_bytes: int = Field(default=100 * 2**20, ge=1024, description="largest video, GIF or sound file, in bytes")
    clip_seconds: float = Field(
        default=60.0, gt=0, le=600, description="longest video that is read; a sound may always last ten minutes"
    )
    clip_frames: int = Field(default=1800, ge=2, le=20_000, description="most frames of a video that is read")
    clip_side: int = Field(default=1280, ge=128, le=4096, description="larger videos are scaled down to this side")
    raw_gigabytes: float = Field(
        default=24.0, gt=0, description="disk that a clip may take as raw frames after any step of a job, in GB"
    )
    download_seconds: float = Field(default=20.0, gt=0, description="a download that takes longer is given up")
    pictures_per_message: int = Field(default=4, ge=1, le=10, description="jobs that one mention may start")
    wait_for_worker_minutes: float = Field(
        default=30, ge=0, le=10_080, description="a job that no machine online can run waits so long; 0: it is refused"
    )
    attempts: int = Field(default=3, ge=1, le=5, description="tries before a job whose renderer died is set aside")
    confirm_gpu_seconds: float = Field(
        default=180, ge=0, description="a job of so many GPU seconds is queued after a question; 0: never asked"
    )
    render_seconds: int = Field(
        default=3600, ge=10, description="a render that takes longer is stopped and told as failed"
    )
