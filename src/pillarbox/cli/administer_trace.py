"""`pillarbox trace`: the story of a message, from the connection that brought it to the last attempt to send it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from pillarbox.cli import accounts
from pillarbox.cli.command_line import AsJson, Database, Refused
from pillarbox.cli.flags import UsageError
from pillarbox.cli.moments import moment
from pillarbox.cli.store_option import store_of
from pillarbox.cli.tables import print_rows
from pillarbox.flow import telling
from pillarbox.store import events as stories
from pillarbox.store import routes, tracing
from pillarbox.store.records import Event, QueueRow
from pillarbox.store.tx import Tx

_GRAVITY = {"bounced": 3, "expired": 3, "refused": 2, "deferred": 1, "held": 1, "relayed": 0}
MOST_EVENTS = 50_000  # of one message
_KEY = re.compile(r"[0-9A-HJKMNP-TV-Z]{14}(?:[0-9A-HJKMNP-TV-Z]{3})?", re.I)


class Told(msgspec.Struct):
    """What is known of one message."""

    message_key: str
    events: list[Event]
    queue: list[QueueRow]
    mailboxes: list[tracing.Entry]
    gone: list[str]  # mailboxes it was delivered to and has left
    holding: dict[int, str]  # names of routes that hold, by id


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    what: Annotated[
        str,
        typer.Argument(
            help="A message's id, the number of a queue entry, a Message-ID, or an address.", metavar="WHAT"
        ),
    ],
    db: Database = None,
    as_json: AsJson = False,
    since: Annotated[str, typer.Option(help="Look back to: 2h, 3d, or a date.", metavar="WHEN")] = "",
    limit: Annotated[int, typer.Option(help="Messages of an address.", min=1, max=1000)] = 20,
    full: Annotated[bool, typer.Option("--full", help="Of an address: the whole story of each message.")] = False,
) -> None:
    """Tell the story of a message: who brought it, where it went, each attempt, and where it is now.

    An address lists its latest messages; the id of one tells its story.
    """
    if not what.strip():
        raise UsageError("Error: name a message, an entry of the queue, or an address")
    from_ms = moment(since) * 1000
    of_address = False

    def look(tx: Tx) -> tuple[list[Told], list[tracing.Entry]]:
        nonlocal of_address
        keys, of_address = _keys(tx, what, from_ms, limit)
        kept = [] if keys or not _is_header(what) else tracing.entries_of_header(tx, _header(what))
        return [_told(tx, key) for key in keys], kept

    found, kept = accounts.read(store_of(db), look)
    if not found and not kept:
        raise Refused(f"nothing is known of {what}" + (f" since {since}" if since else ""))
    if as_json:
        print(json.dumps([_as_json(told) for told in found] or [_entry_json(entry) for entry in kept]))
    elif kept:
        print(f"Its story is not kept any more; there is a message {_header(what)}")
        print("\n".join(f"  {_place(entry)}" for entry in kept))
    elif of_address and not full:
        print_rows([_summary(told, what) for told in found], ["at", "id", "sender", "recipient", "last"], as_json=False)
    else:
        print("\n\n".join(_story(told) for told in found))


def _keys(tx: Tx, what: str, since: int, limit: int) -> tuple[list[str], bool]:
    """The ids of the messages that are meant, and whether an address means them."""
    if what.isdecimal():
        key = stories.key_of_row(tx, int(what))
        return [key] if key else [], False
    if _KEY.fullmatch(what) and stories.events_of_message(tx, what.upper(), limit=1):
        return [what.upper()], False
    marked = what.startswith("<")  # a Message-ID before an address, else the other way round
    if marked and (keys := tracing.keys_of_header(tx, what, since, limit)):
        return keys, False
    if keys := tracing.keys_of_address(tx, what.removeprefix("<").removesuffix(">"), since, limit):
        return keys, True
    return (tracing.keys_of_header(tx, _header(what), since, limit) if "@" in what and not marked else []), False


def _is_header(what: str) -> bool:
    return "@" in what or what.startswith("<")


def _header(what: str) -> str:
    return what if what.startswith("<") else f"<{what}>"


def _told(tx: Tx, key: str) -> Told:
    found: list[Event] = []
    while len(found) < MOST_EVENTS:
        page = stories.events_of_message(tx, key, 1000, found[-1].id if found else 0)
        found += page
        if len(page) < 1000:
            break
    ids = sorted({event.queue_id for event in found if event.queue_id is not None})
    told = Told(key, telling.in_order(found), tracing.queue_rows(tx, ids), [], [], routes.holding(tx))
    for event in found:
        facts = telling.facts_of(event)
        if event.kind == "delivered" and facts.get("mailbox_id"):
            entry = tracing.entry(tx, facts["mailbox_id"], facts.get("uid", 0))
            if entry is not None:
                told.mailboxes.append(entry)
            else:
                told.gone.append(event.recipient)
    return told


def _story(told: Told) -> str:
    facts = {name: value for event in told.events for name, value in telling.facts_of(event).items()}
    sender = telling.sender_of(told.events)
    lines = [f"Message {told.message_key} from {sender or '<>'}"]
    if facts.get("header_id"):
        lines[0] += f", {facts.get('size', 0)} octets"
        lines.append(f"Message-ID {facts['header_id']}")
    lines.append("")
    lines += [f"{_when(at)}  {text}" for at, text in telling.sentences(told.events)]
    now = [f"{'the report to ' if sender and not row.from_address else ''}{_row(row, told)}" for row in told.queue]
    now += [_place(entry) for entry in told.mailboxes]
    now += [f"{address}: it is not in the mailbox it was delivered to any more" for address in told.gone]
    lines += ["", "Now", *(f"  {line}" for line in now)] if now else ["", "Now", "  nothing of it is left in the queue"]
    return "\n".join(lines)


def _row(row: QueueRow, told: Told) -> str:
    words = f"{row.to_address}: in the queue as entry {row.id}, {row.status}"
    if row.status == "held" and not row.last_error and row.route_id is not None and row.route_id in told.holding:
        words += f" by route {told.holding[row.route_id]}"
    words += f", tried {row.attempts} times" if row.attempts else ""
    if row.status in ("pending", "retry") and row.next_retry_at is not None:
        words += f", next try {telling.moment(row.next_retry_at)}"
    return words + (f": {row.last_error}" if row.last_error else "")


def _place(entry: tracing.Entry) -> str:
    flags = f", {' '.join(entry.flags)}" if entry.flags else ""
    return f"{entry.username}: in mailbox {entry.mailbox}, uid {entry.uid}{flags}"


def _summary(told: Told, address: str) -> dict[str, Any]:
    """One line about a message of an address."""
    mail = [event for event in told.events if event.kind != "report"] or told.events
    first, last = told.events[0], _decisive(told, mail, address)
    recipients = list(dict.fromkeys(event.recipient for event in mail if event.recipient))
    more = f" and {len(recipients) - 1} more" if len(recipients) > 1 else ""
    shown = last.recipient or (recipients[0] if recipients else "")
    answer = telling.answer(telling.facts_of(last))
    return {
        "at": _when(first.at),
        "id": told.message_key,
        "sender": first.sender or "<>",
        "recipient": f"{shown}{more}",
        "last": f"{last.kind}{': ' + answer if answer else ''}",
    }


def _decisive(told: Told, mail: list[Event], address: str) -> Event:
    """What a line about a message says: for a recipient what came last, for its sender, and an address that stands for
    others, what went worst of all that came last for each recipient."""
    sender = telling.sender_of(told.events)
    if sender.lower() != address.lower():
        own = [event for event in mail if event.recipient.lower() == address.lower()] or mail
        if own[-1].kind != "expanded":
            return own[-1]
    lasts = {event.recipient: event for event in mail if event.sender or event.kind not in _GRAVITY}
    return max(lasts.values() or mail, key=lambda event: (_GRAVITY.get(event.kind, 0), event.at, event.id))


def _as_json(told: Told) -> dict[str, Any]:
    plain = msgspec.to_builtins(told)
    plain["events"] = [{**msgspec.to_builtins(event), "detail": telling.facts_of(event)} for event in told.events]
    plain["sentences"] = [f"{_when(at)} {text}" for at, text in telling.sentences(told.events)]
    del plain["gone"], plain["holding"]
    return dict(plain)


def _entry_json(entry: tracing.Entry) -> dict[str, Any]:
    return {"message_key": "", "events": [], "queue": [], "mailboxes": [msgspec.to_builtins(entry)], "sentences": []}


def _when(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{milliseconds % 1000:03}Z"
