"""`pillarbox queue` on a real store, without a server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pillarbox.flow.owner import this_process
from pillarbox.store import delivery, queue, routes
from pillarbox.store.records import Queued
from unit.cli.queue.queue_samples import CONTENT, KEYS, Run, answer, message, on, recipients


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


def test_times_that_are_none(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "smtp.db")) as db, db:
        db.execute("UPDATE message_queue SET next_retry_at = 99999999999999999, created_at = -99999999999999999")
        db.execute("UPDATE message_queue SET created_at = '2024-01-01' WHERE id = 1")
    for words in (("list",), ("show", "1"), ("show", "2"), ("mailq",), ("list", "--json")):
        assert run("queue", *words)[0] == 0, words
    assert "99999999999999999" in run("queue", "list")[1]
    run("queue", "delete", "--all")  # `pillarbox check` finds them


def test_pages_of_many(run: Run, tmp_path: Path) -> None:
    rows = [Queued("a@x.test", f"{n}@many.test", message_key=KEYS[0], destination="mx many.test") for n in range(1200)]
    on(tmp_path, delivery.deliver, message(), rows)
    assert run("queue", "hold", "--domain", "many.test")[1] == "1200 entries held\n"
    assert run("queue", "delete", "--status", "held")[1] == "1200 entries deleted\n"
