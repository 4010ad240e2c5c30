"""Certificates: our own, reading and checking, and a handshake that shows the chain."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from client_certificates import Authority
from pillarbox.server import certificates
from pillarbox.server.certificates import CertificateError, context, days_left, inspect, read, self_made

NOW = time.time()


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Both ends in memory; the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


def test_our_own_is_made_once_and_works(tmp_path: Path) -> None:
    pem = self_made(tmp_path, "mx.example.test", NOW)
    file = tmp_path / certificates.SELF_MADE
    assert file.read_bytes() == pem and file.stat().st_mode & 0o777 == 0o600
    assert self_made(tmp_path, "mx.example.test", NOW) == pem
    facts = inspect(pem)
    assert facts["names"] == ["mx.example.test"]
    assert days_left(facts["not_after"], NOW) in (824, 825)
    client = ssl.create_default_context(cafile=file)
    end = handshake(context(pem), client, "mx.example.test")
    assert end.version() == "TLSv1.3"
    assert end.selected_alpn_protocol() is None


def test_our_own_is_made_again_for_another_name_or_when_it_ends(tmp_path: Path) -> None:
    first = self_made(tmp_path, "one.test", NOW)
    second = self_made(tmp_path, "two.test", NOW)
    third = self_made(tmp_path, "two.test", NOW + 800 * certificates.DAY)
    assert len({first, second, third}) == 3


def test_a_file_of_ours_that_is_broken_is_replaced(tmp_path: Path) -> None:
    (tmp_path / certificates.SELF_MADE).write_text("half a file")
    assert b"BEGIN CERTIFICATE" in self_made(tmp_path, "mx.test", NOW)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="no such file or directory"):
        self_made(tmp_path / "no", "mx.test", NOW)


def test_the_oldest_version_spoken(tmp_path: Path) -> None:
    pem = self_made(tmp_path, "mx.test", NOW)
    client = ssl.create_default_context(cafile=tmp_path / certificates.SELF_MADE)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(context(pem, "1.2"), client, "mx.test").version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        handshake(context(pem, "1.3"), client, "mx.test")


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    pem = self_made(tmp_path, "mx.test", NOW)
    assert context(pem, "1.2").minimum_version == ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 8997


def test_reading_files(tmp_path: Path) -> None:
    pem = self_made(tmp_path, "mx.test", NOW)
    at = pem.index(b"-----BEGIN CERTIFICATE-----")
    (tmp_path / "key").write_bytes(pem[:at])
    (tmp_path / "cert").write_bytes(pem[at:])
    assert inspect(read(tmp_path / "cert", tmp_path / "key"))["names"] == ["mx.test"]
    with pytest.raises(CertificateError, match="nokey: no such file"):
        read(tmp_path / "cert", tmp_path / "nokey")


def test_the_whole_chain_is_served(tmp_path: Path) -> None:
    leaf = self_made(tmp_path, "mx.test", NOW)
    other = self_made(tmp_path, "authority.test", NOW)
    made = context(leaf + other[other.index(b"-----BEGIN CERTIFICATE-----") :])
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # where the certificates can be seen on the wire
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = made.wrap_bio(to_server, to_client, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        ours.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        theirs.do_handshake()
    wire = to_client.read()
    assert b"mx.test" in wire and b"authority.test" in wire


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate(pem: bytes) -> None:
    with pytest.raises(CertificateError):
        context(pem)
    with pytest.raises(CertificateError):
        inspect(pem)


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    one, two = self_made(tmp_path, "one.test", NOW), self_made(tmp_path, "two.test", NOW)
    at = one.index(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(CertificateError, match="certificate and key"):
        context(one[:at] + two[two.index(b"-----BEGIN CERTIFICATE-----") :])


def test_clients_are_asked_only_with_authorities(tmp_path: Path) -> None:
    pem, authority = self_made(tmp_path, "mx.test", NOW), Authority(tmp_path)
    assert context(pem).verify_mode is ssl.CERT_NONE
    asking = context(pem, clients=authority.file.read_bytes())
    assert asking.verify_mode is ssl.CERT_OPTIONAL
    assert not asking.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    listed = context(pem, clients=authority.file.read_bytes() + authority.revoked())
    assert listed.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    for wrong in (b"nonsense", authority.revoked(), authority.issue("a@b.test").read_bytes()):
        with pytest.raises(CertificateError, match="authorities of clients"):
            inspect(pem, wrong)


def test_days_left() -> None:
    assert days_left(1000 + 86_400, 1000) == 1
    assert days_left(1000 + 86_399, 1000) == 0
    assert days_left(999, 1000) == -1
