"""The declarations agree with the attributes of `Settings`, with the documentation and with each other."""

from __future__ import annotations

import pickle
from ipaddress import ip_network
from pathlib import Path
from typing import get_type_hints

import pytest

from pillarbox.config import Settings, load
from pillarbox.config.document import document
from pillarbox.config.gather import BY_TOML
from pillarbox.config.kinds import Network
from pillarbox.config.setting import PROFILES
from pillarbox.config.table import BY_ALIAS, BY_NAME, KNOWN_LATER, SETTINGS

TYPES: dict[str, object] = {
    "boolean": bool,
    "IP address": str,
    "host name": str,
    "port": int,
    "port or off": int | None,
    "duration": int,
}
TYPES["networks"] = tuple[Network, ...]
TYPES["servers"] = TYPES["domains"] = tuple[str, ...]


def test_settings_declare_exactly_the_table() -> None:
    hints = get_type_hints(Settings)
    assert [name for name in hints if name not in ("warnings", "_sources")] == [s.attribute for s in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_attributes_have_the_type_of_their_kind(setting: object) -> None:
    declared = next(s for s in SETTINGS if s is setting)
    hint = get_type_hints(Settings)[declared.attribute]
    expected = TYPES.get(declared.kind.name)
    if expected is not None:
        assert hint == expected
    elif declared.kind.name.startswith("integer"):
        assert hint is int
    elif declared.kind.name == "path":
        assert hint in (Path, Path | None)
    else:
        assert hint in (str, str | None)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_default_is_allowed(profile: str) -> None:
    for setting in SETTINGS:
        default = setting.default_for(profile)
        if default is not None and default != ():
            text = str(default).lower() if isinstance(default, bool) else str(default)
            assert str(setting.kind.parse(text)) == str(default), setting.name


def test_names_are_unique() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(set(names)) == len(names) == len(BY_NAME)
    assert not BY_ALIAS.keys() & BY_NAME.keys()
    assert not KNOWN_LATER & (BY_NAME.keys() | BY_ALIAS.keys())
    assert len({setting.toml for setting in SETTINGS}) == len(SETTINGS)
    assert all(BY_TOML[setting.toml] is setting for setting in SETTINGS)


def test_the_contracts_toml_names_are_there() -> None:
    names = """server.host server.port server.hostname server.max_connections server.max_message_size
        server.max_recipients timeouts.connection timeouts.data timeouts.command timeouts.greeting tls.enabled
        tls.cert_path tls.key_path auth.enabled rate_limit.per_ip rate_limit.per_user rate_limit.cleanup_interval
        webhook.enabled webhook.url antispam.dnsbl antispam.greylist observability.tracing observability.service_name
        observability.json_logging"""
    assert not set(names.split()) - BY_TOML.keys()


def test_the_documentation_is_generated() -> None:
    page = Path(__file__).parents[3] / "docs" / "configuration.md"
    assert page.read_text() == document(), "run `make docs`"


def test_settings_travel_to_another_process() -> None:
    settings = Settings.of("production", port=2526, proxy_networks=(ip_network("10.0.0.0/8"),))
    there = pickle.loads(pickle.dumps(settings))
    assert vars(there) == vars(settings)
    assert there.source("SMTP_PORT") == "code"


def test_the_runbooks_configuration_is_good() -> None:
    text = """SMTP_PROFILE=production SMTP_HOST=0.0.0.0 SMTP_PORT=2525 SMTP_HOSTNAME=mail.example.com
        SMTP_MAX_CONNECTIONS=2000 SMTP_TIMEOUT_SECONDS=300 SMTP_DATA_TIMEOUT_SECONDS=600
        SMTP_COMMAND_TIMEOUT_SECONDS=300 SMTP_GREETING_TIMEOUT_SECONDS=30 SMTP_MAX_MESSAGE_SIZE=26214400
        SMTP_MAX_RECIPIENTS=100 SMTP_ENABLE_AUTH=true SMTP_DB_PATH=/var/lib/smtp-server/smtp.db SMTP_ENABLE_TLS=false
        SMTP_REQUIRE_TLS=false SMTP_ENABLE_DNSBL=true SMTP_ENABLE_GREYLIST=true SMTP_RATE_LIMIT_PER_IP=200
        SMTP_RATE_LIMIT_PER_USER=100 SMTP_RATE_LIMIT_CLEANUP_INTERVAL=3600 SMTP_ENABLE_JSON_LOGGING=true
        SMTP_ENABLE_TRACING=true SMTP_TRACING_SERVICE_NAME=smtp-prod-us-east-1 SMTP_WORKER_THREADS=16
        SMTP_DATABASE_POOL_SIZE=30 SMTP_BUFFER_POOL_SIZE=1000 SMTP_WEBHOOK_URL=https://api.example.com/webhook
        SMTP_WEBHOOK_ENABLED=true"""
    environ = dict(item.split("=", 1) for item in text.split())
    loaded = load({}, environ, config_env=None, config_toml=None)
    assert not loaded.errors
    assert {warning.split()[0] for warning in loaded.warnings if "no setting" in warning} == set()
    assert loaded.settings.runtime_dir == Path("/var/lib/smtp-server")
