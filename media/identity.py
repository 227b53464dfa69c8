"""The certificate that signs, its key, and whose signatures are ours: read and checked at the start, so that the owner
reads one sentence then and not a warning under every clip later."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from jobs.settings import BadSettings
from media.provenance_settings import ProvenanceSettings

MAX_PEM_BYTES = 256 * 1024
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
"""What C2PA signs with on which curve (C2PA 2.x, digital signatures)."""
SHORTEST_RSA = 2048
INIT = "python -m console provenance init"


@dataclass(frozen=True)
class Trusted:
    """Whose signatures are ours: what the keys of these very certificates signed, and no other's."""

    anchors: str
    """PEM of the authorities that issued them; c2pa wants them where something is signed."""
    own: str
    """PEM of the certificates themselves."""

    @property
    def nobody(self) -> bool:
        """Whether no certificate is configured."""
        return not self.own

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates, ready for use."""
        return tuple(x509.load_pem_x509_certificates(self.own.encode())) if self.own else ()


@dataclass(frozen=True)
class Identity:
    """What signs. The key is kept from every printed form."""

    chain: tuple[x509.Certificate, ...]
    """The certificate itself, then its authorities'."""
    algorithm: str
    """In C2PA's words: es256, es384, es512, ed25519, ps256."""
    _key: bytes

    def __repr__(self) -> str:
        return f"Identity({self.chain[0].subject.rfc4514_string()!r}, {self.algorithm})"

    @property
    def signing_chain(self) -> bytes:
        """PEM of what goes into a file: everything but a root, which whoever verifies must have anyway."""
        return pem([one for one in self.chain if one is self.chain[0] or one.issuer != one.subject])

    @property
    def key(self) -> bytes:
        """The private key, as PEM."""
        return self._key


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as one PEM file holds them."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def read_trusted(settings: ProvenanceSettings) -> Trusted:
    """Whose signatures are ours, by the certificate in use and the former ones; needs no key.

    Raises:
        BadSettings: a file is missing, unreadable or no certificate.
    """
    paths = [("certificate", settings.certificate), *(("former", path) for path in settings.former)]
    chains = [_chain(key, path) for key, path in paths if path is not None]
    authorities = dict.fromkeys(pem([one]).decode() for chain in chains for one in chain[1:])
    return Trusted("".join(authorities), pem([chain[0] for chain in chains]).decode())


def read_identity(settings: ProvenanceSettings, now: datetime | None = None) -> Identity | None:
    """The certificate with its key; None where none is configured.

    Raises:
        BadSettings: something is missing, expired, readable by others, or does not belong together.
    """
    secret = settings.key_pem.get_secret_value().encode()
    if settings.certificate is None:
        if secret or settings.key is not None:
            raise BadSettings(
                "[provenance] has a key but no `provenance.certificate`; name its certificate, or take the key away."
            )
        return None
    chain = _chain("certificate", settings.certificate)
    _check_certificate(settings.certificate, chain[0], now or datetime.now(UTC))
    if not secret and settings.key is None:
        raise BadSettings(
            f"`provenance.certificate` names {settings.certificate}, but there is no key to sign with: set"
            f" `provenance.key` to its file, or ZOETROPE_PROVENANCE__KEY_PEM. `{INIT}` makes both."
        )
    secret = secret or _read_key(settings.key or Path())
    key = _key(secret, settings)
    if _public(key) != chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise BadSettings(
            f"The key of [provenance] does not belong to the certificate in {settings.certificate}."
            " Each certificate has a key of its own; name the two that were made together."
        )
    return Identity(chain, _algorithm(key), secret)


def _read(key: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PEM_BYTES)
    except FileNotFoundError:
        raise BadSettings(f"`provenance.{key}` names {path}, and there is no such file; `{INIT}` makes one.") from None
    except OSError as error:
        raise BadSettings(f"`provenance.{key}` names {path}, which cannot be read: {error.strerror}.") from None


def _read_key(path: Path) -> bytes:
    secret = _read("key", path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadSettings(f"{path} holds a private key, and others on this machine may read it: chmod 600 {path}")
    return secret


def _chain(key: str, path: Path) -> tuple[x509.Certificate, ...]:
    try:
        chain = tuple(x509.load_pem_x509_certificates(_read(key, path)))
    except ValueError:
        raise BadSettings(f"`provenance.{key}` names {path}, which holds no certificate in PEM.") from None
    if len(chain) < 2:
        raise BadSettings(
            f"{path} holds one certificate alone: C2PA takes none that signed itself. Put the certificates of its"
            " authorities behind it, up to the root."
        )
    return chain


def _check_certificate(path: Path, leaf: x509.Certificate, now: datetime) -> None:
    if now > leaf.not_valid_after_utc:
        raise BadSettings(
            f"The certificate in {path} expired on {leaf.not_valid_after_utc:%Y-%m-%d}. Make a new one with `{INIT}`,"
            " and keep this one under `provenance.former`."
        )
    if now < leaf.not_valid_before_utc:
        raise BadSettings(
            f"The certificate in {path} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on, and it is {now:%Y-%m-%d}"
            " by this machine's clock."
        )
    try:
        signs = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
        purposes = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        signs, purposes = False, set[x509.ObjectIdentifier]()
    if not signs or not purposes or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes:
        raise BadSettings(
            f"The certificate in {path} may not sign content credentials: C2PA asks for the key usage digitalSignature"
            " and an extended key usage such as emailProtection or documentSigning."
        )


def _key(secret: bytes, settings: ProvenanceSettings) -> PrivateKeyTypes:
    source = "ZOETROPE_PROVENANCE__KEY_PEM" if settings.key_pem.get_secret_value() else str(settings.key)
    try:
        return load_pem_private_key(secret, None)
    except TypeError:
        raise BadSettings(f"The private key in {source} has a password; Zoetrope reads keys without one.") from None
    except ValueError:
        raise BadSettings(f"There is no private key in PEM in {source}.") from None


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA:
        return "ps256"
    raise BadSettings(
        "C2PA signs with keys on the curves P-256, P-384 and P-521, with Ed25519, or with RSA of 2048 bits and more;"
        " the key of [provenance] is none of these."
    )


def _public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
