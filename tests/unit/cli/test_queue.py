"""`pillarbox queue`, `mailq` and `pillarbox trace` on a real store, without a server."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pillarbox.cli import mailq, pillarbox
from pillarbox.flow.owner import this_process
from pillarbox.flow.story import entry
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, check_store, delivery, directory, events, open_store, queue, routes
from pillarbox.store.records import Delivery, Event, NewMessage, Queued

CONTENT = b"From: a@x.test\r\nSubject: one\r\nMessage-ID: <1@x.test>\r\n\r\nhello\r\n"
KEYS = ("1M80JNJZZ1X800", "1M80JNJZZ1X801", "1M80JNJZZ1X802")
Run = Callable[..., tuple[int, str, str]]


def message(content: bytes = CONTENT) -> NewMessage:
    return NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))


async def fill(path: Path) -> None:
    """Two messages, three and one recipient, one of them tried; one dead letter; an account with a message."""
    store = await open_store(path)
    await store.write(directory.create_user, "ada@example.com", "ada@example.com", "!")
    one = [Queued("a@x.test", f"{name}@y.test", b"Received: us\r\n", message_key=KEYS[0], destination="mx y.test")
           for name in "bcd"]  # fmt: skip
    await store.write(delivery.deliver, message(), one)
    other = Queued("ada@example.com", "e@z.test", message_key=KEYS[1], destination="mx z.test", user_id=1)
    await store.write(delivery.deliver, message(), [other])
    dead = Queued("", "f@z.test", message_key=KEYS[2], destination="mx z.test")
    await store.write(delivery.deliver, message(), [dead])
    kept = Delivery("ada@example.com", 1)
    (placed,) = await store.write(delivery.deliver, message(), [kept])
    await store.write(
        lambda tx: tx.run(
            "UPDATE message_queue SET status = 'retry', attempts = 2, next_retry_at = 2000000000, "
            "last_error = '451 4.7.1 try later' WHERE to_address = 'c@y.test'"
        )
    )
    await store.write(
        lambda tx: tx.run("UPDATE message_queue SET status = 'failed', next_retry_at = NULL WHERE from_address = ''")
    )
    told = [
        entry(1.7e9, KEYS[0], "queued", sender="a@x.test", recipient="b@y.test", queue_id=1, destination="mx y.test",
              peer="192.0.2.1:4000", hello="mx.x.test", size=len(CONTENT), header_id="<1@x.test>"),
        entry(1.7e9, KEYS[0], "queued", sender="a@x.test", recipient="c@y.test", queue_id=2, destination="mx y.test"),
        entry(1.7e9 + 9, KEYS[0], "deferred", sender="a@x.test", recipient="c@y.test", queue_id=2, tries=1, code=451,
              enhanced="4.7.1", text="try later", stage="RCPT", host="mx.y.test", address="192.0.2.9:25",
              next_at=2_000_000_000),
        entry(1.7e9 + 99, KEYS[1], "delivered", sender="a@x.test", recipient="ada@example.com", mailbox="INBOX",
              mailbox_id=placed.mailbox_id, uid=placed.uid, peer="192.0.2.1:4001"),
    ]  # fmt: skip
    await store.write(events.add_events, told)
    await store.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "smtp.db"))
    monkeypatch.setenv("SMTP_HOSTNAME", "mail.example.com")
    monkeypatch.setenv("SUDO_USER", "eve")
    asyncio.run(fill(tmp_path / "smtp.db"))
    capsys.readouterr()

    def call(*argv: str) -> tuple[int, str, str]:
        status = pillarbox.main(argv)
        return (status, *capsys.readouterr())

    yield call
    assert check_store(tmp_path / "smtp.db") == []


def answer(outcome: tuple[int, str, str]) -> Any:
    status, out, err = outcome
    assert status == 0, err
    return json.loads(out)


def recipients(outcome: tuple[int, str, str]) -> list[str]:
    return [row["to_address"][0] for row in answer(outcome)]


def on(tmp_path: Path, fn: Callable[..., Any], *args: Any) -> Any:
    async def work() -> Any:
        store = await open_store(tmp_path / "smtp.db")
        try:
            return await store.write(fn, *args)
        finally:
            await store.close()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", "bcdef"),
        ("1 3", "bd"),
        (KEYS[0], "bcd"),
        (KEYS[0].lower(), "bcd"),
        (f"1 {KEYS[1]}", "be"),
        ("--status retry", "c"),
        ("--status dead", "f"),
        ("--status failed", "f"),
        ("--sender A@X.test", "bcd"),
        ("--sender=", "f"),
        ("--recipient b@y.test", "b"),
        ("--domain Z.test", "ef"),
        ("--account ada@example.com", "e"),
        (f"--message {KEYS[1]}", "e"),
        ("--older-than 1h", ""),
        ("--older-than 1d --limit 2", ""),
        ("--domain y.test --status pending", "bd"),
        ("--limit 2", "bc"),
    ],
)
def test_lists(run: Run, options: str, expected: str) -> None:
    assert "".join(recipients(run("queue", "list", *options.split(), "--json"))) == expected


def test_list_and_show_for_people(run: Run) -> None:
    status, out, _ = run("queue", "list")
    assert status == 0 and out.split("\n")[0].split()[:3] == ["Id", "Message", "Status"]
    assert "451 4.7.1 try later" in out and " dead " in out and "<>" in out
    assert "... there may be more than 2" in run("queue", "list", "--limit", "2")[2]
    assert recipients(run("queue", "dead", "--json")) == ["f"]
    assert "Last error:" in run("queue", "show", "2")[1]
    assert answer(run("queue", "show", "2", "--json"))["message_key"] == KEYS[0]
    assert run("queue", "show", "99")[::2] == (1, "Error: there is no entry 99 in the queue\n")


def test_cat(run: Run) -> None:
    assert run("queue", "cat", "1")[1] == "Received: us\r\n" + CONTENT.decode()
    assert run("queue", "cat", "77")[0] == 1


def test_stats(run: Run) -> None:
    stats = answer(run("queue", "stats", "--json"))
    assert (stats["total"], stats["pending"], stats["retry"], stats["failed"], stats["held"]) == (5, 3, 1, 1, 0)
    assert [(each["name"], each["recipients"]) for each in stats["destinations"]] == [
        ("mx y.test", 3),
        ("mx z.test", 1),
    ]
    assert "mx y.test" in run("queue", "stats")[1]


def test_times_are_shown_as_such(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "smtp.db")) as connection, connection:
        connection.execute("UPDATE destinations SET blocked_until = 2000000000")
        connection.execute("UPDATE message_queue SET not_before = 2000000000 WHERE id = 1")
    assert "2033-05-18 03:33:20Z" in run("queue", "stats")[1]
    assert "Not before:    2033-05-18 03:33:20Z" in run("queue", "show", "1")[1]


def test_hold_release_retry_delete(run: Run) -> None:
    assert run("queue", "hold", "--domain", "y.test")[:2] == (0, "3 entries held\n")
    assert recipients(run("queue", "list", "--status", "held", "--json")) == ["b", "c", "d"]
    assert answer(run("queue", "release", "1", "--json")) == {"changed": 1, "delivered": 0, "in_transfer": 0}
    assert run("queue", "release", "1")[0] == 1  # it is not held
    assert run("queue", "retry", "--status", "dead")[1] == "1 entry due now\n"
    assert run("queue", "delete", "--all")[1] == "5 entries deleted\n"
    assert run("queue", "delete", "--all")[1] == "0 entries deleted\n"
    story = answer(run("trace", KEYS[0], "--json"))[0]["events"]
    assert [(e["kind"], e["queue_id"], e["detail"].get("operator")) for e in story[3:]] == [
        *(("held", n, "eve") for n in (1, 2, 3)),
        ("released", 1, "eve"),
        *(("deleted", n, "eve") for n in (1, 2, 3)),
    ]


def claim(tmp_path: Path, queue_id: int, holder: str) -> None:
    sql = "UPDATE message_queue SET status = 'processing', claimed_by = ?, next_retry_at = ? WHERE id = ?"
    on(tmp_path, lambda tx: tx.run(sql, (holder, tx.now + 300, queue_id)))


@pytest.mark.parametrize(("order", "done"), [("bounce", "returned"), ("delete", "deleted"), ("hold", "held")])
def test_an_order_on_what_is_in_transfer(run: Run, tmp_path: Path, order: str, done: str) -> None:
    claim(tmp_path, 1, this_process())
    told = run("queue", order, "1", "--wait", "0")
    assert told == (0, f"0 entries {done}; 1 entry in transfer, to be {done} unless the other server takes it\n", "")
    on(tmp_path, lambda tx: tx.run("UPDATE message_queue SET claimed_by = 'gone:1:1' WHERE claimed_by <> ''"))
    assert answer(run("queue", order, "1", "3", "--wait", "0", "--json"))["changed"] == 1


def test_what_a_dead_process_was_sending_is_free(run: Run, tmp_path: Path) -> None:
    claim(tmp_path, 1, this_process().rpartition(":")[0] + ":1")
    assert run("queue", "delete", "1", "3")[1] == "2 entries deleted\n"


def test_how_long_dead_letters_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "kept for 30 days after" in run("queue", "dead")[2]
    monkeypatch.setenv("SMTP_DEAD_LETTER_DAYS", "0")
    assert "kept until you delete it" in run("queue", "dead")[2]
    assert run("queue", "dead", "--json")[2] == ""


def test_why_nothing_was_done(run: Run) -> None:
    run("queue", "hold", "1")
    assert "nothing in the queue is meant by 99\n" in run("queue", "retry", "99")[2]
    assert "nothing in the queue is meant by 99\n" in run("queue", "list", "99")[2]
    told = run("queue", "retry", "1")
    assert told[0] == 1 and "entry 1 is held; `pillarbox queue release` lets it go" in told[2]
    assert "for an address there are --recipient and --sender" in run("queue", "hold", "b@y.test")[2]
    assert run("queue", "hold", "--domain", "@z.test")[1] == "1 entry held\n"


def test_what_a_rule_holds_says_so(run: Run, tmp_path: Path) -> None:
    on(tmp_path, lambda tx: routes.create_route(tx, "later", "hold"))
    assert run("queue", "move", "1", "--to", "later")[0] == 0
    assert "held by route later" in run("queue", "list", "1")[1]
    assert "b@y.test: in the queue as entry 1, held by route later" in run("trace", KEYS[0])[1]
    assert "holding" not in answer(run("trace", KEYS[0], "--json"))[0]


def test_move(run: Run, tmp_path: Path) -> None:
    route = on(tmp_path, lambda tx: routes.create_route(tx, "hub", "smarthost", host="hub.test"))
    assert run("queue", "move", "1", "--to", "nowhere")[0] == 1
    assert run("queue", "move", "1", "--to", "hub")[1] == "1 entry moved to hub\n"
    assert answer(run("queue", "show", "1", "--json"))["route_id"] == route.id
    assert "moved for b@y.test to route hub (entry 1) by " in run("trace", KEYS[0])[1]
    assert run("queue", "move", "--all", "--to", "default")[0] == 0
    assert answer(run("queue", "show", "1", "--json"))["route_id"] is None
    assert "moved for b@y.test to where the rules say (entry 1)" in run("trace", KEYS[0])[1]
    assert run("queue", "move", "1")[0] == 2


def test_bounce_needs_no_server(run: Run, tmp_path: Path) -> None:
    assert run("queue", "bounce", KEYS[1])[1] == "1 entry returned\n"
    assert recipients(run("queue", "list", "--json")) == ["b", "c", "d", "f"]
    mail = on(tmp_path, lambda tx: tx.rows("SELECT b.subject FROM messages m JOIN blobs b ON b.id = m.blob_id"))
    assert [row[0] for row in mail] == ["one", "Undelivered Mail Returned to Sender"]
    assert run("queue", "bounce", KEYS[0])[1] == "3 entries returned\n"  # one report for three
    left = answer(run("queue", "list", "--json"))
    assert [(row["from_address"], row["to_address"]) for row in left] == [("", "f@z.test"), ("", "a@x.test")]
    assert run("queue", "bounce", "--status", "dead")[0] == 0  # nobody can be told: it stays what it is
    assert recipients(run("queue", "dead", "--json")) == ["f"]
    kinds = [event["kind"] for event in answer(run("trace", KEYS[0], "--json"))[0]["events"]]
    assert kinds.count("bounced") == 3 and kinds.count("report") == 1


def test_bounce_leaves_the_reports_alone_that_it_makes(run: Run) -> None:
    assert run("queue", "bounce", "--status", "dead")[0] == 0
    assert run("queue", "bounce", "--all")[1] == "4 entries returned\n"
    left = answer(run("queue", "list", "--json"))
    assert [(row["from_address"], row["to_address"], row["status"]) for row in left] == [
        ("", "f@z.test", "failed"),
        ("", "a@x.test", "pending"),
    ]
    assert left[1]["message_key"] == KEYS[0]


@pytest.mark.parametrize(
    "words",
    [
        "hold",
        "delete",
        "retry --all 1",
        "hold --all --domain y.test",
        "hold x@y.test",
        "hold --status lost",
        "hold --older-than soon",
        "list ../1",
        "hold 1234567890123456789012345",
    ],
)
def test_wrong_usage_changes_nothing(run: Run, words: str) -> None:
    status, _, err = run("queue", *words.split())
    assert status == 2 and err
    assert recipients(run("queue", "list", "--json")) == list("bcdef")


def test_all_that_is_wrong_is_said_at_once(run: Run) -> None:
    words = "hold x@y.test 1234567890123456789 --status lost --older-than soon --domain= --account= --all"
    status, out, err = run("queue", *words.split())
    assert (status, out) == (2, "")
    assert [line.removeprefix("Error: ").split()[0] for line in err.splitlines()] == [
        "--all",
        "x@y.test",
        "1234567890123456789",
        "--status",
        "--older-than",
        "--domain",
        "--account",
    ]


def test_ids_that_mean_nothing_are_named_and_the_others_done(run: Run) -> None:
    wrong = "Error: nothing in the queue is meant by 99, 1M80JNJZZ1X899\n"
    assert run("queue", "hold", "1", "99", "3", "1M80JNJZZ1X899") == (1, "2 entries held\n", wrong)
    assert run("queue", "release", "1", "5")[:2] == (0, "1 entry released\n")
    assert run("queue", "list", "1", "99", "--json")[2] == "nothing in the queue is meant by 99\n"
    assert "is meant by 2\n" in run("queue", "list", "1", "2", "--domain", "y.test", "--status", "pending")[2]


def test_show_and_cat_take_the_id_of_a_message(run: Run) -> None:
    assert answer(run("queue", "show", KEYS[1].lower(), "--json"))["id"] == 4
    assert f"`pillarbox queue list {KEYS[0]}` shows them" in run("queue", "show", KEYS[0])[2]
    assert run("queue", "cat", KEYS[0])[1] == run("queue", "cat", "1")[1]
    assert run("queue", "show", "b@y.test")[0] == 2


def test_nothing_is_said_to_be_nothing(run: Run) -> None:
    assert run("queue", "list", "--domain", "n.test")[2] == "no entry of the queue is meant by that\n"
    assert run("queue", "list", "--domain", "n.test", "--json") == (0, "[]\n", "")
    run("queue", "delete", "--all")
    assert run("queue", "list")[2] == "the queue is empty\n"


def test_a_long_list_is_printed_page_by_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, as_json = run("queue", "list"), run("queue", "list", "--json")
    monkeypatch.setattr(queue, "PAGE", 2)
    assert run("queue", "list", "--json") == as_json
    assert recipients(run("queue", "list", "--limit", "3", "--json")) == ["b", "c", "d"]
    assert recipients(run("queue", "list", KEYS[0], "1", "4", "--json")) == ["b", "e", "c", "d"]
    lines = run("queue", "list")[1].splitlines()
    assert [line.split() for line in lines] == [line.split() for line in whole[1].splitlines()]


def test_an_account_that_is_not_there(run: Run) -> None:
    assert run("queue", "hold", "--account", "nobody")[::2] == (1, "Error: no user nobody\n")


# What mailq-parsing scripts look for: Postfix's and Sendmail's forms share these.
SUMMARY = re.compile(r"^([A-Za-z0-9]+)([*!]?)\s+(\d+)\s+(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d)\s+(\S+)$")
RECIPIENT = re.compile(r"^\s{10,}(\S+@\S+)$")
REASON = re.compile(r"^\s*\((.*)\)$")
TOTAL = re.compile(r"^-- (\d+) Kbytes in (\d+) Requests?\.$")


def parsed(text: str) -> list[dict[str, Any]]:
    """The listing as a script reads it."""
    head, *lines = text.splitlines()
    assert head.startswith("-Queue ID-")
    total = TOTAL.match(lines[-1])
    assert total is not None
    found: list[dict[str, Any]] = []
    reason = None
    for line in lines[:-1]:
        if match := SUMMARY.match(line):
            found.append({"id": match[1], "mark": match[2], "size": int(match[3]), "sender": match[5], "to": []})
            reason = None
        elif match := REASON.match(line):
            reason = match[1]
        elif match := RECIPIENT.match(line):
            found[-1]["to"].append((match[1], reason))
        else:
            assert line == ""
    assert int(total[2]) == len(found)
    return found


def test_mailq(run: Run) -> None:
    size = len(CONTENT) + len("Received: us\r\n")
    run("queue", "hold", KEYS[1])
    found = parsed(run("queue", "mailq")[1])
    assert found == [
        {
            "id": KEYS[0],
            "mark": "",
            "size": size,
            "sender": "a@x.test",
            "to": [("b@y.test", None), ("d@y.test", None), ("c@y.test", "451 4.7.1 try later")],
        },
        {"id": KEYS[1], "mark": "!", "size": len(CONTENT), "sender": "ada@example.com", "to": [("e@z.test", None)]},
    ]


def test_an_empty_queue(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("queue", "delete", "--all")
    assert mailq.main([]) == 0
    assert capsys.readouterr().out == "Mail queue is empty\n"


def test_mailq_shows_the_spool_folder_and_pages(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailq, "PAGE", 2)  # a message goes over the end of a page
    (tmp_path / "maildrop").mkdir()
    (tmp_path / "maildrop" / "0123456789abcdef").write_bytes(b"x" * 100)
    (tmp_path / "maildrop" / "tmp.half").write_bytes(b"x")
    assert mailq.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"^0123456789 +100 \w{3} \w{3} [ \d]\d [\d:]{8}  \(maildrop queue, sender UID \d+\)$", lines[1])
    assert sum(KEYS[0] in line for line in lines) == 1 and lines[-1].endswith("in 3 Requests.")


def test_mailq_without_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "none.db"))
    assert mailq.main([]) == 69
    assert "no database" in capsys.readouterr().err
    assert mailq.main(["--wrong"]) == 64
    assert mailq.main(["--help"]) == 0


def test_sendmail_q_makes_everything_due(run: Run) -> None:
    assert mailq.flush() == 0
    rows = [row for row in answer(run("queue", "list", "--json")) if row["status"] != "failed"]
    assert len(rows) == 4 and all(row["next_retry_at"] < 2_000_000_000 for row in rows)
    assert mailq.flush("2") == 0


def test_sendmail_q_leaves_dead_letters(run: Run) -> None:
    before = run("queue", "dead", "--json")[1]
    assert mailq.flush() == 0
    assert run("queue", "dead", "--json")[1] == before
    assert mailq.flush(KEYS[2]) == 0
    assert json.loads(run("queue", "dead", "--json")[1]) == []


def test_times_that_are_none(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "smtp.db")) as db, db:
        db.execute("UPDATE message_queue SET next_retry_at = 99999999999999999, created_at = -99999999999999999")
        db.execute("UPDATE message_queue SET created_at = '2024-01-01' WHERE id = 1")
    for words in (("list",), ("show", "1"), ("show", "2"), ("mailq",), ("list", "--json")):
        assert run("queue", *words)[0] == 0, words
    assert "99999999999999999" in run("queue", "list")[1]
    run("queue", "delete", "--all")  # `pillarbox check` finds them


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


def test_pages_of_many(run: Run, tmp_path: Path) -> None:
    rows = [Queued("a@x.test", f"{n}@many.test", message_key=KEYS[0], destination="mx many.test") for n in range(1200)]
    on(tmp_path, delivery.deliver, message(), rows)
    assert run("queue", "hold", "--domain", "many.test")[1] == "1200 entries held\n"
    assert run("queue", "delete", "--status", "held")[1] == "1200 entries deleted\n"
