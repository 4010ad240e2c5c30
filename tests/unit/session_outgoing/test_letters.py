"""Messages that a server cannot take as they are: changed where that does no harm, else refused in words that help."""

import pytest
from msgspec.structs import replace

from empty_store import put_empty_store
from going_out import carrier, hop, parcel, told
from pillarbox.mime.analysis import analyse
from pillarbox.store import blobs
from pillarbox.store.opening import open_store
from scripted_peer import Peer

PREFIX = b"Received: from here\r\n"
EIGHT = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "Grüße aus Köln, wo es regnet\r\n".encode()
)
SIGNED = (
    b'MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n"
    b"x\r\n--b--\r\n"
)


@pytest.fixture
async def send(tmp_path):
    """`await send(peer, content, ...)` through a real store."""
    put_empty_store(tmp_path / "smtp.db")
    store = await open_store(tmp_path / "smtp.db")

    async def work(peer, content, **changes):
        blob = await store.write(blobs.add, blobs.pack(content), analyse(content))
        one = parcel(**{"content": content, "blob": blob, "prefix": PREFIX} | changes)
        one = replace(one, size=len(PREFIX) + len(content))
        lane = await carrier(store=store, clock=lambda: 1000.0).open(hop(peer.port))
        outcomes = await lane.send(one)
        assert lane.usable
        await lane.close()
        return outcomes

    yield work
    assert await store.check() == []
    await store.close()


async def test_8bit_content_for_a_7bit_server(send):
    async with Peer(offer=("SIZE 1000", "PIPELINING")) as peer:
        outcomes = await send(peer, EIGHT, body="8BITMIME")
    assert told(outcomes) == [("delivered", "END", 250)] * 2
    ((mail, _, content),) = peer.messages
    assert content.isascii()
    assert content.endswith(b"\r\n\r\nGr=C3=BC=C3=9Fe aus K=C3=B6ln, wo es regnet\r\n")
    assert mail == f"MAIL FROM:<s@here.example> SIZE={len(content)}"


async def test_8bit_content_for_a_server_that_takes_it(send):
    async with Peer(offer=("8BITMIME",)) as peer:
        await send(peer, EIGHT, body="8BITMIME")
    ((mail, _, content),) = peer.messages
    assert mail == "MAIL FROM:<s@here.example> BODY=8BITMIME"
    assert content == PREFIX + EIGHT


async def test_binary_content_for_an_8bit_server(send):
    binary = EIGHT.replace(b"8bit", b"binary") + b"a bare\nline feed\r\n"
    async with Peer(offer=("8BITMIME",)) as peer:
        await send(peer, binary, body="BINARYMIME")
    ((mail, _, content),) = peer.messages
    assert mail == "MAIL FROM:<s@here.example> BODY=8BITMIME"
    assert b"Content-Transfer-Encoding: base64" in content


async def test_a_large_message_is_encoded_in_pieces(send):
    large = EIGHT + "Zeile für Zeile\r\n".encode() * 20_000
    async with Peer(offer=()) as peer:
        await send(peer, large[:200_000] + b"\r\n", body="8BITMIME")
    (_, _, content) = peer.messages[0]
    assert content.isascii()
    assert content.count(b"Zeile f=C3=BCr Zeile\r\n") > 10_000


async def test_a_signed_message_is_not_touched(send):
    async with Peer(offer=()) as peer:
        outcomes = await send(peer, SIGNED, body="8BITMIME")
    assert told(outcomes) == [("failed", "POLICY", 550)] * 2
    assert outcomes[0].reply.enhanced == "5.6.3"
    assert "multipart/signed" in outcomes[0].reply.text
    assert peer.messages == []


async def test_the_changed_message_is_too_big(send):
    async with Peer(offer=(f"SIZE {len(EIGHT) + 30}",)) as peer:
        outcomes = await send(peer, EIGHT, body="8BITMIME")
    assert outcomes[0].reply.enhanced == "5.3.4"


PLAIN = b"Subject: x\r\n\r\ntext\r\n"
HEADED = "Subject: Grüße\r\n\r\ntext\r\n".encode()


@pytest.mark.parametrize(
    ("content", "sender", "recipients", "results"),
    [
        (PLAIN, "s@here.example", ["a@example.org"], ["END"]),
        (PLAIN, "s@bücher.example", ["a@münchen.example"], ["END"]),
        (PLAIN, "s@here.example", ["a@example.org", "jürgen@example.org"], ["END", "5.6.7"]),
        (PLAIN, "jürgen@here.example", ["a@example.org"], ["5.6.7"]),
        (HEADED, "s@here.example", ["a@example.org"], ["5.6.7"]),
    ],
)
async def test_international_mail_for_a_server_without_it(send, content, sender, recipients, results):
    to = parcel(*recipients).recipients
    async with Peer(offer=("8BITMIME",)) as peer:
        outcomes = await send(peer, content, sender=sender, recipients=to, smtputf8=True)
    assert [o.reply.stage if o.result == "delivered" else o.reply.enhanced for o in outcomes] == results
    for mail, recipients_said, _ in peer.messages:
        assert "SMTPUTF8" not in mail
        assert mail.isascii()
        assert all(line.isascii() for line in recipients_said)
    if "münchen" in recipients[0]:
        assert peer.messages[0][:2] == ("MAIL FROM:<s@xn--bcher-kva.example>", ("RCPT TO:<a@xn--mnchen-3ya.example>",))


async def test_international_mail_for_a_server_with_it(send):
    to = parcel("jürgen@münchen.example").recipients
    async with Peer(offer=("8BITMIME", "SMTPUTF8")) as peer:
        outcomes = await send(peer, HEADED, sender="müller@here.example", recipients=to, body="8BITMIME")
    assert told(outcomes) == [("delivered", "END", 250)]
    ((mail, (rcpt,), content),) = peer.messages
    assert mail.encode("latin-1").decode() == "MAIL FROM:<müller@here.example> BODY=8BITMIME SMTPUTF8"
    assert rcpt.encode("latin-1").decode() == "RCPT TO:<jürgen@münchen.example>"
    assert content == PREFIX + HEADED


@pytest.mark.parametrize(
    ("deliver_by", "mode", "offer", "enhanced"),
    [
        (1060, "R", ("DELIVERBY",), "2.0.0"),
        (1060, "R", (), "5.3.3"),
        (1060, "N", (), "2.0.0"),
        (990, "R", ("DELIVERBY",), "5.4.7"),
        (990, "N", ("DELIVERBY",), "2.0.0"),
    ],
)
async def test_deliver_by(send, deliver_by, mode, offer, enhanced):
    async with Peer(offer=offer) as peer:
        outcomes = await send(peer, PLAIN, deliver_by=deliver_by, deliver_mode=mode)
    assert outcomes[0].reply.enhanced == enhanced
    if offer and peer.messages:
        assert peer.messages[0][0].endswith(f"BY={deliver_by - 1000};{mode}")


async def test_a_blob_that_is_gone(send):
    async with Peer() as peer:
        outcomes = await send(peer, PLAIN, blob=999)
    assert told(outcomes) == [("deferred", "POLICY", 451)] * 2
    assert peer.messages == []
