"""`pillarbox domain` and `pillarbox alias`: whose mail is ours, and where it goes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pillarbox.cli.administer_users import said_of
from pillarbox.cli.command_line import AsJson, Database, Refused, group, read, write
from pillarbox.cli.flags import complain
from pillarbox.cli.tables import print_done, print_one, print_rows
from pillarbox.store import directory, quota
from pillarbox.store.addresses import domain_key
from pillarbox.store.quota import DOMAIN_ROOT, QuotaRoot
from pillarbox.store.records import Alias, Domain
from pillarbox.store.resolution import is_local_domain
from pillarbox.store.tx import Tx

domains = group("Domains whose mail is ours. The domain of any enabled account's address is one too.")
aliases = group("Addresses that lead to others.")

Name = Annotated[str, typer.Argument(help="Such as example.com.")]
Address = Annotated[str, typer.Argument(help="The address that mail is sent to.")]
CatchAll = Annotated[str, typer.Option(help="Mail for unknown addresses of the domain goes here.", metavar="ADDRESS")]


def _domain_row(domain: Domain) -> dict[str, Any]:
    return {
        "id": domain.id,
        "name": domain.name,
        "enabled": domain.enabled,
        "catch_all": domain.catch_all,
        "created_at": domain.created_at,
    }


def _alias_row(alias: Alias) -> dict[str, Any]:
    return {"id": alias.id, "address": alias.address, "target": alias.target, "created_at": alias.created_at}


def _find(tx: Tx, name: str) -> Domain:
    for domain in directory.domains(tx):
        if domain.name == domain_key(name):
            return domain
    raise Refused(f"no domain {name}")


@domains.command("list")
def list_domains(db: Database = None, as_json: AsJson = False) -> None:
    """All domains."""
    rows = [_domain_row(domain) for domain in read(db, directory.domains)]
    print_rows(rows, ["id", "name", "enabled", "catch_all", "created_at"], as_json=as_json)


@domains.command("show")
def show_domain(name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """One domain."""
    print_one(_domain_row(read(db, lambda tx: _find(tx, name))), as_json=as_json)


@domains.command("add")
def add_domain(name: Name, catch_all: CatchAll = "", db: Database = None, as_json: AsJson = False) -> None:
    """Take mail for a domain."""
    made = write(db, lambda tx: directory.create_domain(tx, name, catch_all or None), create=True)
    print_done(f"Domain {made.name} was added", _domain_row(made), as_json=as_json)


@domains.command("remove")
def remove_domain(name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """Take no more mail for it, unless an account has an address in it."""

    def work(tx: Tx) -> Domain:
        found = _find(tx, name)
        directory.delete_domain(tx, found.name)
        return found

    gone = write(db, work)
    print_done(f"Domain {gone.name} was removed", _domain_row(gone), as_json=as_json)


@domains.command("set")
def set_domain(
    name: Name,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Take its mail or refuse it.")] = None,
    catch_all: Annotated[str | None, typer.Option(help='Where unknown addresses go; "" ends it.')] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Change a domain."""

    def work(tx: Tx) -> Domain:
        return directory.set_domain(tx, _find(tx, name).name, enabled=enabled, catch_all=catch_all)

    domain = write(db, work)
    print_done(f"Domain {domain.name} was changed", _domain_row(domain), as_json=as_json)


@domains.command("quota")
def domain_quota(
    name: Name,
    megabytes: Annotated[int | None, typer.Argument(help="0 is unlimited; without it nothing changes.", min=0)] = None,
    messages: Annotated[int | None, typer.Option(help="How many messages, 0 is unlimited.", min=0)] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Limit what all accounts of a domain may keep together, or show that and what they keep."""

    def work(tx: Tx) -> QuotaRoot:
        domain = DOMAIN_ROOT + _find(tx, name).name
        before = quota.root(tx, domain)
        assert before is not None
        octets = before.storage[1] if megabytes is None else megabytes << 20
        return quota.set_limits(tx, domain, octets, before.messages[1] if messages is None else messages)

    root = write(db, work)
    shown = root.name.removeprefix(DOMAIN_ROOT)
    row = {"name": shown, "quota_used": root.storage[0], "quota_limit": root.storage[1]}
    row |= {"messages": root.messages[0], "quota_messages": root.messages[1]}
    print_done(f"The quota of {shown} is {said_of(root)}", row, as_json=as_json)


@aliases.command("list")
def list_aliases(db: Database = None, as_json: AsJson = False) -> None:
    """All aliases."""
    rows = [_alias_row(alias) for alias in read(db, directory.aliases)]
    print_rows(rows, ["id", "address", "target", "created_at"], as_json=as_json)


@aliases.command("show")
def show_alias(address: Address, db: Database = None, as_json: AsJson = False) -> None:
    """Where one address leads."""
    found = read(db, lambda tx: directory.aliases(tx, address))
    if not found:
        raise Refused(f"no alias {address}")
    print_rows([_alias_row(alias) for alias in found], ["id", "address", "target", "created_at"], as_json=as_json)


@aliases.command("add")
def add_alias(
    address: Address,
    target: Annotated[str, typer.Argument(help="Where it goes, here or elsewhere.")],
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Send mail for an address on to another; several targets are several aliases."""

    def work(tx: Tx) -> tuple[Alias, bool]:
        made = directory.add_alias(tx, address, target)
        return made, is_local_domain(tx, made.address.rpartition("@")[2])

    made, ours = write(db, work, create=True)
    print_done(f"Mail for {made.address} goes to {made.target}", _alias_row(made), as_json=as_json)
    if not ours:
        note_foreign(made.address)


def note_foreign(address: str) -> None:
    """Say that nothing sent to this new address would be taken."""
    domain = address.rpartition("@")[2]
    complain(f"Note: {domain} is not ours, so its mail is refused; `pillarbox domain add {domain}` makes it so")


@aliases.command("remove")
def remove_alias(
    address: Address,
    target: Annotated[str | None, typer.Argument(help="Only this target; all without it.")] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Remove one target of an address, or all."""
    count = write(db, lambda tx: directory.remove_alias(tx, address, target))
    print_done(f"{count} alias(es) of {address} removed", {"address": address, "removed": count}, as_json=as_json)
