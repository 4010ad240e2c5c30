"""`pillarbox trace` on a real store, without a server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pillarbox.flow.story import entry
from pillarbox.store import delivery, events
from pillarbox.store.records import Event, Queued
from unit.cli.queue.queue_samples import CONTENT, KEYS, Run, answer, message, on


def test_trace_by_any_name(run: Run) -> None:
    for name in (KEYS[0], KEYS[0].lower(), "2", "<1@x.test>", "1@x.test"):
        (told,) = answer(run("trace", name, "--json"))
        assert told["message_key"] == KEYS[0] and len(told["events"]) == 3
    first = told["events"][0]
    assert (first["at"], first["detail"]["peer"]) == (1_700_000_000_000, "192.0.2.1:4000")
    assert [row["id"] for row in told["queue"]] == [1, 2]


def test_trace_for_people(run: Run) -> None:
    status, out, _ = run("trace", KEYS[0])
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == f"Message {KEYS[0]} from a@x.test, {len(CONTENT)} octets"
    assert lines[1] == "Message-ID <1@x.test>"
    assert lines[3] == "2023-11-14 22:13:20.000Z  accepted from 192.0.2.1:4000 (mx.x.test), in the clear"
    assert lines[6].startswith("2023-11-14 22:13:29.000Z  not yet sent to c@y.test at mx.y.test [192.0.2.9:25]")
    assert lines[8] == "Now"
    assert lines[9] == "  b@y.test: in the queue as entry 1, pending, next try " + lines[9].rpartition("try ")[2]
    assert "tried 2 times, next try 2033-05-18 03:33:20Z: 451 4.7.1 try later" in lines[10]


def test_trace_tells_of_the_report_too(run: Run, tmp_path: Path) -> None:
    report = Queued("", "a@x.test", message_key=KEYS[0], destination="mx x.test")
    (queued,) = on(tmp_path, delivery.deliver, message(), [report])
    facts = {"recipient": "a@x.test", "queue_id": queued.queue_id, "code": 450, "text": "no"}
    on(tmp_path, events.add_events, [entry(1.7e9 + 99, KEYS[0], "deferred", **facts)])
    lines = run("trace", KEYS[0])[1].splitlines()
    assert lines[0].startswith(f"Message {KEYS[0]} from a@x.test")
    assert lines[7].endswith("the report: not yet sent to a@x.test: 450 no")
    assert [line for line in lines if line.startswith("  the report to a@x.test: in the queue as entry")]
    listed = run("queue", "mailq")[1]
    assert re.search(rf"{KEYS[0]} .* a@x\.test\n", listed)
    assert re.search(rf"{KEYS[0]} .* MAILER-DAEMON\n +a@x\.test\n", listed)


def test_trace_of_an_address(run: Run) -> None:
    status, out, _ = run("trace", "A@x.test")
    assert status == 0 and len(out.splitlines()) == 3
    assert KEYS[1] in out.splitlines()[1] and KEYS[0] in out.splitlines()[2]  # the latest first
    assert "deferred: 451 4.7.1 try later" in run("trace", "c@y.test")[1]
    assert run("trace", "<A@x.test>")[1] == out  # no Message-ID: as it stands in a log or a header
    full = run("trace", "a@x.test", "--full")[1]
    assert full.count("Message 1M80") == 2 and "in mailbox INBOX, uid 1" in full
    assert len(answer(run("trace", "a@x.test", "--limit", "1", "--json"))) == 1


def test_a_line_about_a_message_tells_its_sender_of_what_went_worst(run: Run, tmp_path: Path) -> None:
    def happened(at: int, kind: str, recipient: str, **facts: Any) -> Event:
        return entry(1.7e9 + at, KEYS[0], kind, recipient=recipient, **({"sender": "a@x.test"} | facts))

    def line(address: str) -> str:
        return next(line for line in run("trace", address)[1].splitlines() if KEYS[0] in line)

    on(tmp_path, events.add_events, [
        happened(60, "bounced", "b@y.test", queue_id=1, code=550, text="no such user"),
        happened(60, "report", "a@x.test", sender=""),
        happened(70, "deferred", "c@y.test", queue_id=2, code=451, text="later"),
        happened(80, "relayed", "d@z.test", queue_id=3, code=250, text="taken"),
        happened(90, "relayed", "a@x.test", sender="", queue_id=99, code=250, text="the report"),
    ])  # fmt: skip
    assert "bounced: 550 no such user" in line("a@x.test")
    assert "b@y.test and" in line("a@x.test")
    assert "deferred: 451 later" in line("c@y.test")
    assert "relayed: 250 taken" in line("d@z.test")
    on(tmp_path, events.add_events, [happened(50, "expanded", "list@x.test")])
    assert "bounced: 550 no such user" in line("list@x.test")


def test_trace_of_what_left_its_mailbox(run: Run, tmp_path: Path) -> None:
    on(tmp_path, lambda tx: tx.run("UPDATE mailboxes SET name = 'Kept' WHERE name = 'INBOX'"))
    (told,) = answer(run("trace", KEYS[1], "--json"))
    assert told["mailboxes"] == [{"username": "ada@example.com", "mailbox": "Kept", "uid": 1, "flags": []}]
    on(tmp_path, lambda tx: tx.run("UPDATE mailboxes SET name = 'INBOX' WHERE name = 'Kept'"))


def test_trace_without_a_story(run: Run, tmp_path: Path) -> None:
    on(tmp_path, lambda tx: tx.run("DELETE FROM message_events"))
    status, out, _ = run("trace", "<1@x.test>")
    assert status == 0 and "in mailbox INBOX, uid 1" in out
    assert run("trace", "nobody@x.test")[::2] == (1, "Error: nothing is known of nobody@x.test\n")
    assert run("trace", "77")[0] == 1
    assert run("trace", KEYS[0])[0] == 1


def test_trace_since(run: Run) -> None:
    assert run("trace", "a@x.test", "--since", "2023-11-01")[0] == 0
    assert run("trace", "a@x.test", "--since", "2023-12-01")[0] == 1
    assert run("trace", "a@x.test", "--since", "whenever")[0] == 2
