"""`user-cli`: accounts from the command line, on the store itself, whether the server runs or not.

Every spelling that the documents of operators have is taken: flags, and both orders of positional arguments.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pillarbox.cli.flags import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    Flag,
    Parsed,
    UsageError,
    complain,
    describe,
    parse,
    print_in_any_locale,
    require_text,
)
from pillarbox.cli.reader import while_read

if TYPE_CHECKING:
    from pillarbox.config.postgres_url import StoreName

FLAGS = (
    Flag(("-h", "--help"), "this text"),
    Flag(
        ("--db",),
        "the database (default: SMTP_DATABASE_URL or SMTP_DB_PATH, /etc/smtp-server/config.env, ./smtp.db)",
        "PATH|URL",
    ),
    Flag(("--email",), "the e-mail address (default: the username, if it is one)", "ADDRESS"),
    Flag(
        ("--password",), "the password; everybody on this machine can see it, prefer a pipe or the prompt", "PASSWORD"
    ),
    Flag(("--password-stdin",), "read the password from standard input; the same as --password -"),
    Flag(("--admin",), "the account is an administrator's"),
    Flag(("--limit",), "list at most so many", "N"),
    Flag(("-v", "--version"), "the version"),
)

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


class CommandError(Exception):
    """The command cannot be carried out: exit 1."""


def usage() -> str:
    commands = "\n".join(f"  {command.form:<38}{command.help}" for command in COMMANDS)
    return f"""Usage: user-cli [OPTION]... COMMAND [ARGUMENT]...

{commands}

{describe(FLAGS)}

A password comes from a pipe (`... | user-cli create ada@example.com --password-stdin`) or a prompt.
Exit status: 0 when it was done, 1 when not (also: verify says no), 2 for wrong usage."""


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    return while_read(lambda: _answered(words))


def _answered(argv: Sequence[str]) -> int:
    print_in_any_locale()
    try:
        require_text(argv)
        parsed = parse(argv, FLAGS)
        if parsed.has("--help") or parsed.words[:1] == ["help"]:
            print(usage())
            return EXIT_OK
        if parsed.has("--version"):
            from pillarbox.cli.smtp_server import version

            print(version())
            return EXIT_OK
        if not parsed.words:
            raise UsageError(usage())
        command = _BY_NAME.get(parsed.words[0])
        if command is None:
            raise UsageError(f"Unknown command: {parsed.words[0]}\nUse --help for usage information")
        least, most = command.words
        words = parsed.words[1:]
        if not least <= len(words) <= most:
            raise UsageError(f"Usage: user-cli {command.form}")
        return _run(command.work, parsed, words)
    except UsageError as error:
        complain(error)
        return EXIT_USAGE
    except OSError as error:
        complain(f"Error: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        complain("Interrupted")
        return EXIT_FAILED


def _run(work: Work, parsed: Parsed, words: list[str]) -> int:
    from pillarbox.cli.store_option import store_of
    from pillarbox.config.sources import FileError

    given = parsed.value("--db") or None
    try:
        name = store_of(given)
    except FileError as error:
        complain(f"Error: {error}")
        return EXIT_FAILED
    if not given and name == Path("smtp.db") and not Path("smtp.db").exists():
        complain(f"Note: the database is {Path('smtp.db').absolute()}; set SMTP_DB_PATH or use --db for another")

    from pillarbox.cli.accounts import NoDatabase
    from pillarbox.store.errors import NotFound, StoreError

    try:
        return work(name, parsed, words)
    except NotFound:
        complain(f"Error: User '{words[0]}' not found")
        return EXIT_FAILED
    except (CommandError, NoDatabase, StoreError) as error:
        complain(f"Error: {error}")
        return EXIT_FAILED


def _create(store: StoreName, parsed: Parsed, words: list[str]) -> int:
    from pillarbox.cli import accounts
    from pillarbox.cli.secrets_input import obtain_password
    from pillarbox.store import directory
    from pillarbox.store.errors import Conflict

    username, password, email = name_password_address(words, parsed.value("--password"), parsed.value("--email"))
    password = obtain_password(password, from_stdin=parsed.has("--password-stdin"), confirm=True)
    role = "admin" if parsed.has("--admin") else "user"
    hashed, scram = _hash(password)
    try:
        made = accounts.write(
            store, lambda tx: directory.create_user(tx, username, email, hashed, scram, role=role), create=True
        )
    except Conflict as error:
        if f"{username!r} already exists" in str(error):
            raise CommandError(f"User '{username}' already exists") from error
        raise
    print("User created successfully!")
    print(f"  ID: {made.id}\n  Username: {made.username}\n  Email: {made.email}")
    return EXIT_OK


def name_password_address(words: list[str], password: str | None, email: str | None) -> tuple[str, str | None, str]:
    """Username, password (None: ask for it) and address out of positional arguments and flags.

    Documents have both `create NAME PASSWORD ADDRESS` and `create NAME ADDRESS PASSWORD`: the one that is an address
    decides, and when both are, the first order. Raises UsageError.
    """
    username, rest = words[0], words[1:]
    if email is None and rest:
        places = [place for place, word in enumerate(rest) if _ADDRESS.fullmatch(word)]
        if places:
            email = rest.pop(places[-1])
        elif len(rest) == 2:
            raise UsageError(f"Error: neither {rest[0]} nor the last argument is an e-mail address")
    if rest:
        if password is not None or len(rest) > 1:
            raise UsageError("Error: the password or the address is given twice")
        password = rest[0]
    if email is None:
        if not _ADDRESS.fullmatch(username):
            raise UsageError(f"Error: {username} is not an e-mail address; add --email ADDRESS")
        email = username
    return username, password, email


def _verify(store: StoreName, parsed: Parsed, words: list[str]) -> int:
    from pillarbox.access.passwords import PLACEHOLDER, verify
    from pillarbox.cli import accounts
    from pillarbox.store import directory

    password = _second(parsed, words, confirm=False)
    found = accounts.read(store, lambda tx: directory.user(tx, words[0]))
    matches = verify(found.password_hash if found else PLACEHOLDER, password)
    if found is None or not matches:
        print("✗ Invalid credentials")
        return EXIT_FAILED
    if not found.enabled:
        print(f"✗ Credentials are valid, but user '{words[0]}' is disabled")
        return EXIT_FAILED
    print("✓ Credentials are valid")
    return EXIT_OK


def _change_password(store: StoreName, parsed: Parsed, words: list[str]) -> int:
    _set_password(store, words[0], _second(parsed, words, confirm=True))
    print(f"Password changed successfully for user '{words[0]}'")
    return EXIT_OK


def _reset(store: StoreName, parsed: Parsed, words: list[str]) -> int:
    """Without a password given, a new one is made and shown."""
    import secrets

    if len(words) > 1 or parsed.has("--password") or parsed.has("--password-stdin"):
        return _change_password(store, parsed, words)
    password = secrets.token_hex(15)
    _set_password(store, words[0], password)
    print(f"New password of user '{words[0]}': {password}")
    return EXIT_OK


def _set_password(store: StoreName, username: str, password: str) -> None:
    from pillarbox.cli import accounts
    from pillarbox.store import directory

    hashed, scram = _hash(password)
    accounts.write(store, lambda tx: directory.set_password(tx, username, hashed, scram))


def _second(parsed: Parsed, words: list[str], *, confirm: bool) -> str:
    """The password as second argument, by flag, by pipe or by prompt."""
    from pillarbox.cli.secrets_input import obtain_password

    given = parsed.value("--password")
    if len(words) > 1:
        if given is not None:
            raise UsageError("Error: the password is given twice")
        given = words[1]
    return obtain_password(given, from_stdin=parsed.has("--password-stdin"), confirm=confirm)


def _delete(store: StoreName, _: Parsed, words: list[str]) -> int:
    from pillarbox.cli import accounts
    from pillarbox.store import directory

    accounts.write(store, lambda tx: directory.delete_user(tx, words[0]))
    print(f"User '{words[0]}' deleted successfully")
    return EXIT_OK


def _enable(store: StoreName, _: Parsed, words: list[str]) -> int:
    return _set_enabled(store, words[0], True)


def _disable(store: StoreName, _: Parsed, words: list[str]) -> int:
    return _set_enabled(store, words[0], False)


def _set_enabled(store: StoreName, username: str, enabled: bool) -> int:
    from pillarbox.cli import accounts
    from pillarbox.store import directory

    accounts.write(store, lambda tx: directory.set_enabled(tx, username, enabled))
    print(f"User '{username}' {'enabled' if enabled else 'disabled'} successfully")
    return EXIT_OK


def _set_quota(store: StoreName, _: Parsed, words: list[str]) -> int:
    from pillarbox.cli import accounts
    from pillarbox.store import directory

    megabytes = _number(words[1], "MB")
    accounts.write(store, lambda tx: directory.set_quota(tx, words[0], megabytes << 20))
    print(f"Quota of user '{words[0]}' set to {f'{megabytes} MB' if megabytes else 'unlimited'}")
    return EXIT_OK


def _info(store: StoreName, _: Parsed, words: list[str]) -> int:
    from pillarbox.cli import accounts
    from pillarbox.store import directory
    from pillarbox.store.errors import NotFound

    found = accounts.read(store, lambda tx: directory.user(tx, words[0]))
    if found is None:
        raise NotFound(words[0])
    quota = f"{found.quota_limit >> 20} MB" if found.quota_limit else "unlimited"
    share = f" ({100 * found.quota_used / found.quota_limit:.1f} %)" if found.quota_limit else ""
    print(f"ID: {found.id}")
    print(f"Username: {found.username}")
    print(f"Email: {found.email}")
    print(f"Enabled: {_word(found.enabled)}")
    print(f"Status: {'active' if found.enabled else 'disabled'}")
    print(f"Role: {found.role}")
    print(f"Created: {found.created_at}")
    print(f"Updated: {found.updated_at}")
    print(f"Last login: {found.last_login or 'never'}")
    print(f"Quota: {quota}")
    print(f"Used: {found.quota_used / (1 << 20):.1f} MB{share}")
    return EXIT_OK


def _list(store: StoreName, parsed: Parsed, _: list[str]) -> int:
    from pillarbox.cli import accounts
    from pillarbox.store import directory

    limit = _number(parsed.value("--limit") or "1000", "--limit")
    found = accounts.read(store, lambda tx: directory.users(tx, limit))
    print(f"{'ID':>6}  {'Username':<32}  {'Email':<32}  {'Enabled':<7}  Role")
    for user in found:
        print(f"{user.id:>6}  {user.username:<32}  {user.email:<32}  {_word(user.enabled):<7}  {user.role}")
    print(f"{len(found)} user(s)")
    return EXIT_OK


def _init(store: StoreName, _: Parsed, __: list[str]) -> int:
    from pillarbox.cli.accounts import make_ready

    applied = make_ready(store)
    print(f"Database initialized at {store}" if applied else f"Database at {store} is up to date")
    return EXIT_OK


def _hash(password: str) -> tuple[str, str]:
    from pillarbox.access.passwords import hash_password

    return hash_password(password)


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 13):
        raise UsageError(f"Error: {what} is a whole number, not {text}")
    return int(text)


def _word(value: bool) -> str:
    return "true" if value else "false"


Work = Callable[["StoreName", Parsed, list[str]], int]


class Command:
    """`names` are its spellings, `words` how many arguments it takes (least, most)."""

    def __init__(self, names: str, arguments: str, words: tuple[int, int], work: Work, help: str) -> None:
        self.names, self.words, self.work, self.help = names.split(), words, work, help
        self.form = f"{self.names[0]} {arguments}".rstrip()


COMMANDS = (
    Command("create add", "USERNAME [PASSWORD] [ADDRESS]", (1, 3), _create, "make an account (also: add)"),
    Command("verify", "USERNAME", (1, 2), _verify, "is this the password?"),
    Command("change-password update-password", "USERNAME", (1, 2), _change_password, "(also: update-password)"),
    Command("reset", "USERNAME", (1, 2), _reset, "make a new password and show it"),
    Command("delete", "USERNAME", (1, 1), _delete, "remove the account and its mail"),
    Command("enable", "USERNAME", (1, 1), _enable, "let it log in and receive again"),
    Command("disable", "USERNAME", (1, 1), _disable, "no login, no mail"),
    Command("info", "USERNAME", (1, 1), _info, "everything about one account"),
    Command("list", "", (0, 0), _list, "all accounts"),
    Command("set-quota", "USERNAME MB", (2, 2), _set_quota, "0 is unlimited"),
    Command("init init-db", "", (0, 0), _init, "make the database or bring its schema up to date"),
)
_BY_NAME = {name: command for command in COMMANDS for name in command.names}


if __name__ == "__main__":
    sys.exit(main())
