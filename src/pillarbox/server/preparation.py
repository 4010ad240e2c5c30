"""Steps of the start that are the same on a reload: settings to the log, account, certificate, limits."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from pillarbox import cores
from pillarbox.config import Settings
from pillarbox.dns.unbound_library import missing_library

from . import certificates, logging
from .certificates import CertificateError, KeyPair
from .children import ChildFailed, in_child
from .privileges import NoSuchUser, RunAs, account

log = structlog.get_logger()


DATABASE, RUNTIME = "SMTP_DB_PATH", "SMTP_RUNTIME_DIR"


class StartError(Exception):
    """The server cannot start; the text is for the operator."""


def say_settings(settings: Settings) -> None:
    for warning in settings.warnings:
        log.warning(f"Configuration Warning: {warning}")
    log.info("Configuration loaded and validated successfully:")
    log.info(f"  Profile: {settings.profile}")
    log.info(f"  Host: {settings.host}:{settings.port}")
    log.info(f"  Max connections: {settings.max_connections}")
    log.info(f"  TLS enabled: {str(settings.enable_tls).lower()}")
    log.info(f"  Auth enabled: {str(settings.enable_auth).lower()}")
    log.info(f"  Max message size: {settings.max_message_size}")


def find_user(name: str | None) -> RunAs | None:
    """The account workers become; None when we are not root or nobody is named. Raises StartError."""
    if os.geteuid() != 0 or not name:
        return None
    try:
        user = account(name)
    except NoSuchUser as error:
        raise StartError(f"SMTP_USER: there is no account '{error}'. Fix: create it, or unset it") from error
    log.info(f"Workers run as {user.name}", uid=user.uid, gid=user.gid)
    return user


def make_ready(settings: Settings) -> tuple[RunAs | None, KeyPair | None]:
    """What comes before anything is made or opened; the account of the workers, and the certificate.

    Raises StartError and CertificateError.
    """
    user = find_user(settings.user)
    raise_file_limit()
    check_folders(settings)
    if user is None:
        check_writable(settings, *folders(settings))  # else the workers' account is asked, by the part that prepares
    return user, load_pair(settings)


def folders(settings: Settings) -> tuple[str, ...]:
    """The settings whose folders are used: a store on PostgreSQL has none here."""
    return (RUNTIME,) if settings.among_nodes else (DATABASE, RUNTIME)


def check_folders(settings: Settings) -> None:
    """The folders that must be there before anything is made in them. Raises StartError."""
    for name in folders(settings):
        folder = _folder(settings, name)
        if not folder.is_dir():
            fix = "correct the path, or make the folder and give it to the account of the server"
            raise StartError(f"{name} ({settings.source(name)}): there is no folder {folder.absolute()}. Fix: {fix}")


def check_writable(settings: Settings, *names: str) -> None:
    """Whether this process may write in the folders of these settings. Raises StartError."""
    for name in names:
        folder = _folder(settings, name)
        if not os.access(folder, os.W_OK | os.X_OK):
            fix = f"`chown` it to the account of the server (uid {os.geteuid()}); its unit needs it in ReadWritePaths="
            where = settings.source(name)
            raise StartError(f"{name} ({where}): {folder.absolute()} cannot be written. Fix: {fix}")


def check_resolver(settings: Settings) -> None:
    """Whether the system has the DNS library that was asked for. Raises StartError."""
    if settings.dns_engine == "unbound" and (reason := missing_library()):
        where = settings.source("SMTP_DNS_ENGINE")
        fix = "`apt install libunbound8`, or set it to auto"
        raise StartError(f"SMTP_DNS_ENGINE ({where}): libunbound cannot be used ({reason}). Fix: {fix}")


def _folder(settings: Settings, name: str) -> Path:
    return settings.db_path.parent if name == DATABASE else settings.runtime_dir


def load_pair(settings: Settings) -> KeyPair | None:
    """Certificate and key as the settings say, checked; None without TLS. Raises CertificateError."""
    if not settings.enable_tls:
        return None
    now = time.time()

    def obtain() -> dict[str, Any]:
        if settings.tls_cert is not None and settings.tls_key is not None:
            pem = certificates.read(settings.tls_cert, settings.tls_key)
        else:
            pem = certificates.self_made(settings.runtime_dir, settings.hostname, now)
        clients = certificates.read(settings.tls_client_ca) if settings.tls_client_ca is not None else b""
        return {"pem": pem, "clients": clients, **certificates.inspect(pem, clients)}

    try:
        facts = in_child(obtain)
    except ChildFailed as error:
        raise CertificateError(str(error)) from error
    return KeyPair(facts["pem"], facts["not_after"], tuple(facts["names"]), facts["clients"])


def worker_count(settings: Settings) -> int:
    """As many as configured, and no more than CPUs that we may use."""
    return max(1, min(settings.worker_threads, cores.usable()))


def configure_log(settings: Settings) -> None:
    """The log as the settings say; a file that cannot be opened costs a warning."""
    logging.configure(json=settings.log_format == "json", level=settings.log_level)
    if settings.log_file is None:
        logging.SINK.replace_file(-1)
        return
    try:
        logging.SINK.replace_file(logging.open_file(settings.log_file))
    except OSError as error:
        logging.SINK.replace_file(-1)
        log.warning(f"The log file cannot be opened: {error.strerror}", file=settings.log_file)


def raise_file_limit() -> None:
    """Use all descriptors that we are allowed; a connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
