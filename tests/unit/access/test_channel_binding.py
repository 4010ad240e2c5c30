"""tls-server-end-point against what `cryptography` says of certificates of every kind."""

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from pillarbox.access.channel_binding import server_end_point

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
USUAL = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def certificate(key, algorithm, **options):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.com")])
    return x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + datetime.timedelta(1)).sign(
        key, algorithm, **options
    )


def pss(hash):
    return {"rsa_padding": padding.PSS(padding.MGF1(hash), padding.PSS.DIGEST_LENGTH)}


@pytest.mark.parametrize(
    ("key", "algorithm", "options"),
    [
        *((key, hash(), {}) for key in (RSA, EC) for hash in (hashes.SHA224, *USUAL)),
        *((RSA, hash(), pss(hash())) for hash in USUAL),
    ],
)  # fmt: skip
def test_the_hash_is_that_of_the_signature(key, algorithm, options):
    made = certificate(key, algorithm, **options)
    der = made.public_bytes(serialization.Encoding.DER)
    assert made.signature_hash_algorithm.name == algorithm.name
    assert server_end_point(der) == hashlib.new(algorithm.name, der).digest()


def test_where_no_hash_is_used_there_is_no_binding():
    made = certificate(ed25519.Ed25519PrivateKey.generate(), None)
    assert server_end_point(made.public_bytes(serialization.Encoding.DER)) == b""


def test_sha_1_is_replaced():
    der = certificate(RSA, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    sha256_with_rsa, sha1_with_rsa = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    old = der.replace(sha256_with_rsa, sha1_with_rsa)
    assert server_end_point(old) == hashlib.sha256(old).digest()


def test_what_is_no_certificate_has_no_binding():
    der = certificate(EC, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert server_end_point(b"") == b""
    assert server_end_point(b"\x30\x84\xff\xff\xff\xff") == b""
    for end in range(0, len(der), 7):
        assert server_end_point(der[:end]) == b""
