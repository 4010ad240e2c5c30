"""`pillarbox try` up to the moment at which the server takes over, and what is printed when it is ready."""

from __future__ import annotations

import fcntl
import json
import socket
import ssl
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import pillarbox.server
from pillarbox.cli import try_server
from pillarbox.cli.try_certificates import CA_DAYS, SERVER_DAYS, ensure_certificates
from pillarbox.config import Settings

Ready = Callable[[Mapping[str, int]], None]


class Server:
    """Stands where the server would: it is ready at once and ends."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []

    def __call__(self, settings: Settings, *, load: Any, on_ready: Ready, **_: Any) -> int:
        self.settings.append(settings)
        ports = {"smtp": settings.port, "imap": settings.imap_port, "imaps": settings.imaps_port}
        ports |= {"submission": settings.submission_port, "submissions": settings.smtps_port}
        on_ready({role: port for role, port in ports.items() if port})
        assert load().settings.port == settings.port
        return 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.chdir(tmp_path)
    started = Server()
    monkeypatch.setattr(pillarbox.server, "run", started)
    return started


@pytest.fixture
def all_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server really listens here, so it does not matter who else does."""
    monkeypatch.setattr(try_server, "_why_not", lambda _: "")


@pytest.mark.usefixtures("all_free")
def test_one_line_of_json_and_the_same_accounts_again(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    base = 23000
    argv = ["--json", "--data", "mail", "--ports-from", str(base), "--accept-all"]
    assert try_server.main(argv) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    ready = json.loads(out)
    assert ready["ready"] is True
    places = {"smtp": 0, "submission": 1, "submissions": 2, "imap": 4, "imaps": 5}
    assert ready["ports"] == {role: base + place for role, place in places.items()}
    assert [account["username"] for account in ready["accounts"]] == ["ada@example.test", "bob@example.test"]
    data = Path(ready["data"])
    assert data == Path.cwd() / "mail"
    assert stat.S_IMODE((data / "accounts.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((data / "smtp.db").stat().st_mode) == 0o600

    (settings,) = server.settings
    assert settings.db_path == data / "smtp.db"
    assert settings.host == settings.http_host == "127.0.0.1"
    assert settings.accept_all and settings.trust_loopback and settings.enable_tls


@pytest.mark.usefixtures("all_free")
def test_settings_of_the_environment_count_but_do_not_lead_out(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (
        ("SMTP_DB_PATH", "/nowhere/smtp.db"),
        ("SMTP_CONFIG_FILE", "/nowhere/config.toml"),
        ("SMTP_LOG_FILE", "/nowhere/server.log"),
        ("SMTP_MAX_RECIPIENTS", "7"),
        ("SMTP_MAX_CONNECTIONS", "11"),
    ):
        monkeypatch.setenv(name, value)
    assert try_server.main(["--ports-from", "23000", "--set", "SMTP_TRUST_LOOPBACK=no"]) == 0
    (settings,) = server.settings
    assert settings.db_path == tmp_path / "try-data" / "smtp.db"
    assert settings.log_file is None
    assert (settings.max_recipients, settings.max_connections, settings.trust_loopback) == (7, 11, False)


def test_people_are_told_what_to_paste(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    accounts = [{"username": "ada@example.test", "password": "s3cret"}]
    facts = try_server.Facts(
        tmp_path / "my data", {"smtp": 2525, "submissions": 2465, "imaps": 2993}, accounts, accept_all=True
    )
    text = facts.as_text()
    assert f"--cacert '{tmp_path}/my data/ca.crt'" in text
    assert "smtp://localhost:2525/" in text
    assert "ada@example.test:s3cret" in text
    assert "smtps://localhost:2465/" in text
    assert "imaps://localhost:2993/INBOX" in text
    assert "Any other recipient gets a mailbox too, with the password of ada@example.test." in text


def test_a_usual_port_that_is_taken_is_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(try_server, "_why_not", lambda port: "is taken" if port in (2525, 12525) else "")
    assert try_server.main([]) == 0
    assert [settings.port for settings in server.settings] == [22525]
    assert "port 2525 is taken, trying 12525 for smtp" in capsys.readouterr().err


def test_a_port_that_is_taken(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert try_server.main(["--ports-from", str(taken.getsockname()[1])]) == 1
    assert "is taken; choose another --ports-from" in capsys.readouterr().err
    assert server.settings == []


def test_a_port_that_only_root_may_take(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unprivileged(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(try_server.socket, "socket", Unprivileged)
    assert try_server.main(["--ports-from", "80"]) == 1
    assert "port 80 needs the rights of root; choose another --ports-from" in capsys.readouterr().err
    assert server.settings == []


def test_a_folder_that_another_server_uses(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(try_server.time, "sleep", lambda _: None)
    seconds = iter(range(1000))
    monkeypatch.setattr(try_server.time, "monotonic", lambda: float(next(seconds)))
    (tmp_path / "try-data").mkdir()
    with (tmp_path / "try-data" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert try_server.main([]) == 1
    err = capsys.readouterr().err
    assert err.count(f"waiting {try_server.LOCK_PATIENCE:.0f} s for its end") == 1
    assert "is in use by another server; stop it or choose another --data" in err


@pytest.mark.parametrize("argv", [["--ports-from", "x"], ["--ports-from", "65535"], ["stray"], ["--jsn"]])
def test_wrong_usage(server: Server, argv: list[str]) -> None:
    assert try_server.main(argv) == 2
    assert server.settings == []


@pytest.mark.usefixtures("all_free")
def test_wrong_settings_are_all_told(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--ports-from", "23000", "--set", "SMTP_MAX_RECIPIENTS=0", "--set", "SMTP_TIMEOUT_SECONDS=x"]
    assert try_server.main(argv) == 1
    assert capsys.readouterr().err.count("Configuration Error:") == 2


def test_certificates_verify_are_kept_and_renewed(tmp_path: Path) -> None:
    ensure_certificates(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(first) == ["ca.crt", "ca.key", "server.crt", "server.key"]
    assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in ("ca.key", "server.key"))
    ensure_certificates(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first

    ensure_certificates(tmp_path, datetime.now(UTC) + timedelta(days=SERVER_DAYS - 20))
    assert (tmp_path / "ca.crt").read_bytes() == first["ca.crt"]
    assert (tmp_path / "server.crt").read_bytes() != first["server.crt"]
    ensure_certificates(tmp_path, datetime.now(UTC) + timedelta(days=CA_DAYS))
    assert (tmp_path / "ca.crt").read_bytes() != first["ca.crt"]


@pytest.mark.parametrize("name", ["localhost", "mail.example.test", "127.0.0.1", "::1"])
def test_a_strict_client_takes_the_certificate(tmp_path: Path, name: str) -> None:
    ensure_certificates(tmp_path)
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    here = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    here.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = here.wrap_bio(to_client, to_server, server_hostname=name)
    server = there.wrap_bio(to_server, to_client, server_side=True)
    done = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    assert done == {client, server}


def test_a_half_written_pair_is_made_again(tmp_path: Path) -> None:
    ensure_certificates(tmp_path)
    (tmp_path / "server.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    (tmp_path / "ca.key").write_text("nonsense")
    ensure_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    assert context.cert_store_stats()["x509"] == 0
