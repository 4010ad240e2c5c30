"""`pillarbox route ADDRESS`: what would happen to a recipient, and why."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pillarbox.cli.command_line import AsJson, Database, Refused, read
from pillarbox.cli.flags import EXIT_FAILED, UsageError
from pillarbox.cli.tables import print_done
from pillarbox.flow.explanation import Explanation, NextHop, explain
from pillarbox.smtp.address import MAX_PATH, AddressError, parse_path

if TYPE_CHECKING:
    from pillarbox.dns import Resolver

_LOOKED_UP = ("mx", "backup")  # kinds of route whose hosts are those of the domain


def route(
    address: Annotated[str, typer.Argument(help="A recipient.")],
    sender: Annotated[
        str | None,
        typer.Option("--from", help='The sender; one with an account counts as logged in. "" is the null sender.'),
    ] = None,
    size: Annotated[int, typer.Option(help="Octets of the message, for quotas.", min=0)] = 0,
    dns: Annotated[
        bool, typer.Option("--dns", help="Look up the hosts of the next hops, and the sender's policy.")
    ] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """What would happen to mail for ADDRESS, step by step. Exit status 1: it would be refused."""
    recipient, sender = _alone(address), None if sender is None else _alone(sender)
    if sender:
        try:
            parse_path(sender, max_local=MAX_PATH)
        except AddressError as error:
            raise UsageError(f"Error: --from {sender!r} is no address: {error}") from None
    try:
        explanation = read(db, lambda tx: explain(tx, recipient, sender, size))
    except AddressError as error:
        raise UsageError(f"Error: {address!r} is no address: {error}") from None
    found = asyncio.run(_looked_up(explanation)) if dns and explanation.next_hops else Found()
    row = _row_of(explanation, found)
    if as_json:
        print_done("", row, as_json=True)
    else:
        _print(explanation, row)
    if explanation.refusal is not None:
        raise typer.Exit(EXIT_FAILED)


def _alone(text: str) -> str:
    """The address of `Ada <ada@example.com>`, as it is copied out of a header."""
    name, less, address = text.strip().rpartition("<")
    return address[:-1] if less and address.endswith(">") and "@" not in name else text


class Found(NamedTuple):
    """What the DNS says: the hosts of each destination that has to be looked up, as lines; whether the sender of a
    forwarded message is rewritten, None where that is no question."""

    hosts: Mapping[str, list[str]] = MappingProxyType({})
    rewritten: bool | None = None


def _row_of(explanation: Explanation, found: Found) -> dict[str, Any]:
    row = {
        "address": explanation.address,
        "sender": explanation.sender,
        "accepted": explanation.refusal is None,
        "reply": _reply(explanation),
        "steps": [step._asdict() for step in explanation.steps],
        "mailboxes": explanation.mailboxes,
        "lists": [{"address": address, "members": members} for address, members in explanation.lists],
        "next_hops": [
            hop._asdict() | ({"hosts": found.hosts[hop.destination]} if hop.destination in found.hosts else {})
            for hop in explanation.next_hops
        ],
    }
    return row if found.rewritten is None else row | {"sender_rewritten": found.rewritten}


def _reply(explanation: Explanation) -> str:
    """What a client would be told."""
    from pillarbox.flow.refusals import REFUSED
    from pillarbox.smtp.replies import RECIPIENT_OK

    reply = RECIPIENT_OK if explanation.refusal is None else REFUSED[explanation.refusal]
    return f"{reply.code} {reply.enhanced} {reply.text}"


def _print(explanation: Explanation, row: dict[str, Any]) -> None:
    width = max((len(step.step) for step in explanation.steps), default=0) + 2
    for step in explanation.steps:
        print(f"{step.step:<{width}}{step.text}")
    print(f"{'Accepted' if explanation.refusal is None else 'Refused'}: {row['reply']}")
    for username in explanation.mailboxes:
        print(f"  into the mailbox of {username}")
    for address, members in explanation.lists:
        print(f"  to the {members} member(s) of {address}")
    for hop, shown in zip(explanation.next_hops, row["next_hops"], strict=True):
        print(f"  {_said(hop)}")
        for host in shown.get("hosts", ()):
            print(f"    {host}")
    if "sender_rewritten" in row:
        print(f"  with {'a sender of ours (SRS)' if row['sender_rewritten'] else f'the sender <{explanation.sender}>'}")


def _said(hop: NextHop) -> str:
    if hop.action == "discard":
        return f"{hop.address} is discarded"
    where = f"{hop.destination} ({hop.place}, TLS: {hop.tls})" if hop.place else hop.destination
    if hop.action == "hold":
        return f"{hop.address} is held; when released it goes to {where}"
    return f"to {hop.address} by {where}"


async def _looked_up(explanation: Explanation) -> Found:
    from pillarbox.config import load
    from pillarbox.flow.sending.senders import strict
    from pillarbox.session.node import resolver_for

    loaded = load({}, os.environ)
    if loaded.given is None:
        raise Refused("the settings have errors: `smtp-server --validate-only` names them")
    resolver = resolver_for(loaded.settings)
    try:
        hosts = await _hosts(resolver, explanation.next_hops, loaded.settings.hostname)
        origin = explanation.forwarded_from
        return Found(hosts, await strict(resolver, origin) if origin else None)
    finally:
        await resolver.close()


async def _hosts(resolver: Resolver, hops: list[NextHop], hostname: str) -> dict[str, list[str]]:
    from pillarbox.flow.mail_hosts import NoHosts, mail_hosts

    found: dict[str, list[str]] = {}
    for hop in hops:
        looked_up = hop.kind in _LOOKED_UP or hop.destination.startswith("mx ")
        if not looked_up or hop.destination in found:
            continue
        domain = hop.destination.rpartition(" ")[2]
        try:
            hosts = await mail_hosts(resolver, domain, self_names=(hostname,), backup=hop.kind == "backup")
            found[hop.destination] = [
                f"{host.preference:>5} {host.name} {' '.join(host.addresses)}"
                + (" (validated by DNSSEC)" if host.secure else "")
                for host in hosts
            ]
        except NoHosts as error:
            found[hop.destination] = [str(error)]
    return found
