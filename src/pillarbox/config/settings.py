"""The settings of a server, and how they are loaded: command line over environment over files over profile.

    loaded = load({"SMTP_PORT": "2525"}, os.environ)
    if loaded.errors: …                       # all of them at once, each with its source, value and fix
    loaded.settings.max_connections           # typed attributes, lower case without SMTP_
    loaded.settings.source("SMTP_PORT")       # "command line"

Only this room reads the environment and files of settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pillarbox.config.checks import check_together
from pillarbox.config.gather import Gathered, gather
from pillarbox.config.kinds import Network, Value
from pillarbox.config.locate_sendmail import FOLDER, SOCKET
from pillarbox.config.postgres_url import PostgresUrl, StoreName
from pillarbox.config.problem import Problem
from pillarbox.config.sources import CONFIG_ENV, CONFIG_TOML
from pillarbox.config.table import SETTINGS

PROFILE_SOURCE = "profile"
PATHS = tuple(setting.attribute for setting in SETTINGS if setting.kind.name == "path")


class Settings:
    """All settings, immutable; the attributes are declared and explained in `table.py`.

    `warnings` are sentences for the operator, which the server logs at start.
    """

    profile: str
    config_file: Path | None
    host: str
    port: int
    hostname: str
    max_connections: int
    connections_per_ip: int
    max_message_size: int
    max_recipients: int
    worker_threads: int
    worker_cores: str
    memory_budget: int
    disk_reserve: int
    runtime_dir: Path
    proxy_networks: tuple[Network, ...]
    trust_loopback: bool
    accept_all: bool
    maintenance: bool
    user: str | None
    imap_port: int | None
    imaps_port: int | None
    pop3_port: int | None
    pop3s_port: int | None
    pop3_exclusive: bool
    imap_save_limit: int
    imap_unauthenticate: bool
    lmtp_port: int | None
    lmtp_socket: Path | None
    sendmail_socket: Path
    sendmail_users: str
    api_port: int | None
    health_port: int | None
    http_host: str
    submission_port: int | None
    smtps_port: int | None
    timeout_seconds: int
    data_timeout_seconds: int
    command_timeout_seconds: int
    greeting_timeout_seconds: int
    enable_tls: bool
    require_tls: bool
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    tls_min_version: str
    enable_auth: bool
    require_auth: bool
    db_path: Path
    database_pool_size: int
    buffer_pool_size: int
    database_url: str | None
    undelete_days: int
    quota_full: str
    quota_warnings: str
    rate_limit_per_ip: int
    rate_limit_per_user: int
    rate_limit_window_seconds: int
    rate_limit_cleanup_interval: int
    ban_failures: int
    ban_seconds: int
    ban_never: tuple[Network, ...]
    submission_show_client: bool
    submission_max_priority: int
    future_release_max: int
    messages_per_hour: int
    messages_per_day: int
    recipients_per_hour: int
    recipients_per_day: int
    new_recipients_per_hour: int
    enable_dnsbl: bool
    enable_greylist: bool
    enable_spam_filter: bool
    enable_virus_scan: bool
    webhook_url: str | None
    webhook_enabled: bool
    enable_json_logging: bool
    log_format: str
    log_level: str
    log_file: Path | None
    debug: bool
    enable_metrics: bool
    enable_tracing: bool
    tracing_service_name: str
    dns_servers: tuple[str, ...]
    dns_engine: str
    dns_timeout_seconds: int
    dns_trust_anchor: Path | None
    dns_insecure_zones: tuple[str, ...]
    queue_batch_size: int
    queue_flush_interval_ms: int
    max_retry_attempts: int
    retry_delay_seconds: int
    retry_schedule: str
    queue_lifetime: int
    report_lifetime: int
    delay_report_after: int
    queue_connections: int
    destination_connections: int
    circuit_breaker_threshold: int
    circuit_breaker_timeout_seconds: int
    pickup_dir: Path
    trace_days: int
    dead_letter_days: int
    enable_io_uring: bool
    delivery_connect_timeout_seconds: int
    delivery_command_timeout_seconds: int
    delivery_data_timeout_seconds: int
    delivery_block_timeout_seconds: int
    delivery_end_timeout_seconds: int
    delivery_tls_ca: Path | None

    def __init__(
        self, values: Mapping[str, Value], sources: Mapping[str, str] | None = None, warnings: tuple[str, ...] = ()
    ) -> None:
        """`values` by attribute, complete; `sources` by SMTP_ name for those that no profile gave."""
        settle(values := dict(values), given := dict(sources or {}))
        self.__dict__.update(values, _sources=given, warnings=warnings)

    warnings: tuple[str, ...]
    _sources: dict[str, str]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings do not change; use replace({name}=…)")

    @classmethod
    def of(cls, profile: str = "development", **changes: Value) -> Self:
        """The defaults of a profile with some changes by attribute (their source is "code"); for tests and `try`."""
        values: dict[str, Value] = {setting.attribute: setting.default_for(profile) for setting in SETTINGS}
        values["profile"] = profile
        if unknown := changes.keys() - values.keys():
            raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
        return cls(values | changes, {f"SMTP_{name.upper()}": "code" for name in changes})

    def replace(self, **changes: Value) -> Self:
        """The same settings with some changes by attribute."""
        values: dict[str, Value] = {setting.attribute: getattr(self, setting.attribute) for setting in SETTINGS}
        sources = self._sources | {f"SMTP_{name.upper()}": "code" for name in changes}
        return type(self)(values | changes, sources, self.warnings)

    def source(self, name: str) -> str:
        """Who gave `SMTP_…`: "command line", "environment", the path of a file, "code" or "profile"."""
        return self._sources.get(name, PROFILE_SOURCE)

    def explicit(self, name: str) -> bool:
        return name in self._sources

    @property
    def store(self) -> StoreName:
        """Where mail, accounts and the queue are: the SQLite file, unless there is a PostgreSQL database."""
        return self.db_path if self.database_url is None else PostgresUrl(self.database_url)

    @property
    def among_nodes(self) -> bool:
        """Whether other machines may have the store too."""
        return self.database_url is not None

    @property
    def disk(self) -> Path:
        """Something on the disk that mail may fill."""
        return self.runtime_dir if self.among_nodes else self.db_path

    @property
    def refuse_cleartext_strangers(self) -> bool:
        """Mail from strangers before TLS is refused: only when the operator said so (RFC 3207 section 4)."""
        return self.require_tls and self.explicit("SMTP_REQUIRE_TLS")

    @property
    def cleartext_loopback(self) -> bool:
        """Programs on this machine may log in before TLS: only when the operator turned SMTP_REQUIRE_TLS off."""
        return not self.require_tls and self.explicit("SMTP_REQUIRE_TLS")

    @property
    def exchanger_tls_min_version(self) -> str:
        """The oldest TLS of the port-25 role: 1.2 unless the operator set another."""
        return self.tls_min_version if self.explicit("SMTP_TLS_MIN_VERSION") else "1.2"

    def __repr__(self) -> str:
        return f"Settings(profile={self.profile!r}, {len(self._sources)} given)"


def settle(values: dict[str, Value], sources: Mapping[str, str]) -> None:
    """Fill in what follows from other settings, in place."""
    for attribute in PATHS:
        if isinstance(text := values[attribute], str):
            values[attribute] = Path(text)
    if _nearness(sources.get("SMTP_DB_PATH")) < _nearness(sources.get("SMTP_DATABASE_URL")):
        values["database_url"] = None  # a file that the environment names goes before a URL of the machine's settings
    db_path = values["db_path"]
    if values["runtime_dir"] is None and isinstance(db_path, Path):
        values["runtime_dir"] = db_path.parent
    runtime_dir = values["runtime_dir"]
    for attribute, name in (("sendmail_socket", SOCKET), ("pickup_dir", FOLDER)):
        if values[attribute] is None and isinstance(runtime_dir, Path):
            values[attribute] = runtime_dir / name
    if values["log_format"] is None:
        values["log_format"] = "json" if values["enable_json_logging"] else "text"
    if values["debug"] and "SMTP_LOG_LEVEL" not in sources:
        values["log_level"] = "debug"
    if values["webhook_url"] and "SMTP_WEBHOOK_ENABLED" not in sources:
        values["webhook_enabled"] = True


def _nearness(source: str | None) -> int:
    """Of who gives a setting: the lower goes first."""
    return {"code": 0, "command line": 0, "environment": 1, None: 3}.get(source, 2)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of `load`. `settings` is there only when there are no errors."""

    given: Settings | None
    warnings: tuple[str, ...]
    errors: tuple[Problem, ...]

    @property
    def settings(self) -> Settings:
        if self.given is None:
            raise ValueError("a configuration with errors has no settings")
        return self.given


def load(
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    config_env: str | None = CONFIG_ENV,
    config_toml: str | None = CONFIG_TOML,
) -> Loaded:
    """Settings from everywhere, checked; never raises for an operator's error.

    `overrides` are SMTP_ names from the command line. `config_env` and `config_toml` are the files read when they are
    there (None: not looked at); a file named by SMTP_CONFIG_FILE must be there.
    """
    gathered = gather(overrides or {}, os.environ if environ is None else environ, config_env, config_toml)
    values = {setting.attribute: gathered.value(setting) for setting in SETTINGS}
    sources = {name: given.source for name, given in gathered.given.items()}
    settle(values, sources)
    broken = {problem.name for problem in gathered.errors}
    if any(problem.kind == "InvalidConfigFile" for problem in gathered.errors):
        broken.add("SMTP_PROFILE")  # who knows what it said
    errors, warnings = check_together(values, gathered.given, config_files(gathered), broken)
    warnings = [*gathered.warnings, *warnings]
    if errors := [*gathered.errors, *errors]:
        return Loaded(None, tuple(warnings), tuple(errors))
    return Loaded(Settings(values, sources, tuple(warnings)), tuple(warnings), ())


def config_files(gathered: Gathered) -> dict[str, set[str]]:
    """The files that were read, each with the names it gives."""
    files: dict[str, set[str]] = {}
    for given in gathered.all_given:
        if given.line is not None:
            files.setdefault(given.source, set()).add(given.name)
    return files
