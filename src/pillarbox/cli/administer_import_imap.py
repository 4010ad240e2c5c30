"""`pillarbox import imap`: an account of another server is pulled, again and again until the cut-over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pillarbox.cli import accounts
from pillarbox.cli.administer_import import Into, tell
from pillarbox.cli.administer_users import Username, find
from pillarbox.cli.command_line import AsJson, Database, PasswordStdin
from pillarbox.cli.command_line import Refused as Failed
from pillarbox.cli.flags import UsageError, complain
from pillarbox.cli.moments import span
from pillarbox.cli.secrets_input import obtain_password
from pillarbox.cli.store_option import store_of
from pillarbox.cli.transfer_progress import progress
from pillarbox.store.store import Store
from pillarbox.transfer.folder_names import fitting
from pillarbox.transfer.imap_connection import TLS, ImapConnection, Lost, Refused, Server
from pillarbox.transfer.imap_pull import Wishes, pull
from pillarbox.transfer.intake import Report

PORTS = {"implicit": 993, "starttls": 143, "none": 143}
TRIES = 5  # in a row, of connections that break
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def register(app: typer.Typer) -> None:
    app.command("imap")(imap)


def imap(
    username: Username,
    host: Annotated[str, typer.Option(help="The server to pull from.")],
    login: Annotated[str, typer.Option(help="The login there (default: the account's name here).")] = "",
    port: Annotated[int, typer.Option(help="Default: 993, or 143 without implicit TLS.", min=0, max=65535)] = 0,
    tls: Annotated[str, typer.Option(help=f"One of {', '.join(TLS)}.")] = "implicit",
    ca: Annotated[Path | None, typer.Option(help="Certificates that are trusted besides.", metavar="FILE")] = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Take any certificate.")] = False,
    password_stdin: PasswordStdin = False,
    password_file: Annotated[Path | None, typer.Option(help="A file with the password.", metavar="FILE")] = None,
    authorize: Annotated[
        str, typer.Option("--as", help="Read this account with the login of a master user.", metavar="ACCOUNT")
    ] = "",
    folders: Annotated[list[str] | None, typer.Option("--folder", help="Only this folder; may be repeated.")] = None,
    excluded: Annotated[list[str] | None, typer.Option("--exclude", help="Not this folder; may be repeated.")] = None,
    into: Into = "",
    expunge: Annotated[
        bool, typer.Option("--expunge", help="Remove here what is gone there since it was taken in.")
    ] = False,
    repeat: Annotated[str, typer.Option(help="Go on: look again after 90s, 5m, 1h.", metavar="SPAN")] = "",
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Everything of an account on another IMAP server; run again, what changed there since.

    Flags, dates, subscriptions and special folders come along; UIDs too where the mailbox here is new. What was changed
    there is changed here, what was changed here alone stays. The password is typed, or comes from a pipe or a file.
    """
    if tls not in TLS:
        raise UsageError(f"Error: --tls is one of {', '.join(TLS)}")
    pause = span(repeat)
    if repeat and pause is None:
        raise UsageError(f"Error: --repeat takes a span such as 90s, 5m or 1h, not {repeat}")
    if tls == "none" and host not in _LOOPBACK:
        complain(f"Warning: the password and all mail travel from {host} in the clear")
    server = Server(
        host,
        port or PORTS[tls],
        login or username,
        _password(password_file, from_stdin=password_stdin),
        tls,
        authorize,
        str(ca) if ca else "",
        not no_verify,
    )
    wishes = Wishes(fitting(into) if into else "", tuple(folders or ()), tuple(excluded or ()), expunge)

    async def work(store: Store) -> Report:
        user = await store.scan(find, username)
        while True:
            report = await _pass(store, user.id, server, wishes)
            if pause is None:
                return report
            _show_pass(report)
            await asyncio.sleep(pause)

    try:
        report = accounts.on_store(store_of(db), work, create=False)
    except (Lost, Refused) as error:
        raise Failed(str(error)) from error
    tell(report, as_json=as_json)


async def _pass(store: Store, user_id: int, server: Server, wishes: Wishes) -> Report:
    """One pass; a connection that breaks is opened again, and the pass goes on where it was."""
    before: list[Report] = []
    for number in range(TRIES):
        report = Report()
        try:
            connection = await ImapConnection.open(server)
            try:
                with progress(0) as show:
                    await pull(connection, store, user_id, server.source, wishes, show, report)
            finally:
                await connection.close()
            break
        except Lost as error:
            if number + 1 == TRIES:
                raise
            complain(f"{error}; once more")
            before.append(report)
            await asyncio.sleep(2**number)
    for earlier in before:  # what broken passes have stored
        for name, count in earlier.folders.items():
            if name in report.folders:
                report.folders[name].stored += count.stored
                report.folders[name].octets += count.octets
                report.folders[name].known -= count.stored
    return report


def _show_pass(report: Report) -> None:
    stored = sum(count.stored for count in report.folders.values())
    found = sum(count.found for count in report.folders.values())
    print(
        f"{found} messages there: {stored} stored, {report.flags_changed} flags changed, {report.removed} removed",
        flush=True,
    )
    for problem in report.problems:
        complain(f"Warning: {problem}")


def _password(file: Path | None, *, from_stdin: bool) -> str:
    if file is None:
        return obtain_password(None, from_stdin=from_stdin, confirm=False)
    try:
        return file.read_text("utf-8").partition("\n")[0].removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"the password cannot be read from {file}: {error}") from error
