"""Which host and which address gets the mail."""

import asyncio
import socket

import pytest

from going_out import SHORT, Shelf, carrier, hop, parcel
from pillarbox.dns import Answer
from pillarbox.flow.mail_hosts import MailHost, NoHosts
from pillarbox.flow.parcel import HopDown
from pillarbox.session import outgoing_connect
from pillarbox.session.outgoing import Manner, OutgoingCarrier
from pillarbox.session.outgoing_connect import NotConnected, first_connected, interleaved
from pillarbox.session.outgoing_hosts import hosts_by
from pillarbox.session.outgoing_self import listeners_of, round_in_circles
from scripted_peer import Peer

FIRST = MailHost("first.example.org", 10, ("127.0.0.1",))
SECOND = MailHost("second.example.org", 20, ("127.0.0.2",))


async def peers(first, second=None):
    """Two peers on the same port of 127.0.0.1 and 127.0.0.2."""
    await first.listen()
    return first, await (second or Peer()).listen("127.0.0.2", first.port)


async def stop(*started):
    for peer in started:
        await peer.stop()


async def down(hosts, port, **changes):
    with pytest.raises(HopDown) as caught:
        await carrier(*hosts).open(hop(port, **changes))
    return caught.value


async def host_for(hosts, port, **changes):
    lane = await carrier(*hosts).open(hop(port, **changes))
    (outcome,) = await lane.send(parcel("a@example.org"))
    await lane.close()
    assert outcome.result == "delivered"
    return outcome.reply.host


def test_families_take_turns():
    found = interleaved(["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"])
    assert found == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]


@pytest.fixture
def silent(monkeypatch):
    """Addresses that answer nothing, as behind a firewall that drops; and what was tried."""
    addresses, tried, real = set(), [], outgoing_connect._connect

    async def connect(family, target, source, patience):
        tried.append(target[0])
        if target[0] in addresses:
            await asyncio.sleep(patience)
            raise TimeoutError
        return await real(family, target, source, patience)

    monkeypatch.setattr(outgoing_connect, "_connect", connect)
    return addresses, tried


async def test_the_next_address_is_tried_beside_a_silent_one(silent):
    addresses, tried = silent
    addresses.add("127.0.0.1")
    one, two = await peers(Peer())
    ip, sock = await first_connected(["127.0.0.1", "127.0.0.2"], one.port, SHORT)
    assert (ip, sock.getpeername()[0], tried) == ("127.0.0.2", "127.0.0.2", ["127.0.0.1", "127.0.0.2"])
    sock.close()
    await stop(one, two)


async def test_the_first_that_answers_is_enough(silent):
    one, two = await peers(Peer())
    ip, sock = await first_connected(["127.0.0.1", "127.0.0.2"], one.port, SHORT)
    assert (ip, silent[1]) == ("127.0.0.1", ["127.0.0.1"])
    sock.close()
    await stop(one, two)


async def test_nobody_answers():
    async with Peer() as peer:
        pass
    with pytest.raises(NotConnected) as caught:
        await first_connected(["::1", "127.0.0.1", "127.0.0.2"], peer.port, SHORT)
    assert sorted(address for address, _ in caught.value.failures) == ["127.0.0.1", "127.0.0.2", "::1"]
    assert dict(caught.value.failures)["127.0.0.2"] == "Connection refused"


async def test_both_families():
    async with Peer() as peer:
        other = await Peer().listen("::1", peer.port)
        ip, sock = await first_connected(interleaved(["::1", "127.0.0.1"]), peer.port, SHORT)
        assert (ip, sock.family) == ("::1", socket.AF_INET6)
        sock.close()
        await other.stop()
        both = MailHost("mx.example.org", 1, ("::1", "127.0.0.1"))
        assert await host_for([both], peer.port) == "mx.example.org"


async def test_where_we_send_from():
    async with Peer() as peer:
        _, sock = await first_connected(["127.0.0.1"], peer.port, SHORT, ["::1", "127.0.0.7"])
        assert sock.getsockname()[0] == "127.0.0.7"
        sock.close()
        trouble = await down([FIRST], peer.port, source_ipv4="192.0.2.99")
    assert "cannot send from 192.0.2.99" in trouble.reply.text


async def test_hosts_in_their_order():
    one, two = await peers(Peer())
    assert await host_for([FIRST, SECOND], one.port) == "first.example.org"
    assert await host_for([SECOND, FIRST], one.port) == "second.example.org"
    await one.stop()
    assert await host_for([FIRST, SECOND], two.port) == "second.example.org"
    await two.stop()


async def test_another_address_of_the_same_host():
    one, two = await peers(Peer({"banner": b"421 4.3.2 busy\r\n"}))
    assert await host_for([MailHost("mx.example.org", 1, ("127.0.0.1", "127.0.0.2"))], one.port) == "mx.example.org"
    assert two.messages
    await stop(one, two)


@pytest.mark.parametrize(
    ("first", "second", "permanent", "code"),
    [
        (b"554 5.7.1 go away\r\n", b"521 5.3.2 no mail here\r\n", True, 554),
        (b"554 5.7.1 go away\r\n", b"421 4.3.2 busy\r\n", False, 554),
        (b"421 4.3.2 busy\r\n", b"421 4.3.2 busy\r\n", False, 421),
        (b"554 5.7.1 go away\r\n", "drop", False, 554),
    ],
)
async def test_refused_for_good_only_when_all_say_so(first, second, permanent, code):
    one, two = await peers(Peer({"banner": first}), Peer({"banner": second}))
    trouble = await down([FIRST, SECOND], one.port)
    assert (trouble.permanent, trouble.reply.code, trouble.reply.stage) == (permanent, code, "GREETING")
    smarthost = await down([FIRST, SECOND], one.port, kind="smarthost", host="smart.example")
    assert not smarthost.permanent, "that is for the operator to mend"
    await stop(one, two)


async def test_a_refused_client_says_quit():
    async with Peer({"banner": b"554 5.7.1 no\r\n"}) as peer:
        await down([FIRST], peer.port)
        assert peer.commands == ["QUIT"]


async def test_a_host_that_does_not_answer_is_tried_last_for_a_while(silent):
    addresses, tried = silent
    one, two = await peers(Peer())
    now = 1000.0
    to = carrier(FIRST, SECOND, clock=lambda: now, timeouts=SHORT.__class__(connect=0.05))
    addresses.add("127.0.0.1")
    for expected in (["127.0.0.1", "127.0.0.2"], ["127.0.0.2"]):
        tried.clear()
        await (await to.open(hop(one.port))).close()
        assert tried == expected
    now += 400
    tried.clear()
    await (await to.open(hop(one.port))).close()
    assert tried[0] == "127.0.0.1"
    await stop(one, two)


async def test_mail_that_comes_back_to_us():
    async with Peer(name="here.example") as peer:
        trouble = await down([FIRST], peer.port)
        assert (trouble.permanent, trouble.reply.enhanced) == (True, "5.4.6")
        assert await host_for([FIRST], peer.port, kind="smarthost", host="x") == "first.example.org"


@pytest.mark.parametrize("kind", ["mx", "smarthost", "lmtp"])
async def test_ourselves_at_an_address_where_we_listen(kind):
    async with Peer(name="other.example", lmtp=kind == "lmtp") as peer:
        for listeners, ours in (
            ({("127.0.0.1", peer.port)}, True),
            ({("0.0.0.0", peer.port)}, True),
            ({("127.0.0.9", peer.port), ("::", peer.port), ("127.0.0.1", peer.port + 1), ("/x", 0)}, False),
        ):
            to = carrier(FIRST, listeners=frozenset(listeners))
            if not ours:
                await (await to.open(hop(peer.port, kind=kind))).close()
                continue
            with pytest.raises(HopDown) as caught:
                await to.open(hop(peer.port, kind=kind))
            reply = caught.value.reply
            assert (caught.value.permanent, reply.code, reply.enhanced) == (True, 554, "5.4.6")
            assert reply.text.endswith(f"127.0.0.1:{peer.port} is this server itself")


@pytest.mark.parametrize("kind", ["mx", "backup"])
@pytest.mark.parametrize("known", ["by address", "by name"])
async def test_a_second_mx_that_is_ourselves_by_another_name_is_no_circle(kind, known):
    """The better host is down, so that it waits: also the next time, when the better one is asked last."""
    third = MailHost("third.example.org", 20, ("127.0.0.3",))
    async with Peer(name="here.example" if known == "by name" else "other.example") as peer:
        second = MailHost("backup.example.org", 20, ("127.0.0.1",))
        first = MailHost("first.example.org", 10, ("127.0.0.2",))
        ours = frozenset({("127.0.0.1", peer.port)} if known == "by address" else ())
        to = carrier(first, second, third, listeners=ours)
        for _ in range(2):
            with pytest.raises(HopDown) as caught:
                await to.open(hop(peer.port, kind=kind))
            reply = caught.value.reply
            assert (caught.value.permanent, reply.code, reply.enhanced) == (False, 451, "4.4.1")
            assert "first.example.org" in reply.text
        async with Peer() as better:
            await better.stop()
            await better.listen("127.0.0.2", peer.port)
            await (await to.open(hop(peer.port, kind=kind))).close()
            assert better.connections == 1


async def test_a_backup_that_is_the_best_host_by_another_name_waits():
    async with Peer() as peer:
        to = carrier(FIRST, SECOND, listeners=frozenset({("127.0.0.1", peer.port)}))
        with pytest.raises(HopDown) as caught:
            await to.open(hop(peer.port, kind="backup"))
        assert (caught.value.permanent, caught.value.reply.enhanced) == (False, "4.4.6")
        assert caught.value.reply.text.startswith("We keep the mail of example.org for its own host")


async def test_ourselves_at_a_socket(tmp_path):
    path = tmp_path / "lmtp.sock"
    (tmp_path / "link").symlink_to(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        to = carrier(listeners=listeners_of([listener]))
        with pytest.raises(HopDown) as caught:
            await to.open(hop(0, kind="lmtp", socket=str(tmp_path / "link")))
    assert (caught.value.permanent, caught.value.reply.enhanced) == (True, "5.4.6")


def test_where_sockets_are_reached():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as any_address:
        ports = one.getsockname()[1], any_address.getsockname()[1]
        assert listeners_of([one, any_address]) == {("127.0.0.1", ports[0]), ("0.0.0.0", ports[1])}
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        port = both.getsockname()[1]
        assert listeners_of([both]) == {("::", port), ("0.0.0.0", port)}


@pytest.mark.parametrize(
    ("by", "times", "goes"),
    [("here.example", 3, True), ("HERE.example", 4, False), ("other.example", 90, True), ("not-here.example", 9, True)],
)
async def test_a_server_of_our_name_gets_what_did_not_go_round(by, times, goes):
    """A balancer before several of one name, or a program for lists on this machine, is no circle."""
    received = f"Received: from x (by here.example)\r\n\tby {by} with ESMTP;\r\n Mon\r\n".encode() * times
    content = received + b"Subject: x\r\n\r\nReceived: from x by here.example;\r\n" * 9
    async with Peer(name="here.example") as peer:
        lane = await carrier(store=Shelf(_1=content)).open(hop(peer.port, kind="smarthost", host="x"))
        outcomes = await lane.send(parcel(content=content))
        await lane.close()
    assert {(o.result, o.reply.enhanced) for o in outcomes} == {("delivered", "2.0.0") if goes else ("failed", "5.4.6")}
    assert len(peer.messages) == int(goes)


@pytest.mark.parametrize(
    ("by", "times", "goes"),
    [("here.example", 9, True), ("here.example", 10, False), ("Here.Example", 12, False), ("other.example", 90, True)],
)
async def test_a_circle_through_a_server_of_others_is_cut(by, times, goes):
    received = f"received: by hub.example\r\nReceived: from hub.example\r\n\tby {by} with ESMTP;\r\n Mon\r\n".encode()
    content = received * times + b"Subject: x\r\n\r\n" + b"Received: from x by here.example;\r\n" * 99
    async with Peer(name="hub.example") as peer:
        lane = await carrier(store=Shelf(_1=content)).open(hop(peer.port, kind="smarthost", host="x"))
        outcomes = await lane.send(parcel(content=content))
        await lane.close()
    assert {(o.result, o.reply.enhanced) for o in outcomes} == {("delivered", "2.0.0") if goes else ("failed", "5.4.6")}
    assert goes or f"through this server {times} times already" in outcomes[0].reply.text
    assert len(peer.messages) == int(goes)


def test_names_that_many_machines_have_cut_nothing():
    for name in ("localhost", "localhost.localdomain", "mail"):
        assert not round_in_circles(f"Received: by {name};\r\n".encode() * 99, {name}, namesake=False)
    assert round_in_circles(b"Received: by mail;\r\n" * 4, {"mail"}, namesake=True) == 4


async def test_no_hosts():
    async def lookup(hop):
        raise NoHosts(556, "5.1.10", "takes no mail")

    with pytest.raises(HopDown) as caught:
        await OutgoingCarrier(None, lookup, lambda: Manner("here.example")).open(hop(25))
    assert (caught.value.permanent, caught.value.reply.stage, caught.value.reply.code) == (True, "DNS", 556)


async def test_all_together_take_no_longer_than_the_opening():
    one, two = await peers(Peer({"banner": "stall"}), Peer({"banner": "stall"}))
    slow = SHORT.__class__(connect=1, greeting=0.2, opening=0.3, quit=0.1)
    with pytest.raises(HopDown) as caught:
        await carrier(FIRST, SECOND, timeouts=slow).open(hop(one.port))
    assert (caught.value.permanent, caught.value.reply.host) == (False, "first.example.org")
    await stop(one, two)


class Names:
    """A resolver that knows smart.example."""

    async def query(self, name, kind):
        if name == "smart.example":
            return Answer("ok", ("2001:db8::1",) if kind == "AAAA" else ("192.0.2.1",), 60)
        if name == "example.org" and kind == "MX":
            return Answer("ok", ((10, "smart.example"),), 60)
        return Answer("nxdomain", (), 60)


async def test_hosts_of_each_kind_of_hop():
    hosts = hosts_by(Names(), lambda: ("here.example",))
    (mx,) = await hosts(hop(25))
    assert (mx.name, mx.addresses) == ("smart.example", ("2001:db8::1", "192.0.2.1"))
    (smart,) = await hosts(hop(25, kind="smarthost", host="smart.example"))
    assert smart.addresses == ("2001:db8::1", "192.0.2.1")
    (literal,) = await hosts(hop(25, kind="lmtp", host="[192.0.2.7]"))
    assert literal.addresses == ("192.0.2.7",)
    (local,) = await hosts(hop(25, kind="lmtp", host="localhost"))
    assert "127.0.0.1" in local.addresses
    with pytest.raises(NoHosts) as caught:
        await hosts(hop(25, kind="smarthost", host="no such host.invalid"))
    assert not caught.value.permanent
