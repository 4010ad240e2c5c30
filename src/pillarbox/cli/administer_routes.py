"""`pillarbox routes`: where mail for elsewhere goes, other than to the MX of its domain."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any

import typer

from pillarbox.cli import accounts
from pillarbox.cli.command_line import AsJson, Database, PasswordStdin, Refused, group, read, write
from pillarbox.cli.flags import UsageError
from pillarbox.cli.secrets_input import obtain_password
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_done, print_one, print_rows
from pillarbox.store import queue, routes
from pillarbox.store.records import QueueFilter, RouteRow, RouteRule
from pillarbox.store.resolution import is_local_domain
from pillarbox.store.store import Store
from pillarbox.store.tx import Tx

app = group("Routes: smarthosts, servers behind us, backup MX, discard and hold; and what mail takes them.")

Name = Annotated[str, typer.Argument(help="The route's name.")]
Kind = Annotated[str, typer.Argument(help="mx, smarthost, lmtp, backup, discard or hold.", metavar="KIND")]
Host = Annotated[str | None, typer.Option(help="A name, an address, or the path of a socket (lmtp).")]
Port = Annotated[int | None, typer.Option(help="25; 587 with a username, 465 with --tls implicit; lmtp 24.")]
Tls = Annotated[str | None, typer.Option(help="never, may, require, verify or implicit.")]
Username = Annotated[str | None, typer.Option(help="Log in with this name.")]
Ehlo = Annotated[str | None, typer.Option(help="The name we give in EHLO.")]
Source4 = Annotated[str | None, typer.Option(help="The IPv4 address we connect from.")]
Source6 = Annotated[str | None, typer.Option(help="The IPv6 address we connect from.")]
Concurrency = Annotated[int | None, typer.Option(help="Connections at once; 0 learns it.", min=0)]
For = Annotated[str, typer.Option("--for", help="Recipients: address, domain, .parent or *.", metavar="PATTERN")]
From = Annotated[str, typer.Option("--from", help="Senders: address, domain or .parent.", metavar="PATTERN")]

_COLUMNS = ["id", "name", "kind", "host", "port", "tls", "username", "used_for"]


def _row_of(route: RouteRow, rules: list[RouteRule]) -> dict[str, Any]:
    """What is shown of a route: whether it has a password, never which."""
    return {
        "id": route.id,
        "name": route.name,
        "kind": route.kind,
        "host": route.host,
        "port": route.port,
        "tls": route.tls,
        "username": route.username,
        "has_password": bool(route.password),
        "ehlo_name": route.ehlo_name,
        "source_ipv4": route.source_ipv4,
        "source_ipv6": route.source_ipv6,
        "concurrency": route.concurrency,
        "used_for": [_said(rule) for rule in rules if rule.route_id == route.id],
        "created_at": route.created_at,
        "updated_at": route.updated_at,
    }


def _said(rule: RouteRule) -> str:
    return f"{'from ' if rule.scope == 'sender' else ''}{rule.pattern}{' (accepted)' if rule.accept else ''}"


def _show(tx: Tx, name: str) -> dict[str, Any]:
    route = routes.route_named(tx, name)
    return _row_of(route, routes.rules_of(tx, route.id))


@app.command("list")
def list_routes(db: Database = None, as_json: AsJson = False) -> None:
    """All routes and what takes them."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        rules = routes.rules(tx)
        return [_row_of(route, rules) for route in routes.routes(tx)]

    print_rows(read(db, work), _COLUMNS, as_json=as_json)


@app.command()
def show(name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """One route."""
    print_one(read(db, lambda tx: _show(tx, name)), as_json=as_json)


@app.command()
def add(
    name: Name,
    kind: Kind,
    host: Host = None,
    port: Port = None,
    tls: Tls = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
    ehlo: Ehlo = None,
    source_ipv4: Source4 = None,
    source_ipv6: Source6 = None,
    concurrency: Concurrency = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Make a route. A password comes from a pipe or a prompt; nothing takes the route until `routes use`."""
    columns = _columns(host, port, tls, username, password_stdin, ehlo, source_ipv4, source_ipv6, concurrency)
    if username:
        columns.setdefault("tls", "verify")
        columns.setdefault("port", 465 if columns["tls"] == "implicit" else 587)
    elif tls == "implicit":
        columns.setdefault("port", 465)

    def work(tx: Tx) -> dict[str, Any]:
        _check(routes.create_route(tx, name, kind, **columns))
        return _show(tx, name)

    row = write(db, work, create=True)
    print_done(f"Route {name} was made; `pillarbox routes use {name} --for ...` puts it to use", row, as_json=as_json)


@app.command("set")
def set_route(
    name: Name,
    host: Host = None,
    port: Port = None,
    tls: Tls = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
    ehlo: Ehlo = None,
    source_ipv4: Source4 = None,
    source_ipv6: Source6 = None,
    concurrency: Concurrency = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a route."""
    columns = _columns(host, port, tls, username, password_stdin, ehlo, source_ipv4, source_ipv6, concurrency)

    def work(tx: Tx) -> dict[str, Any]:
        _check(routes.set_route(tx, name, **columns))
        return _show(tx, name)

    print_done(f"Route {name} was changed", write(db, work), as_json=as_json)


@app.command()
def remove(name: Name, db: Database = None, as_json: AsJson = False) -> None:
    """Remove a route that no rule uses; what waits for it is routed anew."""

    def work(tx: Tx) -> dict[str, Any]:
        row = _show(tx, name)
        routes.delete_route(tx, name)
        return row

    row, waiting = _and_reroute(db, work)
    print_done(f"Route {name} was removed; {waiting}", row, as_json=as_json)


@app.command()
def use(
    name: Name,
    pattern: For = "",
    sender: From = "",
    accept: Annotated[bool, typer.Option("--accept", help="Strangers may send there through us.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Mail for (or from) these takes the route; it replaces the rule of before for the same."""
    scope, key = _one(pattern, sender)

    def work(tx: Tx) -> tuple[RouteRule, bool]:
        rule = routes.add_rule(tx, scope, key, name, accept=accept)
        return rule, scope == "recipient" and not accept and is_local_domain(tx, key.rpartition("@")[2])

    (rule, ours), waiting = _and_reroute(db, work)
    note = "; mail for accounts, aliases and lists here still goes to them" if ours else ""
    said = f"Mail {'from' if scope == 'sender' else 'for'} {rule.pattern} takes route {name}"
    print_done(f"{said}{note}; {waiting}", _rule_row(rule, name), as_json=as_json)


@app.command()
def unuse(pattern: For = "", sender: From = "", db: Database = None, as_json: AsJson = False) -> None:
    """Remove the rule for (or from) these."""
    scope, key = _one(pattern, sender)

    def work(tx: Tx) -> dict[str, Any]:
        wanted = routes.pattern_key(key)
        names = {route.id: route.name for route in routes.routes(tx)}
        found = [rule for rule in routes.rules(tx) if (rule.scope, rule.pattern) == (scope, wanted)]
        routes.remove_rule(tx, scope, key)
        return _rule_row(found[0], names[found[0].route_id])

    row, waiting = _and_reroute(db, work)
    print_done(f"The rule for {row['pattern']} was removed; {waiting}", row, as_json=as_json)


@app.command()
def rules(db: Database = None, as_json: AsJson = False) -> None:
    """All rules."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        names = {route.id: route.name for route in routes.routes(tx)}
        return [_rule_row(rule, names[rule.route_id]) for rule in routes.rules(tx)]

    print_rows(read(db, work), ["scope", "pattern", "route", "accept", "created_at"], as_json=as_json)


def _rule_row(rule: RouteRule, name: str) -> dict[str, Any]:
    return {
        "id": rule.id,
        "scope": rule.scope,
        "pattern": rule.pattern,
        "route": name,
        "accept": rule.accept,
        "created_at": rule.created_at,
    }


def _one(pattern: str, sender: str) -> tuple[str, str]:
    if bool(pattern) == bool(sender):
        raise UsageError("Error: give one of --for and --from")
    return ("sender", sender) if sender else ("recipient", pattern)


def _columns(
    host: str | None,
    port: int | None,
    tls: str | None,
    username: str | None,
    password_stdin: bool,
    ehlo: str | None,
    source_ipv4: str | None,
    source_ipv6: str | None,
    concurrency: int | None,
) -> dict[str, Any]:
    """The columns that were given. Raises UsageError."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "tls": tls,
        "username": username,
        "ehlo_name": ehlo,
        "source_ipv4": source_ipv4,
        "source_ipv6": source_ipv6,
        "concurrency": concurrency,
    }
    columns = {name: value for name, value in given.items() if value is not None}
    if username or password_stdin:
        columns["password"] = obtain_password(None, from_stdin=password_stdin, confirm=False)
    elif username == "":
        columns["password"] = ""
    for name, family in (("source_ipv4", IPv4Address), ("source_ipv6", IPv6Address)):
        if value := columns.get(name):
            try:
                family(value)
            except AddressValueError:
                raise UsageError(f"Error: {value} is no address for --{name.replace('_', '-')}") from None
    return columns


def _check(route: RouteRow) -> None:
    """Raises Refused where a password could be read on its way."""
    if route.username and route.tls in ("never", "may") and not _is_here(route.host):
        raise Refused(f"with --tls {route.tls} the password could travel in the clear; use verify, implicit or require")


def _is_here(host: str) -> bool:
    if host == "localhost" or host.startswith(("/", "unix:")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _and_reroute(db: Database, work: Any) -> tuple[Any, str]:
    """Carry out a change of routes; what waits in the queue is routed anew, page by page."""

    async def change(store: Store) -> tuple[Any, int]:
        done = await store.write(work)
        return done, await queue.in_pages(store, queue.reroute, QueueFilter())

    done, waiting = accounts.on_store(store_of(db), change, create=False)
    return done, f"{waiting} waiting recipient(s) are routed anew"
