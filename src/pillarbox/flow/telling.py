"""The story of a message in sentences, from its events; see `story` for the facts they carry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pillarbox.store.records import Event

# Facts that have a place in a sentence; any other is shown by its name behind it.
_CLIENT = {"peer", "hello", "tls", "user", "via", "size", "header_id"}
_ANSWER = {"stage", "code", "enhanced", "text", "host", "address"}
_PLACE = {"mailbox", "mailbox_id", "uid", "destination", "list_or_alias", "not_before"}
_ATTEMPT = {"next_at", "tries", "began", "reported", "about", "mail_from", "operator"}
_TOLD = _CLIENT | _ANSWER | _PLACE | _ATTEMPT
_TRIES = frozenset({"relayed", "deferred", "bounced", "expired"})
# Their events say of which sender their entry is: the null sender is that of a report.
_OF_ENTRIES = _TRIES | {"held", "released", "moved", "retried", "deleted", "forgotten"}
_HERE = frozenset(
    {"accepted", "expanded", "delivered", "queued", "held", "refused"}
)  # kinds that may carry who brought it
_AFTER = {"GREETING": "greeting", "HELLO": "EHLO", "END": "end of data"}
_KINDS = {
    "failed": "a failure",
    "delayed": "a delay",
    "delivered": "the delivery",
    "relayed": "the relaying",
    "expanded": "the passing on",
}


def facts_of(event: Event) -> dict[str, Any]:
    """The detail of an event; empty for what cannot be read."""
    try:
        facts = json.loads(event.detail) if event.detail else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def in_order(events: Sequence[Event]) -> list[Event]:
    """By the time when it happened; batches were written later."""
    return sorted(events, key=lambda event: (event.at, event.id))


def sentences(events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """(milliseconds, sentence) of the events of one message and of the reports on it."""
    own = sender_of(events)
    for event in in_order(events):
        facts = facts_of(event)
        if own and not event.sender and event.queue_id is not None and event.kind in _OF_ENTRIES:
            yield event.at, f"the report: {sentence(event, facts)}{_rest(facts)}"
            continue
        if event.kind in _HERE - {"refused"} and facts.get("peer"):
            yield event.at, f"accepted from {came(facts)}"
            if event.kind == "accepted":
                continue
        yield event.at, sentence(event, facts) + _rest(facts)


def sender_of(events: Sequence[Event]) -> str:
    """Of the message; "" for the null sender."""
    return next((event.sender for event in in_order(events) if event.sender and event.kind != "report"), "")


def sentence(event: Event, facts: Mapping[str, Any]) -> str:
    """One event, without the facts that no sentence of its kind has."""
    to = event.recipient
    match event.kind:
        case "refused":
            what = f"the recipient {to}" if to else "the sender" if facts.get("stage") == "MAIL" else "the message"
            by = f"; it came from {came(facts)}" if facts.get("peer") else ""
            return f"refused {what}: {answer(facts)}{by}"
        case "delivered":
            return f"delivered to {to}, mailbox {facts.get('mailbox', 'INBOX')}"
        case "queued" | "held":
            through = f" through {facts['list_or_alias']}" if facts.get("list_or_alias") else ""
            where = f" to {facts['destination']}" if facts.get("destination") else ""
            later = f", not before {moment(facts['not_before'])}" if facts.get("not_before") else ""
            verb = "queued" if event.kind == "queued" else "held"
            why = f": {facts['text']}" if facts.get("text") else ""
            by = f" by {facts['operator']}" if facts.get("operator") else ""
            return f"{verb} for {to}{through}{where}{_entry(event)}{later}{by}{why}" if to else f"{verb}{by}{why}"
        case "expanded":
            return f"taken for {to}, which leads elsewhere"
        case "report":
            return f"a report about {_KINDS.get(facts.get('about', 'failed'), 'it')} went to {to}"
        case kind if kind in _TRIES:
            return _tried(event, facts)
        case kind:
            whom = f" for {to}" if to else ""
            by = f" by {facts['operator']}" if facts.get("operator") else ""
            where = f" to {facts['destination']}" if facts.get("destination") else ""
            why = f": {answer(facts)}" if facts.get("text") else ""
            return f"{kind}{whom}{where}{_entry(event)}{by}{why}"


def _tried(event: Event, facts: Mapping[str, Any]) -> str:
    number = f", try {facts['tries']}" if facts.get("tries") else ""
    at = f" at {facts['host']}" if facts.get("host") else ""
    at += f" [{facts['address']}]" if facts.get("address") else ""
    talked = at and facts.get("stage") != "CONNECT"
    secured = f", {facts['tls']}" if facts.get("tls") else ", in the clear" if talked else ""
    told = ", its sender was told" if facts.get("reported") else ""
    words = f"{at}{secured}{number}: {answer(facts)}"
    match event.kind:
        case "relayed":
            return f"sent to {event.recipient}{words}{told}"
        case "deferred":
            next_try = f"; next try {moment(facts['next_at'])}" if facts.get("next_at") else ""
            return f"not yet sent to {event.recipient}{words}{next_try}{told}"
        case "expired":
            return f"given up for {event.recipient} by its age{words}{told or ', nobody was told'}"
        case _:
            return f"given up for {event.recipient}{words}{told or ', nobody was told'}"


def answer(facts: Mapping[str, Any]) -> str:
    """The words that decided."""
    said = " ".join(str(facts[name]) for name in ("code", "enhanced", "text") if facts.get(name))
    stage = facts.get("stage", "")
    return f"{said} (after {_AFTER.get(stage, stage)})" if stage and stage not in ("POLICY", "DNS") else said


def came(facts: Mapping[str, Any]) -> str:
    """Who brought the message, and how."""
    hello = f" ({facts['hello']})" if facts.get("hello") and facts["hello"] != facts["peer"] else ""
    via = f" by {facts['via']}" if facts.get("via") else ""
    user = f", logged in as {facts['user']}" if facts.get("user") else ""
    if facts["peer"] == "local" or facts["peer"].startswith("uid "):
        secured = ""
    else:
        secured = f", {facts['tls']}" if facts.get("tls") else ", in the clear"
    return f"{facts['peer']}{hello}{via}{secured}{user}"


def moment(epoch: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _entry(event: Event) -> str:
    return f" (entry {event.queue_id})" if event.queue_id is not None else ""


def _rest(facts: Mapping[str, Any]) -> str:
    rest = [f"{name} {value}" for name, value in facts.items() if name not in _TOLD]
    return f" [{', '.join(rest)}]" if rest else ""
