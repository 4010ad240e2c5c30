"""`smtp-server`: version, validation, exit statuses, what it hands to the server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

import pillarbox.config
import pillarbox.server
from pillarbox.cli import smtp_server
from pillarbox.config import Settings, settings
from pillarbox.server import reload

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SMTP_")]:
        monkeypatch.delenv(name)

    def load(overrides: dict[str, str], environ: Any = None, **_: Any) -> settings.Loaded:
        return settings.load(overrides, environ, config_env=None, config_toml=None)

    monkeypatch.setattr(pillarbox.config, "load", load)
    monkeypatch.setattr(reload, "load", load)


def test_version_is_two_lines(capsys: Capture) -> None:
    assert smtp_server.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(r"SMTP Server v\d+\.\d+\.\d+\nBuilt with Python 3\.\d+\.\d+\n", out)


def test_version_imports_nothing_of_the_server() -> None:
    code = (
        "import sys; from pillarbox.cli.smtp_server import main; main(['-v']); "
        "print(sorted(m for m in sys.modules if m.startswith('pillarbox.') and '.cli' not in m)); "
        "print('asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2:] == ["[]", "False"]


def test_validate_only_says_two_lines_and_starts_nothing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PROFILE", "production")
    assert smtp_server.main(["--validate-only"]) == 0
    out, err = capsys.readouterr()
    assert out == "Configuration validation successful!\nAll configuration values are acceptable.\n"
    assert "certificate of its own" in err


def test_errors_come_all_at_once_and_exit_1(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_MAX_RECIPIENTS", "none")
    assert smtp_server.main(["--port", "70000", "--log-level", "loud", "--validate-only"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert {line.split()[2] for line in lines[:-1]} == {"SMTP_LOG_LEVEL", "SMTP_PORT", "SMTP_MAX_RECIPIENTS"}
    assert all(line.startswith("Configuration Error: SMTP_") for line in lines[:-1])
    assert "one of debug, info, warn, error, critical" in err
    assert lines[-1].startswith("Configuration validation failed: ")
    assert "InvalidPort" in lines[-1]


@pytest.mark.parametrize(
    "argv", [["--prot", "1"], ["--port"], ["stray"], ["--enable-tls", "--disable-tls"], ["--set", "PORT=1"]]
)
def test_wrong_usage_exits_2_with_a_hint(argv: list[str], capsys: Capture) -> None:
    assert smtp_server.main(argv) == 2
    assert "--help" in capsys.readouterr().err


def test_help_exits_0_and_names_every_flag(capsys: Capture) -> None:
    assert smtp_server.main(["-h"]) == 0
    out = capsys.readouterr().out
    assert all(spelling in out for flag in smtp_server.FLAGS for spelling in flag.spellings)


def test_the_server_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []

    def run(settings: Settings, **_: Any) -> int:
        seen.append(settings)
        return 7

    monkeypatch.setattr(pillarbox.server, "run", run)
    argv = ["-p", "2600", "--host", "::1", "--max-connections=5", "--enable-auth", "--set", "SMTP_IMAP_PORT=2601"]
    assert smtp_server.main(argv) == 7
    (settings,) = seen
    assert (settings.port, settings.host, settings.max_connections) == (2600, "::1", 5)
    assert settings.enable_auth
    assert settings.imap_port == 2601
    assert settings.source("SMTP_PORT") == "command line"
