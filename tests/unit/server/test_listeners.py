"""Listening sockets on loopback: opening, sharing among workers, systemd's, stale unix sockets, conflicts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pillarbox.server.listeners import Address, Listener, ListenError, Listeners, wanted

SMTP = Address("smtp", "127.0.0.1", 0)
IMAP = Address("imap", "127.0.0.1", 0)


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    opened = Listeners()
    yield opened
    opened.close()


def settings(**changes: Any) -> Any:
    plain = {
        "host": "0.0.0.0",
        "http_host": "127.0.0.1",
        "port": 2525,
        "submission_port": None,
        "smtps_port": None,
        "imap_port": None,
        "imaps_port": None,
        "pop3_port": None,
        "pop3s_port": None,
        "lmtp_port": None,
        "lmtp_socket": None,
        "sendmail_socket": Path("/run/s"),
        "sendmail_users": "none",
        "api_port": 8080,
        "health_port": 8081,
        "enable_tls": True,
    }
    return SimpleNamespace(**plain | changes)


def test_what_settings_ask_for() -> None:
    assert [str(a) for a in wanted(settings())] == ["0.0.0.0:2525", "127.0.0.1:8080", "127.0.0.1:8081"]
    more = wanted(settings(imap_port=143, imaps_port=993, lmtp_port=24, lmtp_socket=Path("/run/l"), api_port=None))
    assert [(a.role, str(a)) for a in more] == [
        ("smtp", "0.0.0.0:2525"),
        ("imap", "0.0.0.0:143"),
        ("imaps", "0.0.0.0:993"),
        ("lmtp", "127.0.0.1:24"),
        ("health", "127.0.0.1:8081"),
        ("lmtp", "/run/l"),
    ]
    assert "imaps" not in {a.role for a in wanted(settings(imaps_port=993, enable_tls=False))}
    assert [str(a) for a in wanted(settings(sendmail_users="*")) if a.role == "sendmail"] == ["/run/s"]
    long = Path("/run", "s" * 120)
    assert "sendmail" not in {a.role for a in wanted(settings(sendmail_users="*", sendmail_socket=long))}
    both = {"submission_port": 587, "smtps_port": 465}
    assert [a.role for a in wanted(settings(**both))][1:3] == ["submission", "submissions"]
    assert "submissions" not in {a.role for a in wanted(settings(**both, enable_tls=False))}
    assert str(wanted(settings(host="::"))[0]) == "[::]:2525"


def test_one_socket_for_an_address(listeners: Listeners) -> None:
    listeners.extend([SMTP, IMAP, SMTP])
    assert [len(listener.sockets) for listener in listeners.by_address.values()] == [1, 1]
    assert listeners.ports()["smtp"] != listeners.ports()["imap"]
    assert listeners.ports()["smtp"] == listeners.by_address[SMTP].sockets[0].getsockname()[1] != 0


def test_all_workers_accept_from_it(listeners: Listeners) -> None:
    listeners.extend([SMTP])
    shares = [listeners.share(n, 3) for n in range(3)]
    assert shares[0] == shares[1] == shares[2] == [(SMTP, listeners.by_address[SMTP].sockets[0])]


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_the_workers_share_what_systemd_passed(listeners: Listeners, workers: int) -> None:
    """It may pass several sockets for one address (ReusePort=)."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    listeners.by_address[SMTP] = Listener(SMTP, sockets, passed=True)
    shares = [[sock for _, sock in listeners.share(n, workers)] for n in range(workers)]
    assert all(shares)
    assert {id(s) for share in shares for s in share} == {id(s) for s in sockets}
    if workers <= 3:
        assert sum(map(len, shares)) == 3


def test_extending_keeps_what_is_open(listeners: Listeners) -> None:
    listeners.extend([SMTP])
    old = listeners.by_address[SMTP].sockets[0]
    listeners.extend([SMTP, IMAP])
    assert listeners.by_address[SMTP].sockets == [old]
    listeners.keep([IMAP])
    assert list(listeners.by_address) == [IMAP] and old.fileno() == -1


def test_another_server_on_the_port_is_noticed(listeners: Listeners) -> None:
    other = Listeners()
    other.extend([SMTP])
    taken = Address("smtp", "127.0.0.1", other.ports()["smtp"])
    listeners.extend([IMAP])
    with pytest.raises(
        ListenError, match=r"SMTP_PORT: cannot listen on 127\.0\.0\.1:\d+: address already in use\. Fix"
    ):
        listeners.extend([IMAP, Address("api", "127.0.0.1", 0), taken])
    assert list(listeners.by_address) == [IMAP]
    assert len(listeners.by_address[IMAP].sockets) == 1
    other.close()


def test_ipv6(listeners: Listeners) -> None:
    try:
        listeners.extend([Address("smtp", "::", 0)])
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with socket.create_connection(("127.0.0.1", listeners.ports()["smtp"]), 5) as client:
        assert client.getpeername()[1] == listeners.ports()["smtp"]
    assert str(listeners.by_address[Address("smtp", "::", 0)]).startswith("[::]:")


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    address = Address("lmtp", path=str(path))
    first = Listeners((os.getuid(), os.getgid()))
    first.extend([address])
    assert path.stat().st_mode & 0o777 == 0o660
    assert first.share(0, 2)[0][1] is first.share(1, 2)[0][1]
    second = Listeners()
    with pytest.raises(ListenError, match="SMTP_LMTP_SOCKET"):
        second.extend([address])
    for sock in first.by_address[address].sockets:
        sock.close()  # as when it is killed: the file stays
    second.extend([address])
    assert second.ports() == {}
    second.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path, listeners: Listeners) -> None:
    (tmp_path / "lmtp").write_text("mine")
    with pytest.raises(ListenError, match="address already in use"):
        listeners.extend([Address("lmtp", path=str(tmp_path / "lmtp"))])
    assert (tmp_path / "lmtp").read_text() == "mine"
    with pytest.raises(ListenError, match="make the folder"):
        listeners.extend([Address("lmtp", path=str(tmp_path / "no" / "lmtp"))])


def test_sockets_of_systemd(tmp_path: Path) -> None:
    """In a child, since the descriptors have fixed numbers."""
    smtp, api = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    other = socket.create_server(("127.0.0.1", 0))
    ports = smtp.getsockname()[1], api.getsockname()[1], other.getsockname()[1]
    if not (pid := os.fork()):
        try:
            kept = [os.dup(s.fileno()) for s in (smtp, api, other)]
            for n, descriptor in enumerate(kept):
                os.dup2(descriptor, 3 + n)
            environ = {"LISTEN_FDS": "3", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "smtp:unknown:unknown"}
            listeners = Listeners()
            listeners.adopt(environ)
            listeners.extend([Address("smtp", "127.0.0.1", 25), Address("api", "127.0.0.1", ports[1])])
            good = listeners.ports() == {"smtp": ports[0], "api": ports[1]} and not environ
            good = good and all(len(listener.sockets) == 1 for listener in listeners.by_address.values())
            good = good and len(listeners.unused()) == 1 and len(listeners.share(3, 4)) == 2
            more, busy = Address("imap", "127.0.0.1", ports[2]), Address("pop3", "127.0.0.1", ports[0])
            with suppress(ListenError):
                listeners.extend([more, busy])
                good = False
            good = good and len(listeners.unused()) == 1  # what a failed reload took is there for the next
            listeners.extend([more])
            good = good and listeners.ports()["imap"] == ports[2] and not listeners.unused()
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    for sock in (smtp, api, other):
        sock.close()


def test_variables_of_systemd_for_somebody_else() -> None:
    listeners = Listeners()
    listeners.adopt({"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert listeners.unused() == []
