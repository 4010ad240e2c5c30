"""What was to be delivered later goes from the queue into the mailboxes here: once, to whoever is there by then."""

import pytest
from msgspec.structs import replace

from clock import Clock
from empty_store import put_empty_store
from pillarbox.flow import local_delivery
from pillarbox.flow.destination import LOCAL, Destinations, adopt
from pillarbox.flow.local_delivery import LocalCarrier, LocalLane
from pillarbox.flow.parcel import Hop, Parcel, ParcelRecipient
from pillarbox.flow.planning import Envelope, Recipient, plan
from pillarbox.flow.route import Forward, Route, find
from pillarbox.flow.sending import hops
from pillarbox.mime.analysis import analyse, outline
from pillarbox.store import blobs, delivery, directory, queue, queue_claim, routes
from pillarbox.store.errors import Busy
from pillarbox.store.opening import open_store
from pillarbox.store.records import NewMessage, QueueFilter

CONTENT = b"Subject: later\r\n\r\nhello\r\n"
LATER = 4_000_000_000


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def store(tmp_path, clock):
    put_empty_store(tmp_path / "smtp.db")
    made = await open_store(tmp_path / "smtp.db", clock=clock)
    for name in ("ada@example.com", "bob@example.com"):
        await made.write(directory.create_user, name, name, "!")
    yield made
    assert await made.check() == []
    await made.close()


def envelope(tx, *addresses, **options):
    recipients = tuple(Recipient(address, find(tx, *address.split("@"))) for address in addresses)
    return Envelope("1ABC", "eve@example.org", recipients, b"Received: x\r\n", 0.0, "mx.example.com", **options)


def queued(tx, *addresses):
    """A message that is to be released later; its parcel."""
    message = NewMessage(packed=blobs.pack(CONTENT), blob_id=None, analysis=analyse(CONTENT))
    made = envelope(tx, *addresses, not_before=LATER)
    planned = plan(made, message)
    assert {each.destination for each in planned.plans} == {LOCAL}
    outcomes = delivery.deliver(tx, message, planned.plans)
    rows = [ParcelRecipient(o.queue_id, o.recipient) for o in outcomes]
    (blob_id,) = tx.row("SELECT blob_id FROM message_queue LIMIT 1")
    prefix = planned.plans[0].prefix
    return Parcel("1ABC", "eve@example.org", tuple(rows), prefix, blob_id, len(prefix) + len(CONTENT))


async def mail(store, address):
    def read(tx):
        rows = tx.rows(
            "SELECT m.prefix, m.blob_id FROM messages m JOIN mailboxes b ON b.id = m.mailbox_id "
            "JOIN users u ON u.id = b.user_id WHERE u.email = ?",
            (address,),
        )
        return [bytes(prefix) + blobs.read_slice(tx, blob_id, 0, 1000) for prefix, blob_id in rows]

    return await store.scan(read)


async def test_it_is_delivered_when_the_time_has_come_and_once(store):
    await store.write(directory.add_alias, "team@example.com", "ada@example.com")
    await store.write(directory.add_alias, "team@example.com", "far@elsewhere.example")
    parcel = await store.write(queued, "bob@example.com", "team@example.com")
    lane = LocalLane(store, "mx.example.com")
    for _ in range(2):  # a crash before the rows are settled brings them again
        outcomes = await lane.send(parcel)
        assert [(outcome.result, outcome.reply.code) for outcome in outcomes] == [("delivered", 250)] * 2
    marks = "SELECT count(*) FROM store_meta WHERE key LIKE 'once:%'"
    assert await store.scan(lambda tx: tx.row(marks)) == (2,)
    await lane.close()
    assert await store.scan(lambda tx: tx.row(marks)) == (0,)
    (message,) = await mail(store, "bob@example.com")
    assert message == (b"Return-Path: <eve@example.org>\r\nDelivered-To: bob@example.com\r\nReceived: x\r\n" + CONTENT)
    assert len(await mail(store, "ada@example.com")) == 1
    rows = await store.scan(queue.find, QueueFilter(recipient="far@elsewhere.example"))
    assert [(row.destination, row.via) for row in rows] == [("mx elsewhere.example", "team@example.com")]


async def test_what_has_changed_meanwhile_counts(store):
    parcel = await store.write(queued, "ada@example.com", "bob@example.com")
    await store.write(directory.delete_user, "ada@example.com")
    await store.write(directory.set_enabled, "bob@example.com", False)
    await store.write(directory.create_domain, "example.com")
    outcomes = await LocalLane(store, "mx").send(parcel)
    assert [(outcome.result, outcome.reply.enhanced) for outcome in outcomes] == [
        ("failed", "5.1.1"),
        ("failed", "5.2.1"),
    ]


@pytest.mark.parametrize(
    ("targets", "asked", "passed", "dsn", "expanded"),
    [
        (["far@elsewhere.example"], "SUCCESS", "SUCCESS", True, False),
        (["far@elsewhere.example", "ada@example.com"], "SUCCESS", "NEVER", False, True),
        (["far@elsewhere.example", "ada@example.com"], "SUCCESS,DELAY", "DELAY", False, True),
        (["far@elsewhere.example", "off@elsewhere.example"], "", "", False, True),
        (["bob@example.com", "ada@example.com"], "SUCCESS", None, False, False),
    ],
)
async def test_who_reports_success_of_an_alias(store, targets, asked, passed, dsn, expanded):
    await store.write(directory.add_alias, "team@example.com", "bob@example.com")
    parcel = await store.write(queued, "team@example.com")
    await store.write(directory.remove_alias, "team@example.com", "bob@example.com")
    for target in targets:
        await store.write(directory.add_alias, "team@example.com", target)
    asking = replace(parcel, recipients=(replace(parcel.recipients[0], notify=asked),))
    lane = LocalLane(store, "mx.example.com")
    for _ in range(2):
        (outcome,) = await lane.send(asking)
        assert (outcome.result, outcome.dsn, outcome.expanded) == ("delivered", dsn, expanded)
    rows = "SELECT DISTINCT notify FROM message_queue WHERE to_address LIKE '%@elsewhere.example'"
    assert await store.scan(lambda tx: tx.rows(rows)) == ([] if passed is None else [(passed,)])
    assert await mail(store, "eve@example.org") == []


async def test_a_full_mailbox_and_a_store_that_is_busy_are_tried_again(store, monkeypatch):
    parcel = await store.write(queued, "ada@example.com")
    await store.write(directory.set_quota, "ada@example.com", 200)
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = 190 WHERE id = 1"))
    lane = LocalLane(store, "mx")
    assert [(o.result, o.reply.enhanced) for o in await lane.send(parcel)] == [("deferred", "4.2.2")]
    await store.write(lambda tx: tx.run("UPDATE users SET quota_used = 0 WHERE id = 1"))

    def busy(*args):
        raise Busy("lock")

    with monkeypatch.context() as patched:
        patched.setattr(local_delivery, "take", busy)
        assert [(o.result, o.reply.enhanced) for o in await lane.send(parcel)] == [("deferred", "4.3.0")]
    assert [o.result for o in await lane.send(parcel)] == ["delivered"]


async def test_rows_of_ours_that_were_held_find_the_way_back(store, clock):
    await store.write(queued, "ada@example.com")
    await store.write(queue.hold, QueueFilter())
    await store.write(queue.release, QueueFilter())
    assert await store.write(adopt, 10) == 1
    (row,) = await store.scan(queue.find, QueueFilter())
    assert row.destination == LOCAL
    assert await store.write(queue_claim.due_destinations, "me", 10, 60) == [], "it is released, and not yet due"
    clock.now = LATER
    (due,) = await store.write(queue_claim.due_destinations, "me", 10, 60)
    found = await store.read(hops.find, due.name)
    assert found.hop == Hop(name=LOCAL, kind="local")


async def test_a_server_behind_us_is_none_of_ours(store):
    route = await store.write(routes.create_route, "behind", "lmtp", host="10.0.0.1", port=24)
    await store.write(routes.add_rule, "recipient", "example.com", "behind", accept=True)
    decided = await store.read(lambda tx: Destinations(tx, "").of("ada@example.com"))
    assert decided.name == f"route {route.id}"


async def test_other_hops_are_opened_by_the_other_carrier():
    class Other:
        async def open(self, hop):
            return hop.name

    carrier = LocalCarrier(Other(), None, lambda: "mx")
    assert await carrier.open(Hop(name="mx x.example", kind="mx")) == "mx x.example"
    assert isinstance(await carrier.open(Hop(name=LOCAL, kind="local")), LocalLane)


async def test_what_was_to_pass_through_is_looked_into_when_it_comes_into_a_mailbox(store):
    content = b"Subject: out\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"

    def out(tx):
        message = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=outline(content, b" <1@x>\r\n"))
        made = envelope(tx, "ada@example.com")
        route = Route(forward=(Forward("ada@example.com"),))
        planned = plan(made._replace(recipients=(Recipient("ada@example.com", route),)), message)
        (outcome,) = delivery.deliver(tx, message, planned.plans)
        (blob_id,) = tx.row("SELECT blob_id FROM message_queue")
        assert tx.row("SELECT envelope, header_size, message_id FROM blobs") == (None, len(content) - 7, "<1@x>")
        row = ParcelRecipient(outcome.queue_id, outcome.recipient)
        prefix = planned.plans[0].prefix
        return Parcel("1ABC", "eve@example.org", (row,), prefix, blob_id, len(prefix) + len(content))

    parcel = await store.write(out)
    assert await store.check() == []
    (outcome,) = await LocalLane(store, "mx.example.com").send(parcel)
    assert outcome.result == "delivered"
    (row,) = await store.scan(lambda tx: tx.rows("SELECT * FROM blobs WHERE id = ?", (parcel.blob_id,)))
    whole = NewMessage(packed=blobs.pack(content), blob_id=None, analysis=analyse(content))
    other = await store.write(lambda tx: blobs.store(tx, whole))
    (expected,) = await store.scan(lambda tx: tx.rows("SELECT * FROM blobs WHERE id = ?", (other,)))
    columns = [name for (name,) in await store.scan(lambda tx: tx.rows("SELECT name FROM pragma_table_info('blobs')"))]
    differing = {name for name, one, two in zip(columns, row, expected, strict=True) if one != two}
    assert differing <= {"id", "created_at"}
