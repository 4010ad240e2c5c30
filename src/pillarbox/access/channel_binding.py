"""tls-server-end-point (RFC 5929 section 4): the hash of the server's certificate, for SCRAM-SHA-256-PLUS.

Which hash is told by the algorithm that the certificate is signed with. Read here octet by octet, since the library for
certificates is too large to be kept by every worker for this.
"""

from __future__ import annotations

import hashlib

END_POINT = "tls-server-end-point"
UNIQUE = "tls-unique"

_RSA, _ECDSA, _NIST = "1.2.840.113549.1.1.", "1.2.840.10045.4.", "2.16.840.1.101.3.4."
_PSS = _RSA + "10"
# MD5 and SHA-1 are replaced by SHA-256; what uses no single hash (Ed25519) is not here: then there is no binding.
_HASHES = {
    _RSA + "4": "sha256",
    _RSA + "5": "sha256",
    _RSA + "11": "sha256",
    _RSA + "12": "sha384",
    _RSA + "13": "sha512",
    _RSA + "14": "sha224",
    _ECDSA + "1": "sha256",
    _ECDSA + "3.1": "sha224",
    _ECDSA + "3.2": "sha256",
    _ECDSA + "3.3": "sha384",
    _ECDSA + "3.4": "sha512",
    _NIST + "3.1": "sha224",  # DSA
    _NIST + "3.2": "sha256",
}
# The hash of an RSASSA-PSS signature, RFC 4055 section 3.1; absent it is SHA-1.
_PSS_HASHES = {_NIST + "2.1": "sha256", _NIST + "2.2": "sha384", _NIST + "2.3": "sha512", _NIST + "2.4": "sha224"}
_SEQUENCE, _OID, _FIRST = 0x30, 0x06, 0xA0


def server_end_point(certificate: bytes) -> bytes:
    """The binding of a certificate (DER); b"" where none is defined for it."""
    try:
        name = _hash_name(certificate)
    except (IndexError, ValueError):
        return b""
    return hashlib.new(name, certificate).digest() if name else b""


def _hash_name(certificate: bytes) -> str:
    start, _ = _element(certificate, 0, _SEQUENCE)
    _, end = _element(certificate, start, _SEQUENCE)  # what is signed
    start, end = _element(certificate, end, _SEQUENCE)  # signatureAlgorithm
    at, after = _element(certificate, start, _OID)
    algorithm = _dotted(certificate[at:after])
    if algorithm != _PSS:
        return _HASHES.get(algorithm, "")
    if after >= end:
        return "sha256"
    start, end = _element(certificate, after, _SEQUENCE)
    if start >= end or certificate[start] != _FIRST:
        return "sha256"
    start, _ = _element(certificate, start, _FIRST)
    start, _ = _element(certificate, start, _SEQUENCE)
    at, after = _element(certificate, start, _OID)
    return _PSS_HASHES.get(_dotted(certificate[at:after]), "sha256")


def _element(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Start and end of the value of the DER element at `at`. Raises ValueError, IndexError."""
    if data[at] != tag:
        raise ValueError("another element was expected")
    length = data[at + 1]
    start = at + 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    if start + length > len(data):
        raise ValueError("an element is cut off")
    return start, start + length


def _dotted(oid: bytes) -> str:
    numbers, value = [str(min(oid[0] // 40, 2))], 0
    numbers.append(str(oid[0] - 40 * int(numbers[0])))
    for octet in oid[1:]:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(str(value))
            value = 0
    return ".".join(numbers)
