"""`pillarbox route ADDRESS`: what would happen to a recipient, and why."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import typer

from pillarbox.cli.command_line import AsJson, Database, Refused, read
from pillarbox.cli.flags import EXIT_FAILED, UsageError
from pillarbox.cli.tables import print_done
from pillarbox.flow.explanation import Explanation, NextHop, explain
from pillarbox.smtp.address import AddressError

_LOOKED_UP = ("mx", "backup")  # kinds of route whose hosts are those of the domain


def route(
    address: Annotated[str, typer.Argument(help="A recipient.")],
    sender: Annotated[
        str | None,
        typer.Option("--from", help='The sender; one with an account counts as logged in. "" is the null sender.'),
    ] = None,
    size: Annotated[int, typer.Option(help="Octets of the message, for quotas.", min=0)] = 0,
    dns: Annotated[bool, typer.Option("--dns", help="Look up the hosts of the next hops.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """What would happen to mail for ADDRESS, step by step. Exit status 1: it would be refused."""
    recipient, sender = _alone(address), None if sender is None else _alone(sender)
    try:
        explanation = read(db, lambda tx: explain(tx, recipient, sender, size))
    except AddressError as error:
        raise UsageError(f"Error: {address!r} is no address: {error}") from None
    hosts = asyncio.run(_hosts(explanation.next_hops)) if dns and explanation.next_hops else {}
    row = _row_of(explanation, hosts)
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


def _row_of(explanation: Explanation, hosts: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "address": explanation.address,
        "sender": explanation.sender,
        "accepted": explanation.refusal is None,
        "reply": _reply(explanation),
        "steps": [step._asdict() for step in explanation.steps],
        "mailboxes": explanation.mailboxes,
        "lists": [{"address": address, "members": members} for address, members in explanation.lists],
        "next_hops": [
            hop._asdict() | ({"hosts": hosts[hop.destination]} if hop.destination in hosts else {})
            for hop in explanation.next_hops
        ],
    }


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


def _said(hop: NextHop) -> str:
    if hop.action == "discard":
        return f"{hop.address} is discarded"
    where = f"{hop.destination} ({hop.place}, TLS: {hop.tls})" if hop.place else hop.destination
    if hop.action == "hold":
        return f"{hop.address} is held; when released it goes to {where}"
    return f"to {hop.address} by {where}"


async def _hosts(hops: list[NextHop]) -> dict[str, list[str]]:
    """The hosts of each destination that has to be looked up, as lines."""
    from pillarbox.config import load
    from pillarbox.flow.mail_hosts import NoHosts, mail_hosts
    from pillarbox.session.node import resolver_for

    loaded = load({}, os.environ)
    if loaded.given is None:
        raise Refused("the settings have errors: `smtp-server --validate-only` names them")
    resolver = resolver_for(loaded.settings)
    found: dict[str, list[str]] = {}
    try:
        for hop in hops:
            looked_up = hop.kind in _LOOKED_UP or hop.destination.startswith("mx ")
            if not looked_up or hop.destination in found:
                continue
            domain, ours = hop.destination.rpartition(" ")[2], (loaded.settings.hostname,)
            try:
                hosts = await mail_hosts(resolver, domain, self_names=ours, backup=hop.kind == "backup")
                found[hop.destination] = [
                    f"{host.preference:>5} {host.name} {' '.join(host.addresses)}"
                    + (" (validated by DNSSEC)" if host.secure else "")
                    for host in hosts
                ]
            except NoHosts as error:
                found[hop.destination] = [str(error)]
    finally:
        await resolver.close()
    return found
