"""The story of a message is found by its key, by address, and ends by age."""

from store_samples import Clock, message

from pillarbox.store import Store, events, messages
from pillarbox.store.events import Event
from pillarbox.store.records import Queued


async def test_events(store: Store, clock: Clock) -> None:
    at = clock.now * 1000
    story = [
        Event(at, "K1", "accepted", "a@x.org", "", None, '{"peer":"192.0.2.1"}'),
        Event(at + 1, "K1", "queued", "a@x.org", "B@y.org", 7),
        Event(at + 1, "K2", "refused", "c@x.org", "b@Y.org"),
        Event(at + 900, "K1", "relayed", "a@x.org", "b@y.org", 7),
    ]
    await store.write(events.add_events, story)
    found = await store.read(events.events_of_message, "K1")
    assert [(event.at, event.kind, event.queue_id) for event in found] == [
        (at, "accepted", None), (at + 1, "queued", 7), (at + 900, "relayed", 7),
    ]  # fmt: skip
    assert found[0].detail == '{"peer":"192.0.2.1"}'
    assert await store.read(events.events_of_message, "K1", 1, found[0].id) == found[1:2]
    assert await store.read(events.events_of_message, "K3") == []
    of_address = await store.scan(events.events_of_address, "b@y.org")
    assert [event.kind for event in of_address] == ["queued", "refused", "relayed"]
    assert [event.kind for event in await store.scan(events.events_of_address, "B@Y.ORG", 0, 1)] == ["relayed"]
    assert [event.kind for event in await store.scan(events.events_of_address, "A@x.org", at + 1)] == [
        "queued",
        "relayed",
    ]
    assert await store.scan(events.key_of_row, 7) == "K1"
    assert await store.scan(events.key_of_row, 8) == ""
    assert await store.write(events.trim, at + 2, 2) == 2
    assert await store.write(events.trim, at + 2, 2) == 1
    assert await store.write(events.trim, at + 2, 2) == 0
    assert [event.kind for event in await store.read(events.events_of_message, "K1")] == ["relayed"]


async def test_the_key_of_a_row_that_is_there(store: Store) -> None:
    plan = Queued("a@b.c", "d@e.f", message_key="K9")
    (outcome,) = await store.write(messages.deliver, message(), [plan])
    assert await store.scan(events.key_of_row, outcome.queue_id) == "K9"


async def test_an_event_may_have_any_text(store: Store) -> None:
    await store.write(events.add_events, [Event(1, "K", "refused", "\udc80@x", "\0@y", None, "\udcfe\0")])
    (found,) = await store.read(events.events_of_message, "K")
    assert (found.sender, found.recipient, found.detail) == ("?@x", "\ufffd@y", "?\ufffd")
