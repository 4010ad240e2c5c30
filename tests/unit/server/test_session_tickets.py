"""TLS sessions go on at every context that was made of the same with the same secret, and nowhere else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from client_certificates import Authority, der_of
from pillarbox.server import session_tickets
from pillarbox.server.certificates import context
from pillarbox.session.peer import Peer
from pillarbox.session.tls import channel
from tls_sessions import connect, goes_on

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "Server")


@pytest.fixture(params=VERSIONS, ids=("1.2", "1.3"))
def client(request: pytest.FixtureRequest) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.maximum_version = request.param
    return made


def test_a_session_goes_on_at_another_context_of_the_same(authority: Authority, client: ssl.SSLContext) -> None:
    pem, secret = authority.itself().read_bytes(), session_tickets.new_secret()
    one, other = (context(pem, "1.2", tickets=secret) for _ in range(2))
    first, end = connect(client, one)
    assert not end.session_reused
    second, end = connect(client, other, first)
    assert end.session_reused
    assert goes_on(client, one, second)  # what came of it goes on too


def test_what_was_made_of_something_else_does_not_know_it(
    authority: Authority, client: ssl.SSLContext, tmp_path: Path
) -> None:
    pem, secret = authority.itself().read_bytes(), session_tickets.new_secret()
    believed = Authority(tmp_path, "Believed")
    session, _ = connect(client, context(pem, tickets=secret))
    others = (
        context(pem, tickets=session_tickets.new_secret()),  # after a reload
        context(pem),
        context(Authority(tmp_path, "Renewed").itself().read_bytes(), tickets=secret),
        context(pem, clients=believed.file.read_bytes(), tickets=secret),
        context(pem, registered=(der_of(believed.file),), tickets=secret),
    )
    assert [goes_on(client, other, session) for other in others] == [False] * len(others)


def test_registered_certificates_may_come_in_any_order(
    authority: Authority, client: ssl.SSLContext, tmp_path: Path
) -> None:
    pem, secret = authority.itself().read_bytes(), session_tickets.new_secret()
    phones = tuple(der_of(Authority(tmp_path, name).file) for name in ("Phone", "Tablet"))
    session, _ = connect(client, context(pem, registered=phones, tickets=secret))
    assert goes_on(client, context(pem, registered=phones[::-1], tickets=secret), session)
    assert not goes_on(client, context(pem, registered=phones[:1], tickets=secret), session)  # one was revoked


def test_a_resumed_session_is_no_proof_of_who_is_there(authority: Authority, client: ssl.SSLContext) -> None:
    server = context(authority.itself().read_bytes(), tickets=session_tickets.new_secret())
    session, end = connect(client, server)
    found = [_bindings(end)]
    found.append(_bindings(connect(client, server, session)[1]))
    unique = {"tls-unique"} if client.maximum_version is ssl.TLSVersion.TLSv1_2 else set()
    assert [bindings.keys() for bindings in found] == [{"tls-server-end-point"} | unique, {"tls-server-end-point"}]


def _bindings(end: ssl.SSLObject) -> Mapping[str, bytes]:
    transport = asyncio.Transport({"ssl_object": end})
    return channel(transport, Peer("192.0.2.1", 50000, "192.0.2.2")).bindings


def test_where_openssl_cannot_be_reached_contexts_have_their_own_keys(
    authority: Authority, client: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_tickets, "_control", None)
    pem, secret = authority.itself().read_bytes(), session_tickets.new_secret()
    one, other = (context(pem, tickets=secret) for _ in range(2))
    session, _ = connect(client, one)
    assert goes_on(client, one, session)
    assert not goes_on(client, other, session)


def test_keys_are_as_long_as_asked_for_and_those_of_their_secret() -> None:
    made = {
        session_tickets._derived(secret, parts, 80)
        for secret in (b"a" * 64, b"b" * 64)
        for parts in ((b"one", b"two"), (b"two", b"one"), (b"onetwo", b""), (b"onetwo",))
    }
    assert len(made) == 8 and {len(keys) for keys in made} == {80}
    longer = session_tickets._derived(b"a" * 64, (b"one", b"two"), 200)
    assert longer[:80] in made and len({longer[:64], longer[64:128], longer[128:192]}) == 3


def test_one_ticket_a_handshake(authority: Authority) -> None:
    server = context(authority.itself().read_bytes(), tickets=session_tickets.new_secret())
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    told: list[object] = []
    client._msg_callback = lambda end, direction, version, kind, what, data: told.append(what)  # type: ignore[attr-defined]
    connect(client, server)
    assert told.count(ssl._TLSMessageType.NEWSESSION_TICKET) == 1  # type: ignore[attr-defined]
