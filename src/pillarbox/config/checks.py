"""Checks that look at several settings together, or at the files they name."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from pillarbox.config.kinds import Value
from pillarbox.config.postgres_url import PostgresUrl, refusal
from pillarbox.config.problem import Problem
from pillarbox.config.sources import Given
from pillarbox.config.table import BY_NAME

_PORTS = (
    "port", "submission_port", "smtps_port", "imap_port", "imaps_port", "pop3_port", "pop3s_port", "lmtp_port",
    "api_port", "health_port",
)  # fmt: skip


class _Findings:
    def __init__(self, given: Mapping[str, Given], broken: frozenset[str]) -> None:
        self.given = given
        self.broken = broken
        self.errors: list[Problem] = []
        self.warnings: list[str] = []

    def knows(self, *names: str) -> bool:
        """Whether these have the values the operator meant: not a stand-in for one that was refused by itself."""
        if "SMTP_PROFILE" in self.broken and not all(name in self.given for name in names):
            return False
        return not any(name in self.broken for name in names)

    def error(self, kind: str, name: str, value: object, allowed: str, fix: str, *others: str) -> None:
        """`others` are the settings beside `name` from which the error follows."""
        if not self.knows(name, *others):
            return
        entry = self.given.get(name)
        source, line = (entry.source, entry.line) if entry else ("profile", None)
        self.errors.append(Problem(kind, name, "" if value is None else str(value), allowed, source, line, fix))


def check_together(
    values: Mapping[str, Value],
    given: Mapping[str, Given],
    files: Mapping[str, set[str]],
    broken: Collection[str] = (),
) -> tuple[list[Problem], list[str]]:
    """Errors and warnings. `values` by attribute; `given` and `files` (path -> names in it) say where they stand.

    `broken` are the names whose value was refused by itself: in `values` they have their default, and nothing is
    concluded from it.
    """
    found = _Findings(given, frozenset(broken))
    _ports(found, values)
    _tls(found, values)
    _auth(found, values)
    _dns(found, values)
    _authorities(found, values)
    _webhook(found, values)
    _database(found, values)
    _exposure(found, values)
    _secrets_in_the_open(found, files)
    return found.errors, found.warnings


def _ports(found: _Findings, values: Mapping[str, Value]) -> None:
    taken: dict[Value, str] = {}
    for attribute in _PORTS:
        name, number = f"SMTP_{attribute.upper()}", values[attribute]
        if not number:
            continue
        if number in taken:
            allowed = f"another port than {taken[number]}"
            found.error("InvalidPort", name, number, allowed, f"give {name} a port of its own", taken[number])
        taken.setdefault(number, name)


def _tls(found: _Findings, values: Mapping[str, Value]) -> None:
    cert, key = values["tls_cert"], values["tls_key"]
    certificate = "SMTP_TLS_CERT"
    readable = True
    for name, file, kind in ((certificate, cert, "Certificate"), ("SMTP_TLS_KEY", key, "Key")):
        if isinstance(file, Path) and (reason := _unreadable(file)):
            readable = False
            found.error(f"TLS{kind}NotFound", name, file, f"a file that can be read ({reason})", "correct the path")
    if (cert is None) != (key is None):
        lacking, there = ("SMTP_TLS_KEY", certificate) if key is None else (certificate, "SMTP_TLS_KEY")
        fix = f"set {lacking}, or neither"
        found.error("InvalidTLSConfiguration", lacking, None, f"set, since {there} is", fix, there)
    elif isinstance(cert, Path) and isinstance(key, Path) and readable and (wrong := _mismatch(cert, key)):
        fix = "give the certificate with its chain and the key that belongs to it, both PEM"
        found.error("InvalidTLSConfiguration", certificate, cert, f"a PEM certificate of that key ({wrong})", fix)
    if values["enable_tls"] and cert is None and key is None:
        found.warnings.append(
            "TLS is on without SMTP_TLS_CERT and SMTP_TLS_KEY: the server makes a certificate of its own, which "
            "clients will not trust"
        )
    if values["enable_tls"]:
        if values["require_tls"] and "SMTP_REQUIRE_TLS" in found.given:
            found.warnings.append(
                "SMTP_REQUIRE_TLS is set: mail from servers without TLS is refused, against RFC 3207 section 4 for a "
                "public mail exchanger; leave it to the profile to require TLS only for passwords and relaying"
            )
        return
    enable = "SMTP_ENABLE_TLS"
    for name in ("SMTP_REQUIRE_TLS", "SMTP_IMAPS_PORT", "SMTP_POP3S_PORT", "SMTP_SMTPS_PORT", "SMTP_TLS_CLIENT_CA"):
        value = values[BY_NAME[name].attribute]
        if value not in (False, None) and name in found.given:
            fix = f"set {enable}=true, or remove {name}"
            found.error("InvalidTLSConfiguration", name, value, f"unset while {enable} is false", fix, enable)


def _unreadable(file: Path) -> str:
    """Why a file cannot be read, "" when it can."""
    try:
        with file.open("rb"):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _mismatch(cert: Path, key: Path) -> str:
    """What OpenSSL says against the pair, "" when it takes them."""
    import ssl

    try:
        # An encrypted key would make OpenSSL ask on the terminal; the empty password makes it an error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        return str(error)
    return ""


def _dns(found: _Findings, values: Mapping[str, Value]) -> None:
    anchor = values["dns_trust_anchor"]
    if isinstance(anchor, Path) and (reason := _unreadable(anchor)):
        fix = "correct the path, or remove it: the root's keys are built in"
        found.error("InvalidDns", "SMTP_DNS_TRUST_ANCHOR", anchor, f"a file that can be read ({reason})", fix)


def _authorities(found: _Findings, values: Mapping[str, Value]) -> None:
    import ssl

    for name in ("SMTP_TLS_CLIENT_CA", "SMTP_DELIVERY_TLS_CA"):
        path = values[BY_NAME[name].attribute]
        if not isinstance(path, Path):
            continue
        if not (reason := _unreadable(path)):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
            except (ssl.SSLError, OSError) as error:
                reason = str(error)
        if reason:
            fix = "give a PEM file of certificates, or remove it"
            found.error(BY_NAME[name].error, name, path, f"certificates ({reason})", fix)


def _auth(found: _Findings, values: Mapping[str, Value]) -> None:
    _submission(found, values)
    name = "SMTP_REQUIRE_AUTH"
    if not values["require_auth"] or name not in found.given:
        return
    if not values["enable_auth"]:
        enable = "SMTP_ENABLE_AUTH"
        fix = f"set {enable}=true, or remove {name}"
        found.error("InvalidAuthConfiguration", name, True, f"unset while {enable} is false", fix, enable)
    found.warnings.append(
        "SMTP_REQUIRE_AUTH is set: mail from other servers is refused; leave it to the profile to require a login only "
        "for relaying"
    )


def _submission(found: _Findings, values: Mapping[str, Value]) -> None:
    enable = "SMTP_ENABLE_AUTH"
    for name in ("SMTP_SUBMISSION_PORT", "SMTP_SMTPS_PORT"):
        if values[BY_NAME[name].attribute] is None:
            continue
        if not values["enable_auth"] and enable in found.given:
            fix = f"remove {enable}: it is about the port-25 role; or remove {name}"
            found.error("InvalidAuthConfiguration", enable, False, f"unset while {name} is set", fix, name)
    if values["submission_port"] is not None and not values["enable_tls"]:
        found.warnings.append(
            "SMTP_SUBMISSION_PORT is set without SMTP_ENABLE_TLS: nobody can log in there, since no password is taken "
            "in the clear"
        )


def _webhook(found: _Findings, values: Mapping[str, Value]) -> None:
    if values["webhook_enabled"] and not values["webhook_url"]:
        fix = "set SMTP_WEBHOOK_URL, or SMTP_WEBHOOK_ENABLED=false"
        enable = "SMTP_WEBHOOK_ENABLED"
        allowed = "set while webhooks are enabled"
        found.error("InvalidWebhookConfiguration", "SMTP_WEBHOOK_URL", None, allowed, fix, enable)


def _database(found: _Findings, values: Mapping[str, Value]) -> None:
    name, url = "SMTP_DATABASE_URL", values["database_url"]
    if isinstance(url, str) and found.knows(name) and (reason := refusal(PostgresUrl(url))):
        fix = "correct it; docs/postgresql.md shows one, and in a password @ : / ? % are written %40 %3A %2F %3F %25"
        found.error("InvalidDatabaseUrl", name, None, f"a URL that PostgreSQL's libpq takes ({reason})", fix)


def _exposure(found: _Findings, values: Mapping[str, Value]) -> None:
    profile, db_path = values["profile"], values["db_path"]
    if profile not in ("staging", "production"):
        return
    if values["accept_all"]:
        found.warnings.append("SMTP_ACCEPT_ALL is on: whoever sends mail here makes mailboxes")
    name, path, such = "SMTP_DB_PATH", db_path, "/var/lib/smtp-server/smtp.db"
    if values["database_url"] is not None:
        name, path, such = "SMTP_RUNTIME_DIR", values["runtime_dir"], "/var/lib/smtp-server"
    if isinstance(path, Path) and not path.is_absolute():
        found.warnings.append(
            f"{name} is {path}, in whatever folder the server is started from; set an absolute path such as {such}"
        )


def _secrets_in_the_open(found: _Findings, files: Mapping[str, set[str]]) -> None:
    for path, names in files.items():
        secrets = sorted(name for name in names if BY_NAME[name].secret)
        if secrets and stat.S_IMODE(os.stat(path).st_mode) & stat.S_IROTH:
            found.warnings.append(
                f"{path} holds {', '.join(secrets)} and everybody on this machine can read it; chmod 640 {path}"
            )
