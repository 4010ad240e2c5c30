"""`pillarbox` without `try` and `serve`: administration on the store, whether the server runs or not."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from pillarbox.cli import (
    accounts,
    administer_addresses,
    administer_backup,
    administer_bans,
    administer_certificates,
    administer_copy,
    administer_export,
    administer_import,
    administer_import_imap,
    administer_lists,
    administer_mailboxes,
    administer_queue,
    administer_routes,
    administer_schema,
    administer_search,
    administer_sending,
    administer_sharing,
    administer_tokens,
    administer_trace,
    administer_undelete,
    administer_upgrade,
    administer_users,
    explain_route,
)
from pillarbox.cli.accounts import NoDatabase
from pillarbox.cli.command_line import AsJson, Database, Refused, group
from pillarbox.cli.flags import EXIT_FAILED, EXIT_OK, UsageError, complain, print_in_any_locale, require_text
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done
from pillarbox.config.sources import FileError
from pillarbox.store.errors import Busy, StoreError
from pillarbox.store.opening import check_store

app = group("Pillarbox, a mail server. `pillarbox COMMAND --help` tells more.")
app.add_typer(administer_users.app, name="user")
administer_sending.register(administer_users.app)
app.add_typer(administer_tokens.app, name="token")
app.add_typer(administer_certificates.app, name="certificate")
app.add_typer(administer_addresses.domains, name="domain")
app.add_typer(administer_addresses.aliases, name="alias")
app.add_typer(administer_lists.app, name="list")
app.add_typer(administer_bans.app, name="ban")
app.add_typer(administer_routes.app, name="routes")
app.command("route")(explain_route.route)
app.command("share")(administer_sharing.share)
app.add_typer(administer_mailboxes.app, name="mailbox")
app.add_typer(administer_undelete.app, name="undelete")
app.add_typer(administer_import.app, name="import")
administer_import_imap.register(administer_import.app)
app.add_typer(administer_export.app, name="export")
app.add_typer(administer_queue.app, name="queue")
app.add_typer(administer_schema.app, name="migrate")
app.add_typer(administer_search.app, name="search")
administer_trace.register(app)
administer_backup.register(app)
administer_copy.register(app)
administer_upgrade.register(app)


def run(words: Sequence[str]) -> int:
    """Carry out one command; the exit status."""
    print_in_any_locale()
    try:
        require_text(words)
        app(list(words), prog_name="pillarbox")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else EXIT_OK
    except UsageError as error:
        complain(error)
        return 2
    except Busy as error:
        complain(f"Error: {error}: another program has been writing to it for a minute; end its transaction, try again")
        return EXIT_FAILED
    except (Refused, NoDatabase, StoreError, FileError) as error:
        complain(f"Error: {error}")
        return EXIT_FAILED
    return EXIT_OK


@app.command("try")
def try_command() -> None:
    """A mail server to play with, in a folder of its own; stays until Ctrl-C."""
    raise UsageError("Usage: pillarbox try [OPTION]...")  # it is taken before typer is there; this is for the help


@app.command()
def serve() -> None:
    """Run the server (the same as smtp-server)."""
    raise UsageError("Usage: pillarbox serve [OPTION]...")


@app.command()
def check(db: Database = None, as_json: AsJson = False) -> None:
    """Verify every invariant of the store; print what is wrong, and exit 1 if anything is. Changes nothing."""
    name = store_of(db)
    accounts.require(name)
    problems = check_store(name)
    if as_json:
        print_done("", {"database": str(name), "problems": problems}, as_json=True)
    else:
        print("\n".join(problems) or f"{name}: no problems")
    if problems:
        raise typer.Exit(EXIT_FAILED)
