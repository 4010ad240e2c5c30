"""Messages to a peer that behaves: what arrives, by which commands, and what we are told."""

import asyncio

import pytest

from going_out import MESSAGE, PREFIX, SHORT, Shelf, carrier, hop, parcel, told
from pillarbox.session.outgoing_timeouts import Timeouts
from pillarbox.store.errors import Corrupt, IoFault
from scripted_peer import OFFER, Peer


async def sent(peer, *parcels, store=None, **changes):
    lane = await carrier(store=store).open(hop(peer.port, **changes))
    outcomes = []
    for one in parcels or (parcel(),):
        outcomes += await lane.send(one)
    await lane.close()
    return outcomes


async def test_one_message_for_two():
    async with Peer() as peer:
        outcomes = await sent(peer)
    assert told(outcomes) == [("delivered", "END", 250)] * 2
    assert [outcome.queue_id for outcome in outcomes] == [100, 101]
    reply = outcomes[0].reply
    assert (reply.text, reply.enhanced, reply.host) == ("taken", "2.0.0", "mx.example.org")
    assert (reply.address, reply.tls) == (f"127.0.0.1:{peer.port}", "")
    assert outcomes[0].dsn
    assert peer.messages == [
        (
            f"MAIL FROM:<s@here.example> SIZE={len(PREFIX + MESSAGE)}",
            ("RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"),
            PREFIX + MESSAGE,
        )
    ]
    assert peer.commands[0] == "EHLO here.example"
    assert peer.commands[-1] == "QUIT"


@pytest.mark.parametrize(
    ("said", "enhanced"), [("550 no such user", "5.1.0"), ("550 5.1.1 no", "5.1.1"), ("550 4.7.1 no", "5.1.0")]
)
async def test_the_words_of_a_server_are_told_as_it_said_them(said, enhanced):
    async with Peer({"RCPT": f"{said}\r\n".encode()}) as peer:
        outcomes = await sent(peer)
    assert [(outcome.reply.words, outcome.reply.enhanced) for outcome in outcomes] == [(said, enhanced)] * 2


async def test_the_hop_has_a_name_of_its_own():
    async with Peer() as peer:
        await sent(peer, ehlo="out.example")
    assert peer.commands[0] == "EHLO out.example"


async def test_several_messages_on_a_connection():
    async with Peer() as peer:
        outcomes = await sent(peer, parcel(), parcel("c@example.org"), parcel("d@example.org"))
    assert {outcome.result for outcome in outcomes} == {"delivered"}
    assert (peer.connections, len(peer.messages)) == (1, 3)
    assert "RSET" not in peer.commands


async def test_a_server_without_any_extension():
    async with Peer(offer=()) as peer:
        outcomes = await sent(peer, parcel(), parcel("c@example.org"))
    assert told(outcomes) == [("delivered", "END", 250)] * 3
    assert not outcomes[0].dsn
    assert peer.messages[0][0] == "MAIL FROM:<s@here.example>"


async def test_a_server_that_knows_helo_only():
    async with Peer({"EHLO": b"502 5.5.1 what\r\n"}) as peer:
        outcomes = await sent(peer)
    assert told(outcomes) == [("delivered", "END", 250)] * 2
    assert peer.commands[1] == "HELO here.example"


async def test_lmtp_on_a_socket_answers_for_each(tmp_path):
    peer = Peer({"END": [b"250 2.0.0 ok\r\n", b"452 4.2.2 over quota\r\n"]}, lmtp=True)
    await peer.listen(path=tmp_path / "s")
    outcomes = await sent(peer, kind="lmtp", socket=str(tmp_path / "s"))
    await peer.stop()
    assert told(outcomes) == [("delivered", "END", 250), ("deferred", "END", 452)]
    assert peer.commands[0] == "LHLO here.example"
    assert outcomes[0].reply.address == str(tmp_path / "s")


async def test_lmtp_loses_nothing_that_was_answered():
    async with Peer({"END": [None, "drop"]}, lmtp=True) as peer:
        outcomes = await sent(peer, kind="lmtp")
    assert told(outcomes) == [("delivered", "END", 250), ("deferred", "LOST", 421)]


async def test_what_the_sender_asked_for_is_passed_on():
    async with Peer(offer=(*OFFER, "MT-PRIORITY", "DELIVERBY 60")) as peer:
        one = parcel(
            body="8BITMIME", smtputf8=True, ret="HDRS", envid="a b", priority=3, deliver_by=2_000, deliver_mode="NT"
        )
        from msgspec.structs import replace

        to = (replace(one.recipients[0], notify="SUCCESS,DELAY", orcpt="rfc822;x+y@z.example"),)
        lane = await carrier(clock=lambda: 1_000.0).open(hop(peer.port))
        await lane.send(replace(one, recipients=to))
        await lane.close()
    assert peer.commands[1:3] == [
        f"MAIL FROM:<s@here.example> SIZE={len(PREFIX + MESSAGE)} BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b "
        "MT-PRIORITY=3 BY=1000;NT",
        "RCPT TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@z.example",
    ]


@pytest.mark.parametrize(
    ("offer", "dsn", "in_time"), [((), False, False), (("DSN",), True, False), (("DELIVERBY",), False, True)]
)
async def test_which_promises_the_next_server_takes_over(offer, dsn, in_time):
    async with Peer({"RCPT": [None, b"550 5.1.1 no\r\n"]}, offer=offer) as peer:
        outcomes = await sent(peer)
    assert [(outcome.result, outcome.dsn, outcome.in_time) for outcome in outcomes] == [
        ("delivered", dsn, in_time),
        ("failed", False, False),
    ]


async def test_a_message_too_big_is_not_sent():
    async with Peer(offer=("SIZE 20",)) as peer:
        outcomes = await sent(peer)
    assert told(outcomes) == [("failed", "POLICY", 552)] * 2
    assert outcomes[0].reply.enhanced == "5.3.4"
    assert not any(command.startswith("MAIL") for command in peer.commands)


@pytest.mark.parametrize(
    ("answer", "rounds"),
    [(b"452 4.5.3 enough\r\n", 2), (b"552 too many recipients\r\n", 2), (b"452 4.2.2 full\r\n", 1)],
)
async def test_too_many_recipients_go_into_another_transaction(answer, rounds):
    async with Peer({"RCPT": [None, None, answer]}) as peer:
        outcomes = await sent(peer, parcel("a@x.example", "b@x.example", "c@x.example"))
    assert len(peer.messages) == rounds
    assert [outcome.result for outcome in outcomes][2] == ("delivered" if rounds == 2 else "deferred")


async def test_a_limit_of_recipients_and_of_messages():
    async with Peer(offer=("PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2")) as peer:
        outcomes = await sent(peer, parcel(*(f"{name}@x.example" for name in "abcde")))
    assert told(outcomes) == [("delivered", "END", 250)] * 5
    assert [len(message[1]) for message in peer.messages] == [2, 2, 1]
    assert peer.connections == 2


async def test_a_connection_that_ended_while_it_was_idle_is_made_anew():
    async with Peer({"MAIL": [None, "drop"]}) as peer:
        outcomes = await sent(peer, parcel(), parcel("c@example.org"))
    assert told(outcomes) == [("delivered", "END", 250)] * 3
    assert (peer.connections, len(peer.messages)) == (2, 2)


async def test_a_goodbye_before_the_next_message():
    async with Peer({"MAIL": [None, b"421 4.3.2 idle too long\r\n"]}) as peer:
        outcomes = await sent(peer, parcel(), parcel("c@example.org"))
    assert told(outcomes) == [("delivered", "END", 250)] * 3


async def test_a_large_message_goes_in_pieces_with_little_memory():
    big = b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" + b".dots and words in a line of a message\r\n" * 200_000
    store = Shelf(b2=big)
    async with Peer() as peer:
        lane = await carrier(store=store, timeouts=Timeouts()).open(hop(peer.port))  # it may take its time
        most = []

        write = lane._connection.flush

        def watched():
            write()
            most.append(lane._connection.transport.get_write_buffer_size())

        lane._connection.flush = watched
        outcomes = await lane.send(parcel("a@example.org", content=big, blob=2))
        await lane.close()
    assert told(outcomes) == [("delivered", "END", 250)]
    assert peer.messages[0][2] == PREFIX + big
    assert max(most) <= 200 * 1024
    assert max(store.read_slices) <= 256 * 1024


async def test_binary_content_goes_by_chunks():
    binary = b"Subject: x\r\n\r\na\0b\nc" + bytes(range(256)) * 1000
    async with Peer(offer=("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME")) as peer:
        outcomes = await sent(peer, parcel(content=binary, blob=2, body="BINARYMIME"), store=Shelf(b2=binary))
    assert told(outcomes) == [("delivered", "END", 250)] * 2
    assert peer.messages[0][2] == PREFIX + binary


async def test_an_early_refusal_ends_the_transfer():
    big = b"x" * 10_000_000
    async with Peer({"content": b"552 5.3.4 too big\r\n"}) as peer:
        outcomes = await sent(peer, parcel(content=big, blob=2), store=Shelf(b2=big))
    assert told(outcomes) == [("failed", "END", 552)] * 2
    assert peer.messages == []


async def test_a_server_that_does_not_read():
    big = b"x" * 10_000_000
    async with Peer({"content": "stall"}) as peer:
        outcomes = await sent(peer, parcel(content=big, blob=2), store=Shelf(b2=big))
    assert told(outcomes) == [("deferred", "TIMEOUT", 421)] * 2
    assert "it to take the message" in outcomes[0].reply.text


async def test_a_blob_that_cannot_be_read():
    class Broken(Shelf):
        async def read(self, fn, blob_id, start, length):
            if start >= 262_144:
                raise Corrupt("rotten")
            return b"x" * length

    async with Peer() as peer:
        outcomes = await sent(peer, parcel(size=1_000_000), store=Broken())
    assert told(outcomes) == [("deferred", "POLICY", 451)] * 2
    assert peer.messages == []


@pytest.mark.parametrize(("failures", "result"), [(2, "delivered"), (3, "deferred")])
async def test_a_store_that_is_away_for_a_moment_is_waited_for(monkeypatch, failures, result):
    monkeypatch.setattr("pillarbox.session.outgoing_content.PAUSES", (0.01, 0.01))

    class Away(Shelf):
        tries = 0

        async def read(self, fn, *words):
            self.tries += 1
            if self.tries <= failures:
                raise IoFault("the server closed the connection")
            return await super().read(fn, *words)

    async with Peer() as peer:
        outcomes = await sent(peer, parcel(), store=Away())
    assert [outcome.result for outcome in outcomes] == [result] * 2
    assert len(peer.messages) == (result == "delivered")


async def test_a_blob_that_is_shorter_than_it_should_be():
    async with Peer() as peer:
        small = await sent(peer, parcel(size=len(PREFIX + MESSAGE) + 1))
        large = await sent(peer, parcel(blob=2, size=1_000_000), store=Shelf(b2=b"x" * 900_000))
    assert told(small + large) == [("deferred", "POLICY", 451)] * 4
    assert peer.messages == []


async def test_a_message_that_is_cancelled_is_not_ended():
    async with Peer({"END": "stall"}) as peer:
        lane = await carrier(timeouts=SHORT).open(hop(peer.port))
        task = asyncio.create_task(lane.send(parcel()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not lane.usable
        await lane.close()


@pytest.mark.parametrize("offer", [OFFER, ()])
async def test_until_the_content_begins_a_message_can_be_called_back(offer):
    async with Peer({"RCPT": "stall"}, offer=offer) as peer:
        lane = await carrier().open(hop(peer.port))
        task = asyncio.create_task(lane.send(parcel()))
        await asyncio.sleep(0.05)
        assert not lane.begun
        task.cancel()
        await asyncio.wait([task])
        await lane.close()
    assert peer.messages == []


async def test_once_the_content_has_begun_the_server_may_have_it():
    async with Peer({"END": "stall"}) as peer:
        lane = await carrier(timeouts=SHORT).open(hop(peer.port))
        assert not lane.begun
        await lane.send(parcel())
        assert lane.begun
        await lane.close()


async def test_addresses_that_cannot_be_written():
    async with Peer() as peer:
        outcomes = await sent(peer, parcel("a b@x.example", "c@x.example"))
        bad_sender = await sent(peer, parcel("c@x.example", sender="no address"))
    assert told(outcomes) == [("failed", "POLICY", 553), ("delivered", "END", 250)]
    assert (bad_sender[0].reply.enhanced, bad_sender[0].result) == ("5.1.7", "failed")
