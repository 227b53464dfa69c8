"""The bot's table of `config.toml`."""

import os
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator

from jobs.settings import Table


class DiscordSettings(Table, header="discord"):
    """How the bot reaches Discord."""

    token: SecretStr = Field(
        default=SecretStr(""),
        description="the bot's token; better in the environment as DISCORD_TOKEN than in a file",
    )
    api: str = Field(default="https://discord.com/api/v10", description="base URL of Discord's REST API")
    cdn: tuple[str, ...] = Field(
        default=("https://cdn.discordapp.com", "https://media.discordapp.net"),
        description="origins from which pictures may be downloaded",
    )
    guilds: tuple[int, ...] = Field(
        default=(), description="register commands in these servers alone; empty: everywhere"
    )
    message_content: Literal["auto", "on", "off"] = Field(
        default="auto", description="the message-content intent; auto: used where the developer portal allows it"
    )
    upload_mib: float = Field(
        default=20.0, gt=0, le=500, description="largest file in a server without boosts, in MiB (Discord's default)"
    )

    @field_validator("api", "cdn")
    @classmethod
    def _addresses(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (value,) if isinstance(value, str) else value:
            if not re.match(r"https?://[^/\s]+", address):
                raise ValueError(f"{address!r} is no http:// or https:// address")
        return value

    @classmethod
    def read(cls, config: Mapping[str, Any] | None = None) -> Self:
        """As every table; `DISCORD_TOKEN`, the name that hosts and guides use, counts as the token too."""
        settings = super().read(config)
        token = os.environ.get("DISCORD_TOKEN")
        if not token or os.environ.get("ZOETROPE_DISCORD__TOKEN"):
            return settings
        return settings.model_copy(update={"token": SecretStr(token)})
