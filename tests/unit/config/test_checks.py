"""Checks over several settings and the files they name."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pillarbox.config import Loaded, load


def loaded(**environ: object) -> Loaded:
    return load({}, {f"SMTP_{name}": str(value) for name, value in environ.items()}, config_env=None, config_toml=None)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, "one")


def write_pair(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    cert_path.write_bytes(certificate)
    key_path.write_bytes(pem)
    return cert_path, key_path


def test_a_certificate_with_its_key_is_good(pair: tuple[Path, Path]) -> None:
    outcome = loaded(ENABLE_TLS="true", TLS_CERT=pair[0], TLS_KEY=pair[1])
    assert (outcome.errors, outcome.warnings) == ((), ())


def test_missing_files_are_named(tmp_path: Path) -> None:
    outcome = loaded(TLS_CERT=tmp_path / "a", TLS_KEY=tmp_path / "b")
    assert [problem.kind for problem in outcome.errors] == ["TLSCertificateNotFound", "TLSKeyNotFound"]
    assert "no such file" in outcome.errors[0].allowed


def test_one_without_the_other(pair: tuple[Path, Path]) -> None:
    (problem,) = loaded(TLS_CERT=pair[0]).errors
    assert (problem.kind, problem.name) == ("InvalidTLSConfiguration", "SMTP_TLS_KEY")


def test_a_key_of_another_certificate(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, other = write_pair(tmp_path, "two")
    (problem,) = loaded(TLS_CERT=pair[0], TLS_KEY=other).errors
    assert problem.kind == "InvalidTLSConfiguration"


@pytest.mark.parametrize("name", ["REQUIRE_TLS", "IMAPS_PORT", "SMTPS_PORT"])
def test_what_needs_tls_is_refused_without_it(name: str) -> None:
    (problem,) = loaded(**{name: "1"}).errors
    assert problem.name == f"SMTP_{name}"
    assert "SMTP_ENABLE_TLS=true" in problem.fix


@pytest.mark.parametrize("name", ["TLS_CLIENT_CA", "DELIVERY_TLS_CA"])
def test_files_of_authorities_are_read(pair: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    assert not loaded(ENABLE_TLS="true", **{name: pair[0]}).errors
    for wrong, reason in ((tmp_path / "none", "no such file"), (pair[1], "certificates (")):
        (problem,) = loaded(ENABLE_TLS="true", **{name: wrong}).errors
        assert problem.name == f"SMTP_{name}" and reason in problem.allowed


def test_clients_have_no_certificates_without_tls(pair: tuple[Path, Path]) -> None:
    (problem,) = loaded(TLS_CLIENT_CA=pair[0]).errors
    assert problem.name == "SMTP_TLS_CLIENT_CA"


def test_a_profile_may_require_tls_while_the_operator_turns_it_off() -> None:
    assert not loaded(PROFILE="production", ENABLE_TLS="false").errors


def test_submission_without_tls_or_without_logins_is_noticed() -> None:
    assert any("nobody can log in" in text for text in loaded(SUBMISSION_PORT=587).warnings)
    assert not loaded(SUBMISSION_PORT=587, ENABLE_TLS="true").errors
    (problem,) = loaded(SUBMISSION_PORT=587, ENABLE_TLS="true", ENABLE_AUTH="false").errors
    assert (problem.kind, problem.name) == ("InvalidAuthConfiguration", "SMTP_ENABLE_AUTH")


def test_requiring_a_login_of_everybody_warns_and_needs_auth() -> None:
    assert any("from other servers is refused" in text for text in loaded(ENABLE_AUTH="1", REQUIRE_AUTH="1").warnings)
    assert not any("other servers" in text for text in loaded(PROFILE="prod").warnings)
    (problem,) = loaded(REQUIRE_AUTH="true").errors
    assert problem.kind == "InvalidAuthConfiguration"


def test_two_listeners_on_one_port() -> None:
    (problem,) = loaded(IMAP_PORT=2525).errors
    assert problem.name == "SMTP_IMAP_PORT"
    assert problem.allowed == "another port than SMTP_PORT"
    assert not loaded(PORT=0, IMAP_PORT=0).errors


def test_a_port_can_be_off() -> None:
    assert loaded(API_PORT="off").settings.api_port is None
    assert loaded().settings.imap_port is None
    assert loaded(IMAP_PORT="0").settings.imap_port == 0


def test_webhooks_need_a_url_and_a_url_turns_them_on() -> None:
    (problem,) = loaded(WEBHOOK_ENABLED="true").errors
    assert problem.kind == "InvalidWebhookConfiguration"
    assert loaded(WEBHOOK_URL="https://api.example.com/hook").settings.webhook_enabled
    assert not loaded(WEBHOOK_URL="https://api.example.com/hook", WEBHOOK_ENABLED="no").settings.webhook_enabled
    assert loaded(WEBHOOK_URL="ftp://example.com/").errors


def test_production_warns_of_what_only_fits_a_desk() -> None:
    warnings = "\n".join(loaded(PROFILE="production", ACCEPT_ALL="true", ENABLE_TLS="false").warnings)
    assert "SMTP_ACCEPT_ALL" in warnings
    assert "SMTP_DB_PATH is smtp.db" in warnings


def test_networks_and_addresses() -> None:
    networks = loaded(PROXY_NETWORKS="127.0.0.1, 10.0.0.0/8 ::1").settings.proxy_networks
    assert [str(network) for network in networks] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]
    assert loaded(PROXY_NETWORKS="10.0.0.0/33").errors
    assert loaded(HOST="localhost").settings.host == "127.0.0.1"
    assert loaded(HOST="[::]").settings.host == "::"
    assert loaded(HOST="").errors


@pytest.mark.parametrize("name", ["", "mail example", "-mail.example", "a" * 64, "mail..example", "mail.example\r\n."])
def test_names_that_no_host_has(name: str) -> None:
    (problem,) = loaded(HOSTNAME=name).errors
    assert problem.kind == "InvalidHostname"


def test_an_address_of_a_database_that_libpq_does_not_take() -> None:
    assert not loaded(DATABASE_URL="postgresql://ada:secret@db/mail").errors
    (problem,) = loaded(DATABASE_URL="postgresql://ada:sec%ret@db/mail").errors
    assert (problem.kind, problem.name) == ("InvalidDatabaseUrl", "SMTP_DATABASE_URL")
    assert "percent-encoded" in str(problem) and "%25" in problem.fix
    assert "sec" not in str(problem)


def test_a_folder_that_depends_on_where_the_server_is_started(tmp_path: Path) -> None:
    def told(**environ: object) -> list[str]:
        warnings = loaded(PROFILE="production", **environ).warnings
        return [warning.split(" ", 1)[0] for warning in warnings if "in whatever folder" in warning]

    assert told() == ["SMTP_DB_PATH"]
    assert told(DB_PATH=tmp_path / "smtp.db") == []
    assert told(DATABASE_URL="postgresql:///mail") == ["SMTP_RUNTIME_DIR"]
    assert told(DATABASE_URL="postgresql:///mail", RUNTIME_DIR=tmp_path) == []
    assert told(DATABASE_URL="postgresql:///mail", DB_PATH=tmp_path / "smtp.db") == []  # its folder is that one then
