"""The table of `config.toml` that says with which certificate finished MP4s are signed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr

from jobs.settings import BadSettings, Table, read_config


class ProvenanceSettings(Table, header="provenance"):
    """Content credentials: who signs, and whose signatures count as ours."""

    folder: Path = Field(
        default=Path("data/provenance"), description="where `console provenance init` puts what it makes"
    )
    certificate: Path | None = Field(
        default=None, description="PEM file: the certificate, then its authorities'; empty: nothing is signed"
    )
    key: Path | None = Field(
        default=None, description="PEM file of its private key, for its owner's eyes alone; only workers need it"
    )
    key_pem: SecretStr = Field(
        default=SecretStr(""), description="the private key itself, from the environment alone; goes before `key`"
    )
    former: tuple[Path, ...] = Field(
        default=(), description="certificates that were used before; what they signed is still ours"
    )

    @classmethod
    def read(cls, config: Mapping[str, Any] | None = None) -> Self:
        """As every table; but a key is not written into a file that others read.

        Raises:
            BadSettings: as everywhere, and where `key_pem` stands in config.toml.
        """
        config = read_config() if config is None else config
        if "key_pem" in config.get(cls.header, {}):
            raise BadSettings(
                "`provenance.key_pem` is never read from config.toml: put the key into a file of its own (mode 0600)"
                " and name that as `provenance.key`, or set ZOETROPE_PROVENANCE__KEY_PEM in the environment."
            )
        return super().read(config)
