"""`python -m console provenance`: make a certificate for content credentials, and read what a file says."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rich.console import Console

from console.exits import CANNOT_START
from console.screen import show_table
from jobs.settings import BadSettings
from media.examine import MAX_BYTES, Credential, Examined, Standing, examine
from media.identity import pem, read_trusted
from media.marks import job_of, recipe_of
from media.provenance_settings import ProvenanceSettings

app = typer.Typer(no_args_is_help=True)
YEARS = 10
"""No outside authority attests when something was signed, so a credential holds no longer than its certificate."""
CERTIFICATE, KEY, FORMER = "certificate.pem", "key.pem", "former"

WORDS = {
    Standing.VALID: "holds: signed here, and not changed since",
    Standing.ALTERED: "does not hold: it names this installation, but the file is not what was signed",
    Standing.OTHERS: "is somebody else's",
    Standing.UNREAD: "cannot be read",
    Standing.NONE: "none",
}


@dataclass(frozen=True)
class Minted:
    """A new certificate, its authority's behind it, and its key: PEM."""

    certificate: bytes
    key: bytes


def mint(holder: str, days: float = 365.25 * YEARS, key: CertificateIssuerPrivateKeyTypes | None = None) -> Minted:
    """An authority of our own and a certificate from it, as C2PA demands: keys on P-256, one that signs content only.

    The authority's key is dropped at once, so that nobody can ever issue a second certificate from it.
    """
    now, authority = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    key = key or ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name(holder, "Authority"), _name(holder, "Content Credentials")
    root = (
        _begun(root_name, root_name, authority, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        _begun(name, root_name, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    return Minted(pem([leaf, root]), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _name(holder: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, holder),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{holder} {role}"),
        ]
    )


def _begun(
    name: x509.Name, issuer: x509.Name, key: CertificateIssuerPrivateKeyTypes, now: datetime, days: float
) -> x509.CertificateBuilder:
    """Valid from an hour ago on, for clocks that go behind."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@app.command()
def init(
    holder: Annotated[str, typer.Option(help="In whose name clips are signed; everybody can read it.")] = "Zoetrope",
    folder: Annotated[Path | None, typer.Option(help="Where to put them; by default as config.toml says.")] = None,
    renew: Annotated[
        bool, typer.Option(help="Replace the certificate there; the old one is kept as a former.")
    ] = False,
) -> None:
    """Make a certificate and a key with which finished MP4s are signed."""
    if not 1 <= len(holder.strip()) <= 44:  # 64 for a common name (RFC 5280), of which ours takes 20
        raise _stop("A holder's name has 1 to 44 characters.")
    folder = folder or _settings().folder
    certificate, key = folder / CERTIFICATE, folder / KEY
    if (certificate.exists() or key.exists()) and not renew:
        raise _stop(
            f"There is a certificate in {folder} already; --renew replaces it and keeps the old one as a former."
        )
    try:
        former = _put_aside(folder)
        _write(folder, mint(holder.strip()))
    except OSError as error:
        raise _stop(f"{folder} cannot be written: {error.strerror}.") from None
    out = _out()
    out.print(f"Wrote {certificate} and {key} (which nobody but you may read).")
    out.print("\nNext: put this into config.toml; the bot needs the certificate, workers need both.\n", markup=False)
    lines = [f'certificate = "{certificate}"', f'key = "{key}"']
    if former:
        lines.append("former = [{}]".format(", ".join(f'"{path}"' for path in former)))
    out.print("\n".join(["[provenance]", *lines]), markup=False)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="A clip.")]) -> None:
    """What a file says about where it comes from, and whether that holds."""
    try:
        settings = _settings()
        trusted = read_trusted(settings)
    except BadSettings as error:
        raise _stop(str(error), CANNOT_START) from None
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise _stop(f"{file} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_BYTES:
        raise _stop(f"{file} is larger than {MAX_BYTES >> 20} MiB, which is more than I look into.")
    out, seen = _out(), examine(data, trusted)
    show_table(out, ("what", "found"), _rows(seen))
    if trusted.nobody:
        out.print("\nNo certificate is configured, so every credential counts as somebody else's.")
    out.print("\nNext: right-click the clip in Discord, Apps, Who made this?: it also knows what the bot remembers.")


def _rows(seen: Examined) -> list[tuple[str, str]]:
    mark, recipe = seen.mark, recipe_of(seen.mark)
    proven = seen.credential.standing is Standing.VALID
    rows = [("credential", _words(seen.credential)), ("job", job_of(mark) or "not named")]
    if mark is None:
        return [*rows, ("recipe", "none")]
    steps = ", ".join(step.model_dump_json() for step in recipe.steps) if recipe else "of another version"
    return [*rows, ("recipe", f"{steps} ({'signed' if proven else 'as the file says'})")]


def _words(credential: Credential) -> str:
    named = f" ({credential.signer})" if credential.signer else ""
    return f"{WORDS[credential.standing]}{named}{'; its certificate has expired since' if credential.expired else ''}"


def _put_aside(folder: Path) -> list[Path]:
    """Move the certificate in use to the former ones, and its key away for good; every former one there is."""
    aside = folder / FORMER
    if (old := folder / CERTIFICATE).exists():
        aside.mkdir(exist_ok=True)
        serial = x509.load_pem_x509_certificate(old.read_bytes()).serial_number
        old.rename(aside / f"{serial:x}.pem")
    (folder / KEY).unlink(missing_ok=True)
    return sorted(aside.glob("*.pem"))


def _write(folder: Path, minted: Minted) -> None:
    """The key is for its owner's eyes from the first byte on."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / CERTIFICATE).write_bytes(minted.certificate)
    descriptor = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(minted.key)


def _settings() -> ProvenanceSettings:
    try:
        return ProvenanceSettings.read()
    except BadSettings as error:
        raise _stop(str(error), CANNOT_START) from None


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _stop(sentence: str, code: int = 1) -> typer.Exit:
    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, style="red", markup=False)
    return typer.Exit(code)
