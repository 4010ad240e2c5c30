"""What senders are told of what the queue gives up, puts off and hands on, and what becomes of the rows."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re

import pytest
from msgspec.structs import replace

from pillarbox.config import Settings
from pillarbox.flow import telling
from pillarbox.flow.local_delivery import LocalCarrier
from pillarbox.flow.parcel import Outcome, Reply
from pillarbox.flow.sending.policy import policy
from pillarbox.flow.sending.verdict import Attempt, judge
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs, delivery, directory, queue, queue_claim
from pillarbox.store.records import Event, NewMessage, Queued, QueueFilter
from world import LATER, MESSAGE, NEVER, TAKEN

HOUR, DAY = 3600, 86_400
STORY = "at, message_key, kind, sender, recipient, queue_id, detail, id"


async def reports(office):
    """The reports in the mailboxes here, parsed."""
    found = []
    for blob_id, size in await office.ask(
        "SELECT b.id, b.size FROM messages m JOIN blobs b ON b.id = m.blob_id ORDER BY m.id"
    ):
        data = await office.store.scan(blobs.read_slice, blob_id, 0, size)
        assert b"\n" not in data.replace(b"\r\n", b"")
        message = email.message_from_bytes(data, policy=email.policy.SMTP)
        assert not message.defects
        found.append(message)
    return found


async def local(office, address="ada@example.com"):
    await office.store.write(directory.create_user, address, address, "hash", "scram")
    return address


async def report_on(office, reply):
    """The one report of a message to which the server gave this reply."""
    sender = await local(office)
    office.world.servers["mx example.net"].rule = lambda to, tries, now: reply
    office.start()
    await office.put("a@example.net", sender=sender)
    await office.empty(seconds=30)
    (report,) = await reports(office)
    return report


def fields(report):
    """The recipients' fields, and the message's."""
    whole, *recipients = report.get_payload()[1].get_payload()
    return whole, recipients


def test_a_refused_recipient_is_reported_into_the_senders_mailbox(run):
    async def body(office):
        ada = await local(office)
        server = office.world.servers["mx example.net"]
        server.rule = lambda to, tries, now: TAKEN if to[0] == "g" else NEVER
        office.start()
        await office.put(
            "good@example.net",
            "bad@example.net",
            "worse@example.net",
            sender=ada,
            key="KEY1",
            envid="env+1",
            orcpt="rfc822;orig@example.net",
        )
        await office.empty()
        (report,) = await reports(office)
        assert report["auto-submitted"] == "auto-replied"
        assert report["to"].addresses[0].addr_spec == ada
        whole, recipients = fields(report)
        assert whole["Original-Envelope-Id"] == "env+1"
        assert whole["Reporting-MTA"] == "dns; mail.example.com"
        assert [told["Final-Recipient"] for told in recipients] == [
            "rfc822; bad@example.net",
            "rfc822; worse@example.net",
        ]
        told = recipients[0]
        assert (told["Action"], told["Status"], told["Remote-MTA"]) == ("failed", "5.1.1", "dns; mx.test")
        assert told["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
        assert told["Original-Recipient"] == "rfc822;orig@example.net"
        assert told["Last-Attempt-Date"] and told["Final-Log-ID"].startswith("KEY1.")
        text = report.get_payload()[0].get_content()
        assert "bad@example.net" in text
        assert "mx.test (192.0.2.1:25) said when it was told this recipient:" in text
        assert "550 5.1.1 no such user" in text
        assert "Subject: greetings" in report.get_payload()[2].get_payload()
        kinds = await office.ask("SELECT kind, message_key, recipient FROM message_events ORDER BY kind, recipient")
        assert kinds == [
            ("bounced", "KEY1", "bad@example.net"),
            ("bounced", "KEY1", "worse@example.net"),
            ("relayed", "KEY1", "good@example.net"),
            ("report", "KEY1", ada),
        ]

    run(body)


def test_a_sender_elsewhere_gets_the_report_by_the_queue_and_a_report_that_fails_becomes_a_dead_letter(run):
    async def body(office):
        office.world.servers["mx example.net"].rule = lambda to, tries, now: NEVER
        office.world.servers["mx example.org"].rule = lambda to, tries, now: NEVER
        office.start()
        await office.put("bad@example.net", sender="eve@example.org", key="KEY1")
        await office.until(lambda: office.world.servers["mx example.org"].parcels)
        (parcel,) = office.world.servers["mx example.org"].parcels
        assert (parcel.sender, parcel.recipients[0].address) == ("", "eve@example.org")
        await asyncio.sleep(5)
        rows = await office.rows("status, from_address, to_address, last_error, next_retry_at")
        assert rows == [("failed", "", "eve@example.org", "550 5.1.1 no such user", None)]
        story = await office.ask(f"SELECT {STORY} FROM message_events WHERE message_key = 'KEY1' ORDER BY id")
        told = [said for _, said in telling.sentences([Event(*row) for row in story])]
        assert [line.partition(":")[0].partition(" at ")[0] for line in told] == [
            "given up for bad@example.net",
            "a report about a failure went to eve@example.org",
            "the report",
        ]
        assert told[2].startswith("the report: given up for eve@example.org at mx.test")
        assert "550 5.1.1 no such user" in told[2]

    run(body)


def test_ret_full_brings_the_whole_message_back(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: NEVER
        office.start()
        await office.put("bad@example.net", sender=ada, ret="FULL", prefix=b"Received: from here\r\n")
        await office.put("bad@example.net", sender=ada, ret="FULL", content=MESSAGE + b"x" * 100_000)
        await office.empty()
        small, large = await reports(office)
        returned = small.get_payload()[2]
        assert returned.get_content_type() == "message/rfc822"
        assert returned.get_payload()[0]["received"] == "from here"
        assert returned.get_payload()[0].get_payload() == "Hello.\r\n"
        assert large.get_payload()[2].get_content_type() == "text/rfc822-headers"

    run(body)


def test_a_message_that_waits_is_reported_once_and_returned_after_its_lifetime(run_sqlite):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: LATER
        office.start()
        await office.put("a@example.net", "b@example.net", sender=ada)
        await asyncio.sleep(4 * HOUR - 60)
        assert await reports(office) == []
        (row, *_) = await office.ask(f"SELECT {STORY} FROM message_events WHERE kind = 'deferred' ORDER BY id")
        ((_, told),) = telling.sentences([Event(*row)])
        assert re.search(r"450 4\.2\.0 greylisted .*; next try \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$", told)
        await asyncio.sleep(600)
        (delayed,) = await reports(office)
        _, recipients = fields(delayed)
        assert {told["Action"] for told in recipients} == {"delayed"}
        assert recipients[0]["Status"] == "4.2.0"
        assert recipients[0]["Will-Retry-Until"]
        assert await office.rows("DISTINCT max_retries", "1") == [(34,)]
        await asyncio.sleep(5 * DAY - office.loop.now - 60)
        assert len(await office.rows()) == 2
        await asyncio.sleep(10 * 60)
        assert await office.rows() == []
        rest = (await reports(office))[1:]
        told = [one for report in rest for one in fields(report)[1]]
        assert [(one["Action"], one["Status"]) for one in told] == [("failed", "4.4.7")] * 2
        assert "5 days" in rest[0].get_payload()[0].get_content()
        assert "450 4.2.0 greylisted" in rest[0].get_payload()[0].get_content()

    run_sqlite(body, queue_flush_interval_ms=600_000)


def test_a_delay_is_told_without_a_pause_for_it(run_sqlite):
    """A schedule of short steps goes on; one of long ones is spread, since many may have come at one moment."""

    async def body(office):
        await office.put("a@example.net", sender="eve@example.org")
        (waiting,) = await office.store.write(queue_claim.due_destinations, "one", 9, 60)
        (row,) = await office.store.write(queue_claim.claim, waiting.id, "one", 9, 60)
        attempt = Attempt(row, Outcome(row.id, "deferred", LATER), 0.0, "mx", row.sender)
        begun = row.created_at
        for step, age, at in ((60, 50, 50 + 69), (3600, 0, 90 + 297)):
            told = policy(Settings.of("production", retry_schedule=f"{step}s", delay_report_after=90))
            assert judge(attempt, begun + age, told, 0.99).at == begun + at

    run_sqlite(body)


def test_how_many_tries_a_row_gets_is_said_from_the_beginning(run_sqlite):
    async def body(office):
        for hop in ("mx example.net", "mx example.org"):
            office.world.servers[hop].rule = lambda to, tries, now: LATER
        own = policy(office.settings)
        assert (own.retries_of("a@b"), own.retries_of("")) == (delivery.MAX_RETRIES, delivery.MAX_RETRIES_OF_REPORT)
        await office.put("a@example.net", sender="eve@example.org")
        await office.put("b@example.net", sender="")
        kept = await office.rows("max_retries, attempts")
        assert kept == [(34, 0), (10, 0)]
        office.start()
        await asyncio.sleep(60)
        assert await office.rows("max_retries, attempts") == [(34, 1), (10, 1)]
        office.settings = Settings.of("production", retry_schedule="1h", queue_lifetime=10 * HOUR, report_lifetime=DAY)
        await asyncio.sleep(HOUR)
        assert await office.rows("max_retries, attempts > 1") == [(10, 1), (24, 1)]

    run_sqlite(body)


def test_notify_decides_what_is_told(run):
    async def body(office):
        ada = await local(office)
        server = office.world.servers["mx example.net"]
        server.rule = lambda to, tries, now: {"t": TAKEN, "n": NEVER, "l": LATER}[to[0]]
        office.start()
        await office.put("never1@example.net", sender=ada, notify="NEVER")
        await office.put("never2@example.net", sender=ada, notify="SUCCESS,DELAY")
        await office.put("later@example.net", sender=ada, notify="FAILURE")
        await office.put("taken1@example.net", sender=ada, notify="SUCCESS,FAILURE")
        await office.put("taken2@example.net", sender=ada, notify="FAILURE")
        await asyncio.sleep(DAY)
        (report,) = await reports(office)
        (told,) = fields(report)[1]
        assert (told["Final-Recipient"], told["Action"], told["Status"]) == (
            "rfc822; taken1@example.net",
            "relayed",
            "2.0.0",
        )
        assert await office.rows("to_address") == [("later@example.net",)]

    run(body, queue_flush_interval_ms=600_000)


def test_no_success_report_when_the_next_hop_took_the_promise_over(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].dsn = True
        office.start()
        await office.put("taken@example.net", sender=ada, notify="SUCCESS")
        await office.empty()
        assert await reports(office) == []

    run(body)


def test_a_report_for_a_full_or_missing_mailbox_leaves_a_dead_letter(run):
    async def body(office):
        ada = await local(office)
        await office.store.write(lambda tx: tx.run("UPDATE users SET quota_limit = 10"))
        office.world.servers["mx example.net"].rule = lambda to, tries, now: NEVER
        office.start()
        await office.put("bad@example.net", sender=ada)
        await office.put("bad@example.net", sender="nobody@example.com")
        await asyncio.sleep(10)
        assert await office.rows("status, from_address") == [("failed", ada), ("failed", "nobody@example.com")]
        story = await office.ask(f"SELECT {STORY} FROM message_events ORDER BY id")
        said = [text for _, text in telling.sentences([Event(*row) for row in story])]
        assert [text for text in said if "given up" in text and text.endswith(", nobody was told")] == said
        assert await reports(office) == []

    run(body)


def test_deliver_by_returns_in_time_or_tells(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: LATER
        office.start()
        by = int(office.loop.clock()) + 600
        await office.put("return@example.net", sender=ada, deliver_by=by, deliver_mode="R")
        await office.put("notify@example.net", sender=ada, deliver_by=by, deliver_mode="N")
        await asyncio.sleep(590)
        assert await reports(office) == []
        await asyncio.sleep(30)
        told = {one["Final-Recipient"]: one for report in await reports(office) for one in fields(report)[1]}
        assert told["rfc822; return@example.net"]["Action"] == "failed"
        assert told["rfc822; return@example.net"]["Status"] == "5.4.7"
        assert told["rfc822; notify@example.net"]["Action"] == "delayed"
        assert await office.rows("to_address") == [("notify@example.net",)]

    run(body)


@pytest.mark.parametrize(
    ("mode", "notify", "in_time", "action"),
    [
        ("N", "", False, "relayed"),
        ("N", "FAILURE", False, "relayed"),
        ("N", "NEVER", False, None),
        ("N", "", True, None),
        ("NT", "", True, "relayed"),
        ("R", "", True, None),
    ],
)
def test_the_sender_hears_when_nobody_watches_the_time_any_more(run_sqlite, mode, notify, in_time, action):
    async def body(office):
        ada = await local(office)
        server = office.world.servers["mx example.net"]
        server.in_time, server.dsn = in_time, True
        office.start()
        by = int(office.loop.clock()) + 600
        await office.put("a@example.net", sender=ada, deliver_by=by, deliver_mode=mode, notify=notify)
        await office.empty()
        found = await reports(office)
        assert [one["Action"] for report in found for one in fields(report)[1]] == ([action] if action else [])
        for report in found:
            text = report.get_payload()[0].get_content()
            assert ("does not watch the time" in text) is not in_time
            assert "reports no deliveries" not in text  # it does

    run_sqlite(body)


def test_an_alias_of_ours_that_was_waited_for_is_reported_as_expanded(run):
    async def body(office):
        ada = await local(office)
        for target in ("far@example.net", ada):
            await office.store.write(directory.add_alias, "team@example.com", target)
        office.start(carrier=LocalCarrier(office.world, office.store, lambda: "mail.example.com"))
        plan = Queued(ada, "team@example.com", destination="local", message_key="1ABC", notify="SUCCESS", envid="e1")
        message = NewMessage(packed=blobs.pack(MESSAGE), blob_id=None, analysis=analyse(MESSAGE))
        await office.store.write(delivery.deliver, message, [plan])
        await office.empty()
        ours, report = await reports(office)  # the copy that an alias has here comes first
        assert b"Hello." in ours.as_bytes()
        message, (told,) = fields(report)
        assert (told["Action"], told["Final-Recipient"]) == ("expanded", "rfc822; team@example.com")
        assert message["Original-Envelope-Id"] == "e1"
        text = " ".join(report.get_payload()[0].get_content().split())
        assert "stands for several others, and was passed on" in text
        assert "<team@example.com> passed on to several addresses" in text
        assert [parcel.recipients[0].notify for parcel in office.world.servers["mx example.net"].parcels] == ["NEVER"]

    run(body)


def test_what_a_server_behind_a_socket_says_is_told_without_the_path(run_sqlite):
    async def body(office):
        ada = await local(office)
        path = "/run/dovecot/lmtp"
        refused = replace(NEVER, host=path, address=path)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: refused
        office.start()
        await office.put("bad@example.net", sender=ada)
        await office.empty()
        (report,) = await reports(office)
        assert "The server said when it was told this recipient:" in report.get_payload()[0].get_content()
        assert fields(report)[1][0]["Remote-MTA"] is None
        assert path not in report.as_string()

    run_sqlite(body)


def test_an_operator_returns_a_message(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: LATER
        office.start()
        await office.put("a@example.net", sender=ada, key="KEY1")
        await asyncio.sleep(10)
        await office.store.write(queue.bounce, QueueFilter())
        await office.empty(seconds=60)
        (report,) = await reports(office)
        assert "administrator" in report.get_payload()[0].get_content()
        assert office.world.tries["a@example.net"] == 1
        story = await office.ask(f"SELECT {STORY} FROM message_events ORDER BY id")
        told = [said for _, said in telling.sentences([Event(*row) for row in story])]
        assert "try 1" in told[0]
        assert "try" not in told[1].partition(": ")[0]  # it was not tried again

    run(body)


def test_what_was_held_for_long_has_its_life_before_it(run_sqlite):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: LATER
        await office.put("a@example.net", sender=ada, not_before=int(office.loop.clock()) + 3 * DAY)
        office.start()
        await asyncio.sleep(3 * DAY + 10 * HOUR)
        assert office.world.tries["a@example.net"] >= 1
        assert len(await office.rows()) == 1
        await asyncio.sleep(3 * HOUR)
        assert len(await office.rows()) == 0

    run_sqlite(body, queue_flush_interval_ms=600_000, queue_lifetime=DAY // 2)


def test_a_bad_domain_fails_at_once_and_the_reason_is_ours(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.invalid"].gone = True
        office.start()
        await office.put(*(f"u{number}@example.invalid" for number in range(5)), sender=ada)
        await office.empty(seconds=30)
        (report,) = await reports(office)
        told = fields(report)[1]
        assert len(told) == 5
        assert told[0]["Status"] == "5.1.2"
        assert told[0]["Diagnostic-Code"] == "X-Pillarbox; no such domain"
        assert told[0]["Remote-MTA"] is None

    run(body)


def test_hostile_words_of_a_server_stay_in_their_field(run):
    async def body(office):
        words = "no\r\nStatus: 2.0.0\r\n\r\nAction: delivered \udcff \u00e9 " + "x" * 5000
        reply = Reply("RCPT", 550, "5.7.1", words, "mx\r\nEvil: yes", "192.0.2.1:25")
        report = await report_on(office, reply)
        (told,) = fields(report)[1]
        assert (told["Action"], told["Status"], told["Evil"]) == ("failed", "5.7.1", None)
        data = bytes(report)
        assert max(len(line) for line in data.split(b"\r\n")) <= 998

    run(body)


def test_a_code_that_the_server_did_not_give_is_not_put_into_its_mouth(run):
    async def body(office):
        reply = Reply("RCPT", 550, "5.1.0", "no", "mx.test", "192.0.2.1:25", bare=True)
        report = await report_on(office, reply)
        (told,) = fields(report)[1]
        assert (told["Status"], told["Diagnostic-Code"]) == ("5.1.0", "smtp; 550 no")
        assert "\n      550 no\r\n" in report.get_payload()[0].get_content()

    run(body)


def test_addresses_beyond_ascii_make_a_global_report(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: NEVER
        office.start()
        await office.put(
            "b\u00f8@example.net", sender=ada, smtputf8=True, content="Subject: h\u00f8\r\n\r\nx\r\n".encode()
        )
        await office.empty(seconds=30)
        (report,) = await reports(office)
        assert report.get_param("report-type") == "global-delivery-status"
        assert report.get_payload()[1].get_content_type() == "message/global-delivery-status"
        assert report.get_payload()[2].get_content_type() == "message/global-headers"

    run(body)


def test_a_setting_of_tries_ends_a_message_before_its_age(run):
    async def body(office):
        ada = await local(office)
        office.world.servers["mx example.net"].rule = lambda to, tries, now: LATER
        office.start()
        await office.put("a@example.net", sender=ada)
        await office.empty(seconds=3600)
        assert office.world.tries["a@example.net"] == 3
        assert len(await reports(office)) == 1

    run(body, max_retry_attempts=2, retry_delay_seconds=5)
