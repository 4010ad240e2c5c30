"""Posts to distribution lists, and what aliases send on, as one transaction makes them."""

from __future__ import annotations

import time
from email import message_from_bytes
from typing import Any

import pytest

from pillarbox.flow.deliver import Envelope, Plans, Recipient, Result, deliver, plan
from pillarbox.flow.mailing_list import MOST_DEPTH, list_id_of, may_post, post_of
from pillarbox.flow.outcomes import told
from pillarbox.flow.route import Forward, Refusal, Route, find, for_sender, relayed
from pillarbox.mime.analysis import analyse
from pillarbox.store import Store, blobs, directory, lists, queue, routes
from pillarbox.store.records import ListRow, NewMessage, Queued, QueueFilter, User
from pillarbox.store.tx import Tx

CONTENT = b"From: eve@example.org\r\nSubject: hello\r\n\r\nhello\r\n"
RECEIVED = b"Received: by mx.example.com; today\r\n"
TEAM = "team@example.com"


def small(content: bytes) -> NewMessage:
    return NewMessage(blobs.pack(content), None, analyse(content))


async def send(
    store: Store, *recipients: str, sender: str = "alice@example.com", content: bytes = CONTENT, **options: Any
) -> Result:
    """As a session does: recipients are routed, then all is done in one transaction."""
    notify = frozenset(options.pop("notify", ()))
    reports = options.pop("reports", True)

    async def routed(address: str) -> Recipient:
        local, _, domain = address.rpartition("@")
        route = await store.read(find, local, domain)
        if route.refusal is Refusal.NOT_OURS:
            route = relayed(address)
        assert route.refusal is None, route
        return Recipient(address, route, notify)

    envelope = Envelope(
        message_id="KEY",
        sender=sender,
        recipients=tuple([await routed(address) for address in recipients]),
        trace=RECEIVED,
        arrived=0,
        hostname="mx.example.com",
        reports=reports,
        **options,
    )
    message = small(content)
    return await store.write(deliver, envelope, plan(envelope, message, content), message, content)


async def rows(store: Store) -> list[tuple[Any, ...]]:
    """Sender, recipient, via and what is asked of delivery, of each queue row."""
    return await store.scan(
        lambda tx: tx.rows("SELECT from_address, to_address, via, notify, orcpt, ret FROM message_queue ORDER BY id")
    )


async def prefixes(store: Store, table: str = "message_queue") -> list[bytes]:
    return [bytes(row[0]) for row in await store.scan(lambda tx: tx.rows(f"SELECT prefix FROM {table} ORDER BY id"))]


async def mail_of(store: Store, user: User) -> list[bytes]:
    """Whole messages of an account, with what stands in front."""
    found = await store.scan(
        lambda tx: tx.rows(
            "SELECT m.prefix, m.blob_id, b.size FROM messages m JOIN mailboxes x ON x.id = m.mailbox_id "
            "JOIN blobs b ON b.id = m.blob_id WHERE x.user_id = ? ORDER BY m.uid",
            (user.id,),
        )
    )
    return [bytes(prefix) + await store.read(blobs.read_slice, blob, 0, size) for prefix, blob, size in found]


@pytest.fixture
async def team(store: Store, alice: User, bob: User) -> ListRow:
    """A list of alice, bob, and carl who is elsewhere; dora, elsewhere too, is the owner."""

    def make(tx: Tx) -> ListRow:
        made = lists.create_list(tx, TEAM, "dora@example.net", title="The team")
        lists.add_members(tx, TEAM, ["alice@example.com", "bob+list@example.com", "carl@example.org"])
        return made

    return await store.write(make)


async def test_a_post_reaches_everybody_in_the_name_of_the_list(
    store: Store, team: ListRow, alice: User, bob: User
) -> None:
    result = await send(store, TEAM)
    assert (result.errors, result.delivered, result.queued) == ((None,), 2, 1)
    assert await rows(store) == [
        ("team-bounces@example.com", "carl@example.org", TEAM, "FAILURE", "", "HDRS"),
    ]
    (hers,) = await mail_of(store, alice)  # who posts has a copy too
    assert hers.startswith(b"Return-Path: <team-bounces@example.com>\r\nDelivered-To: alice@example.com\r\n")
    (his,) = await mail_of(store, bob)
    assert b"Delivered-To: bob+list@example.com\r\nDelivered-To: team@example.com\r\n" in his
    (prefix,) = await prefixes(store)
    for whole in (hers, his, prefix + CONTENT):
        message = message_from_bytes(whole)
        assert message["List-Id"] == '"The team" <team.example.com>'
        assert message["List-Post"] == "<mailto:team@example.com>"
        assert message["List-Owner"] == "<mailto:team-owner@example.com>"
        assert message["List-Unsubscribe"] == "<mailto:team-request@example.com?subject=unsubscribe>"
        assert message["List-Help"] == "<mailto:team-request@example.com?subject=help>"
        assert message["Precedence"] == "list"
        assert message["Subject"] == "hello"
    assert prefix.endswith(RECEIVED)


async def test_a_member_who_is_also_a_recipient_gets_one_copy(
    store: Store, team: ListRow, alice: User, bob: User
) -> None:
    result = await send(store, "bob@example.com", TEAM, "carl@example.org")
    assert (result.delivered, result.queued) == (2, 1)
    (copy,) = await mail_of(store, bob)
    assert copy.startswith(b"Return-Path: <alice@example.com>")
    assert [row[:3] for row in await rows(store)] == [("alice@example.com", "carl@example.org", "")]


@pytest.mark.parametrize(
    ("posting", "allowed"),
    [
        ("anyone", ["alice@example.com", "dora@example.net", "Carl@EXAMPLE.org", "eve@example.org"]),
        ("members", ["alice@example.com", "dora@example.net", "Carl@EXAMPLE.org"]),
        ("owner", ["dora@example.net"]),
    ],
)
async def test_who_may_post(store: Store, team: ListRow, posting: str, allowed: list[str]) -> None:
    await store.write(lists.set_list, TEAM, posting=posting)
    everybody = ["alice@example.com", "dora@example.net", "Carl@EXAMPLE.org", "eve@example.org", ""]
    found = [sender for sender in everybody if await store.read(may_post, team.id, sender)]
    assert found == allowed
    route = await store.read(find, "team", "example.com")
    for sender in everybody:
        refusal = (await store.read(for_sender, route, sender)).refusal
        assert refusal is (None if sender in found else Refusal.MAY_NOT_POST)


async def test_who_may_not_post_is_refused_at_the_latest_by_the_transaction(
    store: Store, team: ListRow, alice: User, bob: User
) -> None:
    result = await send(store, TEAM, sender="eve@example.org")
    assert (result.errors, result.delivered, result.queued) == (("may not post",), 0, 0)
    result = await send(store, TEAM, "bob@example.com", sender="eve@example.org")
    assert result.errors == ("may not post", None)
    assert await mail_of(store, alice) == []
    ((sender, recipient, *_),) = await rows(store)  # she is told of the one
    assert (sender, recipient) == ("", "eve@example.org")


async def test_an_alias_that_leads_to_a_list_is_refused_as_a_whole(store: Store, team: ListRow, bob: User) -> None:
    await store.write(directory.add_alias, "both@example.com", TEAM)
    await store.write(directory.add_alias, "both@example.com", "bob@example.com")
    result = await send(store, "both@example.com", sender="eve@example.org")
    assert result.errors == ("may not post",)
    assert await mail_of(store, bob) == []
    result = await send(store, "both@example.com")
    assert (result.errors, result.delivered, result.queued) == ((None,), 2, 1)


async def test_lists_in_lists_reach_each_member_once(store: Store, team: ListRow, alice: User, bob: User) -> None:
    def make(tx: Tx) -> None:
        lists.create_list(tx, "all@example.com", "bob@example.com", posting="anyone")
        lists.add_members(tx, "all@example.com", [TEAM, "bob@example.com", "zoe@example.net"])
        lists.add_members(tx, TEAM, ["all@example.com"])

    await store.write(make)
    result = await send(store, "all@example.com", sender="eve@example.org")
    assert (result.errors, result.delivered, result.queued) == ((None,), 2, 2)
    assert sorted(row[:3] for row in await rows(store)) == [
        ("all-bounces@example.com", "zoe@example.net", "all@example.com"),
        ("team-bounces@example.com", "carl@example.org", TEAM),
    ]


async def test_lists_that_lead_too_deep_are_refused(store: Store, alice: User) -> None:
    def make(tx: Tx) -> None:
        for number in range(MOST_DEPTH + 1):
            lists.create_list(tx, f"l{number}@example.com", "alice@example.com", posting="anyone")
            lists.add_members(tx, f"l{number}@example.com", [f"l{number + 1}@example.com", "alice@example.com"])

    await store.write(make)
    assert (await send(store, "l0@example.com")).errors == ("list too large",)
    assert (await send(store, "l1@example.com")).delivered == 1


async def test_a_list_without_members_is_refused(store: Store, alice: User) -> None:
    await store.write(lists.create_list, "empty@example.com", "alice@example.com")
    assert (await store.read(find, "empty", "example.com")).refusal is Refusal.EMPTY_LIST


@pytest.mark.parametrize("field", ["Delivered-To: Team@Example.com", 'List-Id: "x"\r\n\t<TEAM.example.com>'])
async def test_a_post_that_was_there_before_is_a_loop(store: Store, team: ListRow, alice: User, field: str) -> None:
    content = field.encode() + b"\r\n" + CONTENT
    result = await send(store, TEAM, content=content)
    assert (result.errors, result.delivered) == (("mail loop",), 0)
    assert (await send(store, TEAM, content=CONTENT + field.encode())).errors == (None,)  # that is its text


async def test_members_who_fail_are_told_to_the_owner(store: Store, team: ListRow, alice: User, bob: User) -> None:
    await store.write(directory.set_quota, "bob", 10)
    await store.write(lists.add_members, TEAM, ["gone@example.com", "round@example.com"])
    await store.write(directory.add_alias, "round@example.com", "about@example.com")
    await store.write(directory.add_alias, "about@example.com", "round@example.com")
    result = await send(store, TEAM, sender="carl@example.org", notify=["SUCCESS", "FAILURE"])
    assert (result.errors, result.delivered, result.queued) == ((None,), 1, 1)
    reports = [row for row in await rows(store) if row[0] == ""]
    assert [(recipient, via) for _, recipient, via, *_ in reports] == [
        ("carl@example.org", ""),
        ("dora@example.net", "team-bounces@example.com"),
    ]
    contents = await store.scan(
        lambda tx: tx.rows(
            "SELECT blob_id, size FROM message_queue q JOIN blobs b ON b.id = blob_id WHERE from_address = ''"
        )
    )
    to_sender, to_owner = [await store.read(blobs.read_slice, blob, 0, size) for blob, size in contents]
    assert b"Action: delivered" in to_sender and b"delivered to the list" in to_sender
    assert b"bob" not in to_sender
    assert b"Final-Recipient: rfc822; bob+list@example.com" in to_owner and b"Status: 5.2.2" in to_owner
    assert b"Final-Recipient: rfc822; gone@example.com" in to_owner
    loop = b"Final-Recipient: rfc822; round@example.com\r\nAction: failed\r\nStatus: 5.4.6\r\n"
    assert loop in to_owner and b"leads back to itself" in to_owner


async def test_bounces_and_questions_reach_the_owner(store: Store, team: ListRow) -> None:
    for suffix in ("-bounces", "-owner", "-request", "-Bounces"):
        route = await store.read(find, f"team{suffix}", "example.com")
        assert [forward.address for forward in route.forward] == ["dora@example.net"]
    assert (await store.read(find, "-bounces", "example.com")).refusal is Refusal.UNKNOWN
    assert (await store.read(find, "other-bounces", "example.com")).refusal is Refusal.UNKNOWN
    await store.write(lambda tx: tx.run("UPDATE lists SET owner = 'team-bounces@example.com'"))  # by hand
    assert (await store.read(find, "team-bounces", "example.com")).refusal is Refusal.LOOP


async def test_ten_thousand_members(store: Store, team: ListRow, alice: User) -> None:
    await store.write(lists.add_members, TEAM, [f"m{n:05}@d{n % 300}.example" for n in range(10_000)])
    await store.write(routes.create_route, "smart", "smarthost", host="smart.example")
    await store.write(routes.add_rule, "recipient", "d7.example", "smart")
    start = time.perf_counter()
    result = await send(store, TEAM)
    took = time.perf_counter() - start
    assert (result.delivered, result.queued) == (2, 10_001)
    assert took < 60, "measured: 0.2 s on SQLite, 2 s on PostgreSQL"
    assert len(await store.scan(queue.find, QueueFilter(destination="route 1"), 1000)) == len(range(7, 10_000, 300))
    assert await store.scan(lambda tx: tx.rows("SELECT count(*) FROM destinations")) == [(301,)]


def test_the_fields_of_a_list() -> None:
    row = ListRow(1, "a+b'c@xn--bcher-kva.example", "Grüße\r\nBcc: x", "o@example.net", "owner", 0)
    post = post_of(row)
    message = message_from_bytes(post.fields + b"\r\n")
    assert set(message.keys()) == {
        "Delivered-To", "List-Id", "List-Post", "List-Owner", "List-Help", "List-Unsubscribe", "Precedence"
    }  # fmt: skip
    assert message["List-Post"] == "NO"
    assert message["List-Owner"] == "<mailto:a+b%27c-owner@xn--bcher-kva.example>"
    assert list_id_of(row.address) == "a+b'c.xn--bcher-kva.example"
    assert post.fields.isascii()
    assert all(len(line) <= 78 for line in post.fields.splitlines() if b"mailto" not in line)


# Aliases.


async def test_an_alias_to_elsewhere_says_so_and_keeps_what_the_sender_asked(store: Store, alice: User) -> None:
    await store.write(directory.add_alias, "Away@example.com", "Carl@example.org")
    asked: dict[str, Any] = {
        "ret": "FULL",
        "envid": "id",
        "body": "8BITMIME",
        "smtputf8": True,
        "priority": 3,
        "user_id": 7,
    }
    result = await send(store, "away@example.com", notify=["SUCCESS", "DELAY"], **asked)
    assert (result.errors, result.queued) == ((None,), 1)
    assert await rows(store) == [
        (
            "alice@example.com",
            "carl@example.org",
            "away@example.com",
            "SUCCESS,DELAY",
            "rfc822;away@example.com",
            "FULL",
        )
    ]
    (row,) = await store.scan(queue.find, QueueFilter())
    assert (row.destination, row.message_key, row.priority, row.user_id) == ("mx example.org", "KEY", 3, 7)
    assert await prefixes(store) == [b"Delivered-To: away@example.com\r\n" + RECEIVED]


async def test_an_alias_to_several_is_reported_here(store: Store, alice: User) -> None:
    for target in ("carl@example.org", "alice@example.com"):
        await store.write(directory.add_alias, "both@example.com", target)
    for asked, passed in ((["SUCCESS"], "NEVER"), (["SUCCESS", "FAILURE"], "FAILURE"), ([], ""), (["NEVER"], "NEVER")):
        await send(store, "both@example.com", sender="eve@example.org", notify=asked)
        sent, *reports = await rows(store)
        assert sent[3] == passed
        assert [row[:2] for row in reports] == ([("", "eve@example.org")] if "SUCCESS" in asked else [])
        await store.write(queue.delete, QueueFilter())
    story = await store.scan(lambda tx: tx.rows("SELECT kind, recipient, detail FROM message_events"))
    assert story == [("report", "eve@example.org", '{"about":"expanded"}')] * 2


async def test_a_message_that_an_alias_sent_on_before_is_a_loop(store: Store, alice: User, bob: User) -> None:
    for target in ("carl@example.org", "alice@example.com"):
        await store.write(directory.add_alias, "both@example.com", target)
    content = b"Delivered-To: both@example.com\r\n" + CONTENT
    result = await send(store, "both@example.com", "bob@example.com", sender="eve@example.org", content=content)
    assert result.errors == ("mail loop", None)
    assert [row[:2] for row in await rows(store)] == [("", "eve@example.org")]  # the report
    result = await send(store, "both@example.com", sender="eve@example.org", content=content)
    assert result.errors == ("mail loop",)
    content = b"Delivered-To: bob@example.com\r\n" + CONTENT  # a mailbox ends every loop
    assert (await send(store, "bob@example.com", content=content)).errors == (None,)


async def test_a_long_sender_is_told_too(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.add_alias, "away@example.com", "carl@example.org")
    content = b"Delivered-To: away@example.com\r\n" + CONTENT
    sender = f"bounces+{'x' * 80}=away@example.net"  # the recipient written into it (VERP)
    await send(store, "away@example.com", "bob@example.com", sender=sender, content=content)
    assert [row[:2] for row in await rows(store)] == [("", sender)]


async def test_a_loop_seen_by_lmtp_is_told_by_its_client(store: Store, alice: User, bob: User) -> None:
    await store.write(directory.add_alias, "away@example.com", "carl@example.org")
    content = b"Delivered-To: away@example.com\r\n" + CONTENT
    result = await send(store, "away@example.com", "bob@example.com", content=content, reports=False)
    assert result.errors == ("mail loop", None)
    assert await rows(store) == []


async def test_a_rule_discards_and_holds(store: Store, alice: User, bob: User) -> None:
    await store.write(routes.create_route, "nowhere", "discard")
    await store.write(routes.create_route, "later", "hold")
    await store.write(routes.add_rule, "recipient", "example.org", "nowhere")
    await store.write(routes.add_rule, "recipient", "example.net", "later")
    result = await send(store, "carl@example.org")
    assert (result.errors, result.queued) == ((None,), 0)
    assert result.discarded == [("carl@example.org", "the recipient rule example.org says route nowhere (discard)")]
    assert await store.scan(lambda tx: tx.rows("SELECT count(*) FROM blobs")) == [(0,)]
    result = await send(store, "carl@example.org", "bob@example.com", "dora@example.net")
    assert (result.errors, result.delivered, result.queued) == ((None,) * 3, 1, 1)
    assert [recipient for recipient, _ in result.discarded] == ["carl@example.org"]
    assert result.held == [("dora@example.net", "the recipient rule example.net says route later (hold)")]
    assert "says route later (hold)" in told(1.0, "KEY", "eve@example.net", result, {})[1].detail
    assert [row.status for row in await store.scan(queue.find, QueueFilter())] == ["held"]


async def test_an_account_on_hold_waits_with_all_it_sends(store: Store, team: ListRow, alice: User) -> None:
    await send(store, TEAM, "zoe@example.net", held=True, user_id=alice.id)
    found = await store.scan(queue.find, QueueFilter(user_id=alice.id))
    assert [(row.to_address, row.status) for row in found] == [
        ("zoe@example.net", "held"),
        ("carl@example.org", "held"),
    ]


def test_plans_of_a_relayed_recipient_name_nothing_of_ours() -> None:
    recipient = Recipient("carl@example.org", Route(forward=(Forward("carl@example.org"),)), frozenset({"FAILURE"}))
    envelope = Envelope("KEY", "a@b.example", (recipient,), RECEIVED, 0, "mx", not_before=5)
    planned = plan(envelope, small(CONTENT), CONTENT)
    assert isinstance(planned, Plans)
    (row,) = planned.plans
    assert isinstance(row, Queued)
    assert (row.prefix, row.via, row.orcpt, row.notify, row.not_before) == (RECEIVED, "", "", "FAILURE", 5)
