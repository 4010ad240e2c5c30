"""TLS by policy, and passwords that go nowhere in the clear."""

import base64
import hashlib
import hmac
import re

import pytest

from client_certificates import Authority, der_of
from going_out import carrier, hop, parcel
from pillarbox.flow.mail_hosts import MailHost
from pillarbox.flow.parcel import HopDown
from pillarbox.session.outgoing_tls import context_for
from scripted_peer import OFFER, Peer

ELSEWHERE = MailHost("other.example.org", 10, ("127.0.0.1",))


async def delivered(peer, *hosts, authorities=None, to=None, **changes):
    """The reply that a message got."""
    lane = await (to or carrier(*hosts, authorities=authorities)).open(hop(peer.port, **changes))
    (outcome,) = await lane.send(parcel("a@example.org"))
    await lane.close()
    assert outcome.result == "delivered"
    return outcome.reply


async def down(peer, *hosts, authorities=None, **changes):
    with pytest.raises(HopDown) as caught:
        await carrier(*hosts, authorities=authorities).open(hop(peer.port, **changes))
    return caught.value


@pytest.mark.parametrize("policy", ["may", "require"])
async def test_any_certificate_will_do(tls, policy):
    async with Peer(tls=tls[1], offer_in_tls=()) as peer:
        reply = await delivered(peer, ELSEWHERE, tls=policy)
    assert reply.tls.startswith("TLS 1.3 TLS_")
    assert peer.commands[:3] == ["EHLO here.example", "STARTTLS", "EHLO here.example"]
    assert peer.messages[0][0] == "MAIL FROM:<s@here.example>", "what was offered in the clear counts no more"


async def test_never_means_never(tls):
    async with Peer(tls=tls[1]) as peer:
        assert (await delivered(peer, tls="never")).tls == ""
    assert "STARTTLS" not in peer.commands


@pytest.mark.parametrize("policy", ["verify", "implicit"])
async def test_the_certificate_is_checked(tls, policy):
    async with Peer(tls=tls[1], implicit_tls=policy == "implicit") as peer:
        reply = await delivered(peer, authorities=tls[0], tls=policy)
        wrong_name = await down(peer, ELSEWHERE, authorities=tls[0], tls=policy)
        unknown = await down(peer, tls=policy)
    assert reply.tls
    for trouble in (wrong_name, unknown):
        assert (trouble.permanent, trouble.reply.stage, trouble.reply.enhanced) == (False, "STARTTLS", "4.7.5")
    assert "ertificate" in unknown.reply.text


async def test_authorities_are_read_again_when_their_file_has_changed(tmp_path):
    own, bundle = Authority(tmp_path, "Own").file, tmp_path / "bundle.pem"
    bundle.write_bytes(own.read_bytes())
    first = await context_for("verify", "1.2", bundle)
    assert der_of(own) in first.get_ca_certs(binary_form=True)
    assert await context_for("verify", "1.2", bundle) is first
    assert await context_for("verify", "1.3", bundle) is not first
    bundle.write_bytes(Authority(tmp_path, "Other").file.read_bytes() + own.read_bytes())
    second = await context_for("verify", "1.2", bundle)
    assert len(second.get_ca_certs()) == len(first.get_ca_certs()) + 1
    assert await context_for("require", "1.2", bundle) is await context_for("require", "1.2", None)
    bundle.write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(OSError, match="NO_CERTIFICATE"):
            await context_for("verify", "1.2", bundle)
    bundle.unlink()
    with pytest.raises(FileNotFoundError):
        await context_for("verify", "1.2", bundle)


@pytest.mark.parametrize("policy", ["require", "verify"])
async def test_no_tls_no_mail(policy):
    async with Peer() as peer:
        trouble = await down(peer, tls=policy)
    assert (trouble.reply.stage, trouble.reply.enhanced, trouble.permanent) == ("STARTTLS", "4.7.4", False)


@pytest.mark.parametrize(
    ("done", "said"), [("drop", "(the connection was lost|Connection reset by peer)"), ("stall", "timed out")]
)
async def test_why_tls_failed_is_said_in_words(tls, done, said):
    async with Peer({"handshake": done}, tls=tls[1]) as peer:
        trouble = await down(peer, tls="require")
    assert re.fullmatch(rf"TLS with [a-z.]+ failed: {said}", trouble.reply.text)


async def test_where_tls_failed_it_is_not_tried_again_for_a_while(tls):
    now = 1000.0
    to = carrier(clock=lambda: now)
    async with Peer({"handshake": ["drop"]}, tls=tls[1]) as peer:
        assert (await delivered(peer, to=to)).tls == ""
        assert (await delivered(peer, to=to)).tls == ""
        assert peer.commands.count("STARTTLS") == 1
        now += 4000
        assert (await delivered(peer, to=to)).tls != ""
    assert len(peer.messages) == 3


async def test_a_server_that_ends_after_the_handshake_gets_the_mail_in_the_clear(tls):
    async with Peer({"EHLO": [None, "drop"]}, tls=tls[1]) as peer:
        assert (await delivered(peer)).tls == ""


async def test_what_is_said_before_tls_does_not_count(tls):
    async with Peer({"STARTTLS": [b"220 go\r\n250-injected\r\n250 AUTH PLAIN\r\n"]}, tls=tls[1]) as peer:
        trouble = await down(peer, tls="require", username="ada", password="x")
    assert trouble.reply.stage == "STARTTLS"
    assert not peer.logins


@pytest.mark.parametrize(("offer", "said"), [("PLAIN LOGIN", b"AUTH PLAIN " + base64.b64encode(b"\0ada\0pass"))])
async def test_plain(tls, offer, said):
    async with Peer(tls=tls[1], offer_in_tls=(*OFFER, f"AUTH {offer}")) as peer:
        await delivered(peer, username="ada", password="pass")
    assert peer.logins == [said]


async def test_login(tls):
    async def sasl(conversation, text):
        peer.logins += [text.encode(), await conversation.ask(b"VXNlcg=="), await conversation.ask(b"UGFzcw==")]
        return b"235 welcome\r\n"

    async with Peer(tls=tls[1], offer_in_tls=("AUTH=LOGIN",)) as peer:
        peer.sasl = sasl
        await delivered(peer, username="ada", password="pass")
    assert peer.logins == [b"AUTH LOGIN", base64.b64encode(b"ada"), base64.b64encode(b"pass")]


def scram(password, *, honest=True):
    """The server's part of SCRAM-SHA-256, by RFC 5802."""

    async def sasl(conversation, text):
        def hmac256(key, data):
            return hmac.digest(key, data, "sha256")

        first = base64.b64decode(text.split()[2])
        bare = first.removeprefix(b"n,,")
        nonce = bare.split(b"r=")[1] + b"server"
        challenge = b"r=" + nonce + b",s=" + base64.b64encode(b"salt") + b",i=4096"
        final = base64.b64decode(await conversation.ask(base64.b64encode(challenge)))
        without, _, proof = final.partition(b",p=")
        salted = hashlib.pbkdf2_hmac("sha256", password, b"salt", 4096)
        everything = b",".join((bare, challenge, without))
        client_key = hmac256(salted, b"Client Key")
        signature = hmac256(hashlib.sha256(client_key).digest(), everything)
        if bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) != client_key:
            return b"535 5.7.8 no\r\n"
        if honest:
            said = b"v=" + base64.b64encode(hmac256(hmac256(salted, b"Server Key"), everything))
            assert await conversation.ask(base64.b64encode(said)) == b""
        return b"235 2.7.0 welcome\r\n"

    return sasl


async def test_scram(tls):
    async with Peer(tls=tls[1], offer_in_tls=("AUTH PLAIN SCRAM-SHA-256",)) as peer:
        peer.sasl = scram(b"pass")
        await delivered(peer, username="a=d,a", password="pass")
        trouble = await down_after(peer, "wrong")
        peer.sasl = scram(b"pass", honest=False)
        dishonest = await down_after(peer, "pass")
    assert (trouble.reply.stage, trouble.reply.code, trouble.permanent) == ("AUTH", 535, False)
    assert "did not prove" in dishonest.reply.text


async def down_after(peer, password):
    with pytest.raises(HopDown) as caught:
        await carrier().open(hop(peer.port, username="a=d,a", password=password))
    return caught.value


@pytest.mark.parametrize(
    ("policy", "address", "sent"),
    [("may", "127.0.0.1", False), ("never", "127.0.0.1", True)],
)
async def test_a_password_goes_in_the_clear_only_on_loopback_and_when_told(policy, address, sent):
    host = MailHost("mx.example.org", 10, (address,))
    peer = await Peer(offer=("AUTH PLAIN",)).listen(address)
    if sent:
        await delivered(peer, host, tls=policy, username="ada", password="x")
    else:
        trouble = await down(peer, host, tls=policy, username="ada", password="x")
        assert (trouble.reply.stage, trouble.permanent) == ("POLICY", False)
    assert bool(peer.logins) == sent
    await peer.stop()


async def test_no_way_to_log_in():
    async with Peer(offer=("AUTH GSSAPI",)) as peer:
        trouble = await down(peer, tls="never", username="ada", password="x")
    assert (trouble.reply.stage, trouble.permanent) == ("AUTH", False)
    assert "GSSAPI" in trouble.reply.text


@pytest.mark.parametrize(("kind", "result"), [("smarthost", "deferred"), ("lmtp", "deferred"), ("mx", "failed")])
async def test_a_login_or_tls_that_a_route_lacks_is_for_the_operator_to_add(kind, result):
    wanted = {"MAIL": b"530 5.7.0 Must issue a STARTTLS command first\r\n"}
    async with Peer(wanted, lmtp=kind == "lmtp", offer=()) as peer:
        lane = await carrier().open(hop(peer.port, kind=kind, host="127.0.0.1", tls="may"))
        outcomes = await lane.send(parcel())
        await lane.close()
    assert [(outcome.result, outcome.reply.code) for outcome in outcomes] == [(result, 530)] * 2


async def test_a_mechanism_that_is_refused_is_not_the_last():
    async with Peer({"AUTH": [b"504 5.5.4 not this\r\n", None]}, offer=("AUTH PLAIN LOGIN",)) as peer:
        await delivered(peer, tls="never", username="ada", password="x")
    assert [login.split()[1] for login in peer.logins] == [b"PLAIN", b"LOGIN"]


async def test_a_server_that_asks_for_ever():
    async def sasl(conversation, text):
        while True:
            if await conversation.ask(b"") == b"*":
                return b"501 5.7.0 cancelled\r\n"

    async with Peer(offer=("AUTH PLAIN",)) as peer:
        peer.sasl = sasl
        trouble = await down(peer, tls="never", username="ada", password="x")
    assert not trouble.permanent
