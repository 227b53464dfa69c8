"""Content credentials: with which certificate clips are signed, and for how long."""

from datetime import UTC, datetime, timedelta

from console.checks import Check
from jobs.settings import BadSettings
from media.identity import INIT, read_trusted
from media.provenance import Sealer
from media.provenance_settings import ProvenanceSettings

NAME = "credentials"
SOON = timedelta(days=30)


def credentials(settings: ProvenanceSettings, *, signs: bool) -> list[Check]:
    """The certificate; where this machine `signs`, the key as well, tried once."""
    try:
        trusted = read_trusted(settings)
        if signs:
            Sealer.from_settings(settings)
    except BadSettings as error:
        return [Check(NAME, "fail", str(error), f"docs/provenance.md says how it belongs; `{INIT}` makes a new one.")]
    if trusted.nobody or settings.certificate is None:
        return [Check(NAME, "ok", "no certificate is configured, so MP4s carry their recipe unsigned")]
    certificate = trusted.certificates[0]
    until = certificate.not_valid_after_utc
    found = f"{certificate.subject.rfc4514_string()} until {until:%Y-%m-%d}"
    if until - datetime.now(UTC) < SOON:
        return [Check(NAME, "warn", found, f"`{INIT} --renew` makes the next one and keeps this one as a former.")]
    return [Check(NAME, "ok", found)]
