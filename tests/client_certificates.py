"""An authority whose certificates clients log in with, made in a moment."""

import datetime
import poplib
import smtplib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """`file` is its own certificate, PEM; what it issues lies beside it, certificate and key in one file."""

    def __init__(self, folder: Path, name="Authority"):
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.serials = {}
        self.file = folder / f"{name}.pem"
        made = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.file.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def itself(self):
        """The file of its own certificate and key: a self-signed one, as a client may have."""
        file = self.folder / "itself.pem"
        file.write_bytes(_secret(self.key) + self.file.read_bytes())
        return file

    def issue(self, *addresses, subject=(), usage=ExtendedKeyUsageOID.CLIENT_AUTH, ended=False):
        """The file of a certificate with these addresses; `subject`: those that stand there as emailAddress."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, "cn@example.com")]
        names += [x509.NameAttribute(NameOID.EMAIL_ADDRESS, address) for address in subject]
        builder = self._builder(x509.Name(names), key, end=-1 if ended else 1)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if addresses:
            alternatives = x509.SubjectAlternativeName([x509.RFC822Name(address) for address in addresses])
            builder = builder.add_extension(alternatives, critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        file = self.folder / f"{made.serial_number}.pem"
        file.write_bytes(_secret(key) + made.public_bytes(serialization.Encoding.PEM))
        self.serials[file] = made.serial_number
        return file

    def revoked(self, *files) -> bytes:
        """A revocation list with these certificates, PEM."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now - DAY)
        for file in files:
            one = x509.RevokedCertificateBuilder().serial_number(self.serials[file]).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate(one.build())
        made = builder.next_update(now + DAY).sign(self.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    def _builder(self, name, key, end=1):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * DAY)
            .not_valid_after(now + end * DAY)
        )


def _secret(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def der_of(file):
    """The certificate in a file."""
    text = Path(file).read_bytes()
    return x509.load_pem_x509_certificate(text[text.index(b"-----BEGIN CERTIFICATE") :]).public_bytes(
        serialization.Encoding.DER
    )


def log_in_by_pop3(port, context):
    """What POP3 answers to AUTH EXTERNAL, which has to be offered."""
    client = poplib.POP3_SSL("127.0.0.1", port, context=context)
    assert "EXTERNAL" in client.capa()["SASL"]
    answer = client._shortcmd("AUTH EXTERNAL =")
    client.quit()
    return answer


def submit_as_ada(port, context):
    """Log in for submission with EXTERNAL, the first mechanism that is offered; ada, and nobody else, may send."""
    with smtplib.SMTP_SSL("127.0.0.1", port, context=context) as client:
        client.ehlo()
        assert client.esmtp_features["auth"].split()[0] == "EXTERNAL"
        assert client.docmd("AUTH", "EXTERNAL =")[0] == 235
        assert client.mail("bob@example.com")[0] == 553
        return client.mail("ada@example.com")[0]
