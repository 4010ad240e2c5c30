"""TLS certificates: reading, checking, making one of our own, and the context for handshakes.

The supervisor reads certificate and key (it may be root and the key root's) and gives the bytes to the workers, which
make their contexts from memory. What needs `cryptography` runs in a child (see `children`), so that its memory is not
kept by processes that need it once in months.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from pillarbox.access.channel_binding import server_end_point
from pillarbox.session.tls import ServerContext
from pillarbox.store.client_certificates import fingerprint_of

from . import session_tickets

log = structlog.get_logger()

SELF_MADE = "self-made.pem"  # key and certificate, in the runtime folder
SELF_MADE_DAYS = 825
WARN_DAYS = 30
DAY = 86_400
_REVOKED = b"-----BEGIN X509 CRL-----"
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class CertificateError(Exception):
    """Certificate or key cannot be read, or do not belong together; the text names the file."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain and its private key, PEM in one text, and when the certificate ends."""

    pem: bytes
    not_after: int  # epoch seconds
    names: tuple[str, ...]  # DNS names and addresses it is for
    clients: bytes = b""  # PEM: authorities whose certificates clients may log in with, and their revocation lists
    tickets: bytes = field(default_factory=session_tickets.new_secret)

    def __repr__(self) -> str:
        return f"KeyPair({', '.join(self.names)}, not_after={self.not_after})"


def read(*paths: Path) -> bytes:
    """These files, key and certificate chain, as one PEM text. Raises CertificateError."""
    texts = []
    for path in paths:
        try:
            texts.append(path.read_bytes())
        except OSError as error:
            raise CertificateError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return b"\n".join(texts)


def context(
    pem: bytes,
    min_version: str = "1.2",
    clients: bytes = b"",
    registered: Sequence[bytes] = (),
    *,
    tickets: bytes = b"",
) -> ssl.SSLContext:
    """A server context without ALPN that serves the whole chain. Raises CertificateError.

    With `clients`, see `KeyPair`, or `registered` certificates of clients (DER) it asks clients for a certificate. They
    need not have one, but one that they show must be good, or the handshake fails. A session that began with one
    context goes on with another that was made of the same and has the same secret in `tickets`.
    """
    made = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _VERSIONS[min_version]
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    made.num_tickets = session_tickets.PER_HANDSHAKE
    with _file(pem, "certificate and key") as path:
        # An encrypted key would make OpenSSL ask on the terminal; an empty password makes that an error.
        made.load_cert_chain(path, password=lambda: "")
    if clients:
        with _file(clients, "authorities of clients") as path:
            made.load_verify_locations(path)
        if not made.cert_store_stats()["x509_ca"]:
            raise CertificateError("authorities of clients: there is no certificate of an authority")
        made.verify_mode = ssl.CERT_OPTIONAL
        if _REVOKED in clients:
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if registered:
        _believe(made, clients, registered)
    if tickets:
        session_tickets.share(made, tickets, (pem, min_version.encode(), clients, *sorted(registered)))
    made.end_point = server_end_point(_first_certificate(pem))
    return made


def _believe(made: ServerContext, clients: bytes, registered: Sequence[bytes]) -> None:
    """Take single certificates of clients for good, whoever has signed them."""
    made.authorities = frozenset(made.get_ca_certs(binary_form=True)) if clients else frozenset()
    known = set()
    for der in registered:
        try:
            made.load_verify_locations(cadata=der)
            known.add(fingerprint_of(der))
        except (ssl.SSLError, ValueError) as error:  # somebody's SQL has put it there
            log.warning("A registered certificate cannot be read", fingerprint=fingerprint_of(der), error=str(error))
    made.registered = frozenset(known)
    made.verify_mode = ssl.CERT_OPTIONAL
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its issuer need not be known
    if clients:
        # A resumed session does not say who vouched for the certificate.
        made.num_tickets = 0
        made.options |= ssl.OP_NO_TICKET


@contextmanager
def _file(text: bytes, what: str) -> Iterator[str]:
    """The path of a file in memory: the ssl module takes files only. What it says against it as CertificateError."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text)
        yield f"/proc/self/fd/{descriptor}"
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CertificateError(f"{what}: {error}") from error
    finally:
        os.close(descriptor)


def _first_certificate(pem: bytes) -> bytes:
    """DER of the certificate that is the server's own; a pair that was loaded has one."""
    begin, end = pem.find(_BEGIN), pem.find(_END)
    return ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)].decode("ascii", "replace"))


def inspect(pem: bytes, clients: bytes = b"") -> dict[str, Any]:
    """`not_after` and `names` of the first certificate. Imports cryptography: for a child. Raises CertificateError."""
    from cryptography import x509

    context(pem, clients=clients)
    begin = pem.find(_BEGIN)
    try:
        certificate = x509.load_pem_x509_certificate(pem[begin:])
    except ValueError as error:
        raise CertificateError(f"certificate: {error}") from error
    names: list[str] = []
    with suppress(x509.ExtensionNotFound):
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += alternatives.get_values_for_type(x509.DNSName)
        names += [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)]
    return {"not_after": int(certificate.not_valid_after_utc.timestamp()), "names": names}


def self_made(folder: Path, hostname: str, now: float) -> bytes:
    """The certificate of our own in `folder`, made when there is none for this name or it ends soon.

    EC P-256, the file has mode 0600. Imports cryptography: for a child. Raises CertificateError.
    """
    path = folder / SELF_MADE
    with suppress(OSError, CertificateError):
        pem = path.read_bytes()
        facts = inspect(pem)
        if hostname in facts["names"] and facts["not_after"] > now + WARN_DAYS * DAY:
            return pem
    log.warning("Making a certificate of our own, which clients will not trust", file=path, name=hostname)
    pem = _make(hostname, now)
    fresh = path.with_suffix(".new")
    try:
        with suppress(FileNotFoundError):
            fresh.unlink()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        fresh.replace(path)
    except OSError as error:
        raise CertificateError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return pem


def _make(hostname: str, now: float) -> bytes:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(begin + datetime.timedelta(days=SELF_MADE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def days_left(not_after: int, now: float) -> int:
    """Whole days until the certificate ends; negative when it has."""
    return int((not_after - now) // DAY)
