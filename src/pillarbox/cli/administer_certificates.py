"""`pillarbox certificate`: certificates with which clients log in for an account (SASL EXTERNAL)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pillarbox.cli.administer_users import find
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.tables import print_done, print_rows
from pillarbox.store import client_certificates, directory
from pillarbox.store.client_certificates import ClientCertificate
from pillarbox.store.records import User
from pillarbox.store.tx import Tx

app = group("Certificates with which a mail program logs in for an account, without a password.")

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_RSA_BITS = 2048  # OpenSSL's handshakes take no smaller ones


def _row(user: User, one: ClientCertificate) -> dict[str, Any]:
    return {
        "id": one.id,
        "username": user.username,
        "name": one.name,
        "fingerprint": one.fingerprint.upper(),
        "created_at": one.created_at,
        "expires_at": one.not_after,
    }


@app.command()
def add(
    username: Annotated[str, typer.Argument(help="Username or e-mail address.")],
    file: Annotated[Path, typer.Argument(help="The certificate, PEM or DER.", metavar="FILE")],
    name: Annotated[str, typer.Option(help="What it is for, such as the name of a device.")] = "",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Let a certificate log in this account: a self-signed one, or of any authority. Its private key is not needed."""
    der, not_after = _read(file)

    def work(tx: Tx) -> dict[str, Any]:
        user = find(tx, username)
        return _row(user, client_certificates.add(tx, user.id, der, not_after, name))

    made = write(db, work)
    print_done(f"Certificate {made['id']} of {made['username']}: {made['fingerprint']}", made, as_json=as_json)


@app.command("list")
def list_certificates(
    username: Annotated[str, typer.Argument(help="Username or e-mail address; all accounts without it.")] = "",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Certificates there are, also those that have ended. Fingerprints are SHA-256."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        found = client_certificates.certificates(tx, find(tx, username).id if username else None)
        return [_row(directory.get_user(tx, one.user_id), one) for one in found]

    print_rows(read(db, work), ["id", "username", "name", "fingerprint", "created_at", "expires_at"], as_json=as_json)


@app.command()
def remove(
    certificate_id: Annotated[int, typer.Argument(help="Its id, see `pillarbox certificate list`.", metavar="ID")],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Let a certificate log in nobody any more; who is logged in with it is logged out."""

    def work(tx: Tx) -> dict[str, Any]:
        gone = client_certificates.remove(tx, certificate_id)
        return _row(directory.get_user(tx, gone.user_id), gone)

    gone = write(db, work)
    print_done(f"Certificate {certificate_id} of {gone['username']} was removed", gone, as_json=as_json)


def _read(file: Path) -> tuple[bytes, int]:
    """DER and end of a certificate that a handshake can be done with. Raises Refused."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        octets = file.read_bytes()
    except OSError as error:
        raise Refused(f"{file}: {(error.strerror or str(error)).lower()}") from error
    begin = octets.find(_BEGIN)
    try:
        made = x509.load_pem_x509_certificate(octets[begin:]) if begin >= 0 else x509.load_der_x509_certificate(octets)
        extensions, key = made.extensions, made.public_key()
    except ValueError as error:
        raise Refused(f"{file}: there is no certificate in it that can be read ({error})") from error
    uses = [one.value for one in extensions if isinstance(one.value, x509.ExtendedKeyUsage)]
    good = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if uses and not good.intersection(uses[0]):
        raise Refused(f"{file}: the certificate is not for clients (its extendedKeyUsage lacks clientAuth)")
    keys = [one.value for one in extensions if isinstance(one.value, x509.KeyUsage)]
    if keys and not (keys[0].digital_signature or keys[0].key_agreement):
        raise Refused(f"{file}: the certificate is not for logging in (its keyUsage lacks digitalSignature)")
    if isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS:
        raise Refused(f"{file}: the key has {key.key_size} bits, and TLS takes none below {_RSA_BITS}")
    not_after = int(made.not_valid_after_utc.timestamp())
    return made.public_bytes(Encoding.DER), not_after
