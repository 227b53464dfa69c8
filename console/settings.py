"""All tables of `config.toml`, read at once at the start, so that a wrong key is named before anything runs."""

from dataclasses import dataclass
from typing import Self

from bot.settings import DiscordSettings
from inference.settings import ModelSettings, SystemSettings, WorkerSettings
from jobs.policy import TermsSettings
from jobs.settings import LimitSettings, RedisSettings, StoreSettings, forbid_unknown_tables, read_config
from jobs.watch import MetricsSettings
from media.provenance_settings import ProvenanceSettings

TABLES = (
    DiscordSettings,
    RedisSettings,
    StoreSettings,
    ModelSettings,
    WorkerSettings,
    LimitSettings,
    TermsSettings,
    MetricsSettings,
    ProvenanceSettings,
    SystemSettings,
)


@dataclass(frozen=True)
class Settings:
    """Everything that can be set."""

    discord: DiscordSettings
    redis: RedisSettings
    store: StoreSettings
    models: ModelSettings
    worker: WorkerSettings
    limits: LimitSettings
    terms: TermsSettings
    metrics: MetricsSettings
    provenance: ProvenanceSettings
    systems: SystemSettings

    @classmethod
    def read(cls) -> Self:
        """From the environment, the file and the defaults.

        Raises:
            BadSettings: one sentence naming the key.
        """
        config = read_config()
        forbid_unknown_tables(config, TABLES)
        return cls(
            DiscordSettings.read(config),
            RedisSettings.read(config),
            StoreSettings.read(config),
            ModelSettings.read(config),
            WorkerSettings.read(config),
            LimitSettings.read(config),
            TermsSettings.read(config),
            MetricsSettings.read(config),
            ProvenanceSettings.read(config),
            SystemSettings.read(config),
        )
