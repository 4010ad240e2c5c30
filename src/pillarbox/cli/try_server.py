"""`pillarbox try`: a mail server in a folder of its own, to play with or to test programs against.

Nothing under /etc is read and no account of the machine is changed. The process that sets up becomes the server's
supervisor, so its pid is the server's.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pillarbox.cli.flags import EXIT_FAILED, EXIT_OK, EXIT_USAGE, Flag, Parsed, UsageError, complain, describe, parse
from pillarbox.cli.smtp_server import SETTING_FLAG, TRIAL_FLAG, inherited, overrides, serve

if TYPE_CHECKING:
    from pillarbox.config import Loaded
    from pillarbox.server.inheritance import Inheritance

FLAGS = (
    Flag(("-h", "--help"), "this text"),
    Flag(("--data",), "where everything is kept (default: ./try-data); the same folder keeps the same accounts", "DIR"),
    Flag(("--ports-from",), "listen on N and the ports after it (default: 2525 and other unprivileged ones)", "N"),
    Flag(("--json",), "print one line of JSON when everything listens, nothing else"),
    Flag(("--accept-all",), "a test inbox: any recipient is accepted and gets a mailbox"),
    SETTING_FLAG,
)

# Port by role, in the order of `--ports-from`; roles without a listener yet keep their place.
PORTS = {
    "smtp": 2525, "submission": 2587, "submissions": 2465, "lmtp": 2424, "imap": 2143, "imaps": 2993,
    "pop3": 2110, "pop3s": 2995, "api": 8080, "health": 8081,
}  # fmt: skip
LISTENING = ("smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "api", "health")
PORT_SETTINGS = {"smtp": "SMTP_PORT", "submissions": "SMTP_SMTPS_PORT"}  # the others are named after their role
OUTSIDE = ("SMTP_CONFIG_FILE", "SMTP_LOG_FILE", "SMTP_USER")
LOCK_PATIENCE = 20.0  # seconds: workers of a killed server end their sessions first (`worker.ORPHANED`)


class TryError(Exception):
    """It cannot start; the text says what to do."""


def usage() -> str:
    return f"""Usage: pillarbox try [OPTION]...

Starts a mail server on loopback, with a certificate authority and two accounts of its own, and stays until Ctrl-C.
Settings in the environment (SMTP_*) count, as long as they do not lead out of its folder.

{describe(FLAGS)}"""


def main(argv: Sequence[str]) -> int:
    """The command; returns the exit status."""
    try:
        parsed = parse(argv, (*FLAGS, TRIAL_FLAG))
        if parsed.has("--help"):
            print(usage())
            return EXIT_OK
        if parsed.words:
            raise UsageError(f"Unknown argument: {parsed.words[0]}")
        first = _first_port(parsed.value("--ports-from"))
        chosen = overrides(parsed)
        found = inherited(parsed)
    except UsageError as error:
        complain(error, "Use --help for usage information")
        return EXIT_USAGE
    try:
        folder = Path(parsed.value("--data") or "try-data").absolute()
        return _run(parsed, folder, first, chosen, found)
    except TryError as error:
        complain(f"pillarbox try: {error}")
        return EXIT_FAILED


def _first_port(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65536 - len(PORTS)):
        raise UsageError(f"Error: --ports-from takes a number between 1 and {65536 - len(PORTS)}, not {text}")
    return int(text)


def _run(
    parsed: Parsed, folder: Path, first: int | None, chosen: Mapping[str, str], inheritance: Inheritance | None
) -> int:
    if inheritance is None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _lock(folder)
        except OSError as error:
            raise TryError(f"{folder}: {(error.strerror or str(error)).lower()}") from error
        accounts = _set_up(folder)
        ports = _ports(first)
    else:  # the lock is held and everything is there
        accounts = []
        ports = _ports(first, inheritance.ports())

    from pillarbox.config import load

    # What leads out of the folder is not taken over: files of settings, and who the server is.
    environ = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    own = _own_settings(folder, ports, accept_all=parsed.has("--accept-all")) | dict(chosen)
    defaults = {"SMTP_MAX_CONNECTIONS": "2000", "SMTP_MAX_MESSAGE_SIZE": str(100 << 20), "SMTP_LOG_LEVEL": "info"}
    own |= {name: value for name, value in defaults.items() if name not in environ and name not in own}

    def again() -> Loaded:
        return load(own, environ, config_env=None, config_toml=None)

    def ready(bound: Mapping[str, int]) -> None:
        listening = {role: bound[role] for role in PORTS if role in bound}
        facts = Facts(folder, listening, accounts, accept_all=parsed.has("--accept-all"))
        print(facts.as_json() if parsed.has("--json") else facts.as_text(), flush=True)

    return serve(again, ready, environ=os.environ, inheritance=inheritance)


def _lock(folder: Path) -> None:
    """One server a folder. The descriptor stays open, and the lock held, until the last process has ended."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)  # an upgrade's program has it too
    begun = time.monotonic()
    said = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            waited = time.monotonic() - begun
            if waited > 1 and not said:
                said = True
                complain(f"pillarbox: another server uses {folder}; waiting {LOCK_PATIENCE:.0f} s for its end")
            if waited > LOCK_PATIENCE:
                raise TryError(f"{folder} is in use by another server; stop it or choose another --data") from None
            time.sleep(0.05)


def _set_up(folder: Path) -> list[dict[str, str]]:
    from pillarbox.server.children import ChildFailed, in_child

    def work() -> list[dict[str, str]]:
        from pillarbox.cli.try_setup import set_up

        return set_up(folder)

    if not (folder / "smtp.db").exists():
        complain(f"pillarbox: making certificates and accounts in {folder}")
    try:
        made: list[dict[str, str]] = in_child(work)
        return made
    except ChildFailed as error:
        raise TryError(str(error)) from error


def _ports(first: int | None, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """A port for each role that listens; `known` are open already. Given ones must be free; of the usual ones a taken
    one is replaced."""
    known = dict(known or {})
    new = [role for role in LISTENING if role not in known]
    if first is not None:
        ports = {role: first + place for place, role in enumerate(PORTS)} | known
        for role in new:
            if why := _why_not(ports[role]):
                raise TryError(f"port {ports[role]} {why}; choose another --ports-from")
        return ports
    ports = PORTS | known
    for role in new:
        while why := _why_not(ports[role]):
            complain(f"pillarbox: port {ports[role]} {why}, trying {ports[role] + 10000} for {role}")
            ports[role] += 10000
            if ports[role] > 65535:
                raise TryError(f"no free port for {role}; use --ports-from")
    return ports


def _why_not(port: int) -> str:
    """Why nothing can listen there; "" when something can."""
    # Without SO_REUSEPORT, so that another server of ours counts as taken.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except PermissionError:
            return "needs the rights of root"
        except OSError:
            return "is taken"
    return ""


def _own_settings(folder: Path, ports: Mapping[str, int], *, accept_all: bool) -> dict[str, str]:
    settings = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_HTTP_HOST": "127.0.0.1",
        "SMTP_HOSTNAME": "mail.example.test",
        "SMTP_DB_PATH": str(folder / "smtp.db"),
        "SMTP_RUNTIME_DIR": str(folder),
        "SMTP_ENABLE_TLS": "true",
        "SMTP_ENABLE_AUTH": "true",
        "SMTP_TLS_CERT": str(folder / "server.crt"),
        "SMTP_TLS_KEY": str(folder / "server.key"),
        "SMTP_TRUST_LOOPBACK": "true",
        "SMTP_LMTP_SOCKET": "",
    }
    settings |= {PORT_SETTINGS.get(role, f"SMTP_{role.upper()}_PORT"): str(ports[role]) for role in LISTENING}
    if accept_all:
        settings["SMTP_ACCEPT_ALL"] = "true"
    return settings


class Facts:
    """What a user or a script needs to know of the running server."""

    def __init__(
        self, folder: Path, ports: Mapping[str, int], accounts: Sequence[Mapping[str, str]], *, accept_all: bool
    ) -> None:
        self.folder, self.ports, self.accounts, self.accept_all = folder, ports, accounts, accept_all

    def as_json(self) -> str:
        return json.dumps(
            {
                "ready": True,
                "pid": os.getpid(),
                "ports": dict(self.ports),
                "accounts": [dict(account) for account in self.accounts],
                "ca": str(self.folder / "ca.crt"),
                "data": str(self.folder),
            }
        )

    def as_text(self) -> str:
        """For people: what to paste into another terminal."""
        ca = shlex.quote(str(self.folder / "ca.crt"))
        first = self.accounts[0]
        login = shlex.quote(f"{first['username']}:{first['password']}")
        smtp, imaps, submissions = (self.ports[role] for role in ("smtp", "imaps", "submissions"))
        second = self.accounts[-1]["username"]
        accounts = "\n".join(f"  {account['username']}   password {account['password']}" for account in self.accounts)
        promise = f"\nAny other recipient gets a mailbox too, with the password of {first['username']}.\n"
        others = promise if self.accept_all else ""
        ports = ", ".join(f"{role} {port}" for role, port in self.ports.items())
        commands = shlex.quote(os.path.dirname(sys.executable))
        database = shlex.quote(str(self.folder / "smtp.db"))
        return f"""
Pillarbox is ready (pid {os.getpid()}). Ctrl-C stops it; everything is in {self.folder}

{accounts}
{others}
Send a message:

  printf 'From: you@example.net\\r\\nTo: {first["username"]}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' |
    curl --cacert {ca} --ssl-reqd smtp://localhost:{smtp}/client.example.net \\
         --mail-from you@example.net --mail-rcpt {first["username"]} --upload-file -

or  swaks --server localhost:{smtp} --from you@example.net --to {first["username"]}

Send as an account, anywhere:

  printf 'To: {second}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' |
    curl --cacert {ca} --user {login} smtps://localhost:{submissions}/client.example.net \\
         --mail-from {first["username"]} --mail-rcpt {second} --upload-file -

Read it:

  curl --cacert {ca} --user {login} 'imaps://localhost:{imaps}/INBOX;MAILINDEX=*'

From a script, and what became of it:

  export SMTP_DB_PATH={database} PATH={commands}:$PATH
  printf 'Subject: hello\\n\\nIt works.\\n' | sendmail {first["username"]}
  pillarbox trace {first["username"]}; pillarbox queue list

A mail program: IMAP on localhost port {imaps} with TLS; trust {ca}.
Ports: {ports}
"""
