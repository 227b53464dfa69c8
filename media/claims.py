"""Who signed a claim: checked here with our own public keys, beside what c2pa says of the rest.

c2pa tells what is trusted at large, by authority and date. Whether *we* signed is another question, with a simpler
answer that neither an authority's other customers nor a certificate's last day can change: does one of our keys verify
the signature over the claim? (C2PA 2.x, manifest store and digital signatures; RFC 9052, 4.4; RFC 8949, 3.)
"""

import struct
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from media.containers import Part, boxes

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The extended type of the box that holds a credential (C2PA 2.x, embedding into BMFF files)."""
_PURPOSE = b"manifest\0"
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
_DEEPEST = 8
"""How deep lists and maps of a signature's head may lie in each other."""


def credential_boxes(data: bytes) -> list[Part]:
    """The boxes of an MP4 that hold a credential; none where it is no MP4."""
    if data[4:8] != b"ftyp":
        return []
    return [box for box in boxes(data) if box.name == b"uuid" and data[box.inside : box.inside + 16] == C2PA_BOX]


def signed_by(data: bytes, label: str, certificates: tuple[x509.Certificate, ...]) -> bool:
    """Whether the key of one of these certificates signed the claim of the manifest with this label.

    Whatever is there twice where it should be once is nobody's: two readers might take different ones.
    """
    try:
        claim, signature = _claim_and_signature(data, label)
        protected, signature = _sign1(signature)
    except (ValueError, IndexError, struct.error):
        return False
    signed = b"\x84\x6aSignature1" + _byte_string(protected) + b"\x40" + _byte_string(claim)
    return any(_verifies(certificate, signature, signed) for certificate in certificates)


def _claim_and_signature(data: bytes, label: str) -> tuple[bytes, bytes]:
    [box] = credential_boxes(data)
    begin = box.inside + 16 + 4  # behind the type: version and flags, what it is for, and where hash trees lie
    if data[begin : begin + len(_PURPOSE)] != _PURPOSE:
        raise ValueError("no manifest store")
    [store] = _superboxes(data, begin + len(_PURPOSE) + 8, box.end, ("c2pa",))
    [manifest] = _superboxes(data, *store, (label,))
    [claim] = _superboxes(data, *manifest, ("c2pa.claim", "c2pa.claim.v2"))
    [signature] = _superboxes(data, *manifest, ("c2pa.signature",))
    return _content(data, *claim), _content(data, *signature)


def _superboxes(data: bytes, begin: int, end: int, labels: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the contents begin and end of the JUMBF superboxes (ISO 19566-5) that have one of these labels."""
    return [(inside, stop) for label, inside, stop in _labelled(data, begin, end) if label in labels]


def _labelled(data: bytes, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    for box in boxes(data, begin, end):
        about = next(boxes(data, box.inside, box.end), None) if box.name == b"jumb" else None
        if about and about.name == b"jumd":
            label = data[about.inside + 17 : about.end].split(b"\0")[0]  # behind a type of 16 bytes, and flags
            yield label.decode("utf-8", "replace"), about.end, box.end


def _content(data: bytes, begin: int, end: int) -> bytes:
    [content] = [box for box in boxes(data, begin, end) if box.name == b"cbor"]
    return data[content.inside : content.end]


def _sign1(data: bytes) -> tuple[bytes, bytes]:
    """The protected head and the signature of a COSE_Sign1: [protected, unprotected, payload, signature], tag 18."""
    at = 1 if data[:1] == b"\xd2" else 0
    if data[at] != 0x84:
        raise ValueError("no COSE_Sign1")
    protected_at = at + 1
    unprotected_at = _after(data, protected_at)
    payload_at = _after(data, unprotected_at)
    if data[payload_at] != 0xF6:
        raise ValueError("the claim is signed where it stands, not in here")
    return _bytes_at(data, protected_at), _bytes_at(data, payload_at + 1)


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """A CBOR item's major type, its number, and where what follows begins. Of known length only."""
    major, short = data[at] >> 5, data[at] & 31
    if short < 24:
        return major, short, at + 1
    if short > 27:
        raise ValueError("of unknown length")
    size = 1 << (short - 24)
    if at + 1 + size > len(data):
        raise ValueError("cut off")
    return major, int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size


def _after(data: bytes, at: int, depth: int = 0) -> int:
    """Where the CBOR item at `at` ends."""
    major, number, after = _head(data, at)
    if depth > _DEEPEST or (number > len(data) and major in (2, 3, 4, 5)):
        raise ValueError("deeper or longer than it can be")
    if major in (2, 3):
        after += number
    items = {4: number, 5: 2 * number, 6: 1}.get(major, 0)
    for _ in range(items):
        after = _after(data, after, depth + 1)
    return after


def _bytes_at(data: bytes, at: int) -> bytes:
    major, number, after = _head(data, at)
    if major != 2 or after + number > len(data):
        raise ValueError("no byte string")
    return data[after : after + number]


def _byte_string(data: bytes) -> bytes:
    """As CBOR writes it, its length in as few bytes as will do."""
    size = len(data)
    if size < 24:
        return bytes([0x40 | size]) + data
    for code, (form, most) in enumerate(((">B", 1 << 8), (">H", 1 << 16), (">I", 1 << 32))):
        if size < most:
            return bytes([0x58 + code]) + struct.pack(form, size) + data
    raise ValueError("longer than any claim")


def _verifies(certificate: x509.Certificate, signature: bytes, signed: bytes) -> bool:
    key = certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            half = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * half:
                return False
            numbers = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
            key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(_HASHES[key.curve.key_size]))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        else:
            return False
    except (InvalidSignature, KeyError, ValueError):
        return False
    return True
