"""Content credentials, for the owner: one sentence at the start, no secret anywhere, a certificate of one's own."""

import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from console.checks.credentials import credentials
from console.provenance import app
from jobs.settings import BadSettings
from media.examine import Standing, verify
from media.identity import read_identity, read_trusted
from media.provenance import Sealer
from media.provenance_settings import ProvenanceSettings
from tests.sealed import FIXTURES, JOB, MADE, configured, content, sealer_of

folder, settings, sealer, trusted, plain, signed = FIXTURES


def test_the_owner_reads_one_sentence_at_the_start(folder: Path, settings: ProvenanceSettings, tmp_path: Path) -> None:
    other, expired = configured(tmp_path, "Other"), configured(tmp_path, "Old", days=-0.001)
    open_key = tmp_path / "open.pem"
    open_key.write_bytes((folder / "Ann-key.pem").read_bytes())
    open_key.chmod(0o644)
    lone = tmp_path / "lone.pem"
    lone.write_bytes((folder / "Ann.pem").read_bytes().split(b"-----END")[0] + b"-----END CERTIFICATE-----\n")
    cases = {
        "no such file": {"certificate": tmp_path / "none.pem"},
        "there is no key to sign with": {"key": None},
        "does not belong": {"key": other.key},
        "chmod 600": {"key": open_key},
        "expired on": {"certificate": expired.certificate, "key": expired.key},
        "one certificate alone": {"certificate": lone},
        "no certificate in PEM": {"certificate": settings.key},
        "no private key in PEM": {"key": _private(tmp_path, b"nonsense")},
        "no `provenance.certificate`": {"certificate": None},
    }
    for words, change in cases.items():
        with pytest.raises(BadSettings, match=words) as caught:
            Sealer.from_settings(settings.model_copy(update=change))
        assert "PRIVATE" not in str(caught.value)


def _private(folder: Path, content: bytes) -> Path:
    path = folder / "private.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_key_is_never_taken_from_the_settings_file(
    settings: ProvenanceSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (folder / "Ann-key.pem").read_text()
    with pytest.raises(BadSettings, match=r"never read from config\.toml"):
        ProvenanceSettings.read({"provenance": {"key_pem": secret}})
    monkeypatch.setenv("ZOETROPE_PROVENANCE__KEY_PEM", secret)
    read = ProvenanceSettings.read({"provenance": {"certificate": str(settings.certificate)}})
    assert Sealer.from_settings(read) is not None


def test_no_secret_is_logged_or_printed(
    settings: ProvenanceSettings, sealer: Sealer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings.key is not None
    secret = settings.key.read_text().splitlines()[1]
    caplog.set_level(logging.DEBUG)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    assert not sealer.seal(broken, MADE)
    identity = read_identity(settings)
    in_memory = ProvenanceSettings(certificate=settings.certificate, key_pem=settings.key.read_text())  # type: ignore[arg-type]
    assert "not signed" in caplog.text
    for text in (caplog.text, repr(identity), repr(sealer.identity), repr(in_memory), str(vars(sealer))):
        assert secret not in text


def test_a_certificate_is_made_renewed_and_put_into_use(plain: Path, tmp_path: Path) -> None:
    runner, folder = CliRunner(), tmp_path / "own"
    made = runner.invoke(app, ["init", "--holder", "Ann", "--folder", str(folder)])
    assert (made.exit_code, "[provenance]" in made.output) == (0, True)
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    first = ProvenanceSettings(certificate=folder / "certificate.pem", key=folder / "key.pem")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(content(plain))
    assert sealer_of(first).seal(clip, MADE)
    assert runner.invoke(app, ["init", "--folder", str(folder)]).exit_code == 1
    renewed = runner.invoke(app, ["init", "--folder", str(folder), "--renew"])
    [former] = (folder / "former").glob("*.pem")
    assert f'former = ["{former}"]' in renewed.output
    assert verify(clip.read_bytes(), read_trusted(first))[0].standing is Standing.OTHERS
    both = first.model_copy(update={"former": (former,)})
    assert verify(clip.read_bytes(), read_trusted(both))[0].standing is Standing.VALID


def test_show_says_what_a_file_says(
    signed: Path, settings: ProvenanceSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOETROPE_PROVENANCE__CERTIFICATE", str(settings.certificate))
    shown = CliRunner().invoke(app, ["show", str(signed)])
    assert (shown.exit_code, "holds: signed here" in shown.output, JOB in shown.output) == (0, True, True)
    assert '"system":"svd"' in shown.output
    assert CliRunner().invoke(app, ["show", str(tmp_path / "none.mp4")]).exit_code == 1


def test_doctor_says_who_signs_and_warns_before_it_ends(settings: ProvenanceSettings, tmp_path: Path) -> None:
    def found(settings: ProvenanceSettings, *, signs: bool = True) -> tuple[str, str]:
        [check] = credentials(settings, signs=signs)
        return check.state, check.found

    assert found(settings)[0] == "ok"
    assert "Ann Content Credentials" in found(settings)[1]
    assert found(ProvenanceSettings())[0] == "ok"
    assert found(configured(tmp_path, "Soon", days=20))[0] == "warn"
    unsigning = settings.model_copy(update={"key": None})
    assert (found(unsigning)[0], found(unsigning, signs=False)[0]) == ("fail", "ok")
