"""`smtp-server`: loads the settings and runs the server, or only checks them.

Kept light: `--version` imports nothing of the server, `--validate-only` only the settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pillarbox.cli.flags import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Flag, Parsed, UsageError, complain, describe, parse
from pillarbox.cli.reader import while_read

if TYPE_CHECKING:
    from pillarbox.config import Loaded
    from pillarbox.server.inheritance import Inheritance

OnReady = Callable[[Mapping[str, int]], None]

SETTING_FLAG = Flag(
    ("--set",), "any other setting, such as SMTP_IMAPS_PORT=993; may be repeated", "NAME=VALUE", repeated=True
)
FLAGS = (
    Flag(("-h", "--help"), "this text"),
    Flag(("-v", "--version"), "the version"),
    Flag(
        ("-c", "--config"), "a TOML file with settings (default: /etc/smtp-server/config.toml if it is there)", "FILE"
    ),
    Flag(("-p", "--port"), "the SMTP port", "PORT"),
    Flag(("--host",), "the address to listen on", "ADDRESS"),
    Flag(("--log-level",), "debug, info, warn, error or critical", "LEVEL"),
    Flag(("--log-file",), "write log lines to this file too", "FILE"),
    Flag(("--max-connections",), "connections at once, all protocols together", "N"),
    Flag(("--enable-tls",), "offer STARTTLS"),
    Flag(("--disable-tls",), "do not offer it"),
    Flag(("--enable-auth",), "let accounts log in over SMTP"),
    Flag(("--disable-auth",), "do not"),
    SETTING_FLAG,
    Flag(("--validate-only",), "check the settings, start nothing; exit 0 when they are good"),
)
# Not for people: how a running server starts this program for an upgrade. One that lacks it refuses to start.
TRIAL_FLAG = Flag(("--trial",), "")

_VALUES = {
    "--config": "SMTP_CONFIG_FILE",
    "--port": "SMTP_PORT",
    "--host": "SMTP_HOST",
    "--log-level": "SMTP_LOG_LEVEL",
    "--log-file": "SMTP_LOG_FILE",
    "--max-connections": "SMTP_MAX_CONNECTIONS",
}
_SWITCHES = {"tls": "SMTP_ENABLE_TLS", "auth": "SMTP_ENABLE_AUTH"}


def usage() -> str:
    return f"""Usage: smtp-server [OPTION]...

Runs the mail server until SIGTERM or SIGINT. SIGHUP reloads settings and certificates, SIGUSR2 starts the program
that lies here now in its place (see `pillarbox upgrade`).

{describe(FLAGS)}

Settings come from these options, then SMTP_* in the environment, then /etc/smtp-server/config.env, then the TOML
file, then the profile (SMTP_PROFILE=development, testing, staging or production). docs/configuration.md has them all.
Exit status: 0 after a clean stop, 1 for an error, 2 for wrong usage."""


def version() -> str:
    from pillarbox import __version__

    return f"SMTP Server v{__version__}\nBuilt with Python {'.'.join(map(str, sys.version_info[:3]))}"


def overrides(parsed: Parsed) -> dict[str, str]:
    """The settings that the command line gives, by SMTP_ name. Raises UsageError for contradictions."""
    given: dict[str, str] = {}
    for pair in parsed.options.get("--set", []):
        name, equals, value = pair.partition("=")
        if not equals or not name.startswith("SMTP_"):
            raise UsageError(f"Error: --set takes SMTP_NAME=VALUE, not {pair}")
        given[name] = value
    given |= {name: parsed.options[flag][-1] for flag, name in _VALUES.items() if parsed.has(flag)}
    for what, name in _SWITCHES.items():
        on, off = parsed.has(f"--enable-{what}"), parsed.has(f"--disable-{what}")
        if on and off:
            raise UsageError(f"Error: --enable-{what} and --disable-{what} exclude each other")
        if on or off:
            given[name] = "true" if on else "false"
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns the exit status."""
    try:
        parsed = parse(sys.argv[1:] if argv is None else argv, (*FLAGS, TRIAL_FLAG))
        if parsed.has("--help"):
            return while_read(lambda: _say(usage()))
        if parsed.has("--version"):
            return while_read(lambda: _say(version()))
        if parsed.words:
            raise UsageError(f"Unknown argument: {parsed.words[0]}")
        given = overrides(parsed)
        if parsed.has("--validate-only"):
            return while_read(lambda: _validate(given))
        found = inherited(parsed)
    except UsageError as error:
        complain(error, "Use --help for usage information")
        return EXIT_USAGE
    return _start(given, found)


def _say(text: str) -> int:
    print(text)
    return EXIT_OK


def report(loaded: Loaded) -> None:
    """Warnings and errors of a configuration, to standard error."""
    complain(*(f"Configuration Warning: {warning}" for warning in loaded.warnings))
    if loaded.errors:
        complain(*(f"Configuration Error: {problem}" for problem in loaded.errors))
        kinds = dict.fromkeys(problem.kind for problem in loaded.errors)
        complain(f"Configuration validation failed: {', '.join(kinds)}")


def inherited(parsed: Parsed) -> Inheritance | None:
    """What a running server left to this process; None for a usual start. Raises UsageError."""
    from pillarbox.server.inheritance import Inheritance, InheritanceError

    try:
        found = Inheritance.take(os.environ)
    except InheritanceError as error:
        raise UsageError(f"Error: {error}") from error
    if parsed.has("--trial") and (found is None or found.handed is None):
        raise UsageError("Error: --trial is how a running server starts this program; use `pillarbox upgrade`")
    return found


def serve(
    again: Callable[[], Loaded],
    on_ready: OnReady | None = None,
    *,
    environ: Mapping[str, str],
    inheritance: Inheritance | None,
) -> int:
    """Run the server until it is told to stop; the exit status.

    `again` loads the settings, now and for each reload; `on_ready` gets the ports by role. `environ` is for the program
    that an upgrade starts by the command of this process.
    """
    settled = inheritance.settled() if inheritance else None
    if settled is None:
        loaded = again()
        if loaded.errors:
            report(loaded)
            return EXIT_FAILED
        settings = loaded.settings
    else:
        settings, _ = settled
    from pillarbox import server
    from pillarbox.server.program import Program

    program = Program.of_this_process(environ)
    return server.run(settings, load=again, on_ready=on_ready, program=program, inheritance=inheritance)


def _validate(given: dict[str, str]) -> int:
    from pillarbox.config import load

    loaded = load(given)
    report(loaded)
    if loaded.errors:
        return EXIT_FAILED
    print("Configuration validation successful!")
    print("All configuration values are acceptable.")
    return EXIT_OK


def _start(given: dict[str, str], inheritance: Inheritance | None) -> int:
    from pillarbox.server.reload import loader, own_environment

    return serve(loader(given, os.environ), environ=own_environment(os.environ), inheritance=inheritance)


if __name__ == "__main__":
    sys.exit(main())
