"""What a setting says of itself is true: one that works is read somewhere, one of a later feature nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pillarbox
from pillarbox.config.setting import Setting
from pillarbox.config.table import SETTINGS

# Read by the settings themselves, which other rooms see in another attribute.
THROUGH = {
    "SMTP_PROFILE": "profile",
    "SMTP_CONFIG_FILE": "config_file",
    "SMTP_REQUIRE_TLS": "refuse_cleartext_strangers",
    "SMTP_TLS_MIN_VERSION": "exchanger_tls_min_version",
    "SMTP_ENABLE_JSON_LOGGING": "log_format",
    "SMTP_DEBUG": "log_level",
    "SMTP_DATABASE_URL": "store",
}


@pytest.fixture(scope="module")
def code() -> str:
    root = Path(pillarbox.__file__).parent
    return "\n".join(path.read_text() for path in root.rglob("*.py") if path.parent.name != "config")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_effects(setting: Setting, code: str) -> None:
    attribute = THROUGH.get(setting.name, setting.attribute)
    if setting.name in ("SMTP_PROFILE", "SMTP_CONFIG_FILE"):
        assert setting.effect == "now"
        return
    is_read = re.search(rf"(settings|configured|new|old|\bs)\.{attribute}\b", code) is not None
    assert is_read == (setting.effect == "now")
