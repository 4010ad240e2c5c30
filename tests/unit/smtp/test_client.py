"""The client core beyond one good transaction: several on a connection, answers that fit nothing, a sudden end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from fuzz import fuzz_smtp_client as fuzz
from pillarbox.smtp import client as c
from pillarbox.smtp import client_events as e
from pillarbox.smtp import events, login
from pillarbox.smtp.answer import Answer, enhanced_of
from pillarbox.smtp.core import SmtpCore
from pillarbox.smtp.envelope import decode_xtext
from pillarbox.smtp.offer import Limits, Offer
from pillarbox.smtp.outgoing import (
    Recipient,
    Sender,
    encode_orcpt,
    extensions_of,
    limit,
    mail_line,
    rcpt_line,
    size_limit,
    takes_binary,
)

A_AND_B = [Recipient("a@x.example"), Recipient("b@x.example")]
STEPS = ["mail", "a", "b", "data", "end", "a end", "b end"]


def send(client, sender, recipients):
    """Begin a transaction with what this client's server offers."""
    lines = [rcpt_line(recipient, client.extensions) for recipient in recipients]
    chunked = sender.body == "BINARYMIME" and takes_binary(client.extensions)
    client.send(mail_line(sender, client.extensions), lines, chunked=chunked)


def serve(core, refused):
    """Answer what the server core has, refusing what is named."""
    recipients = serve.recipients
    while (event := core.next_event()) is not None:
        match event:
            case events.Mail():
                recipients.clear()
                what = ["mail"]
            case events.Rcpt(recipient):
                what = [recipient.local]
            case events.Data():
                what = ["data"]
            case events.ContentEnd(fault=None):
                what = [f"{recipient} end" for recipient in recipients] if core.lmtp else ["end"]
            case _:
                what = [""] if core.waiting is event else []
        for each in what:
            if each in refused:
                core.reply(550, "5.7.1", f"no {each}")
            else:
                core.accept()
                if each in ("a", "b"):
                    recipients.append(each)


serve.recipients = []


@settings(max_examples=examples(150))
@given(
    st.lists(st.sets(st.sampled_from(STEPS), max_size=3), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 40), max_size=60),
)
def test_transactions_do_not_disturb_each_other(plans, lmtp, pipelining, sizes):
    server = SmtpCore("mx.example.com", Limits(errors=1000, refusals=1000), Offer(), lmtp=lmtp)
    client = c.ClientCore("me.example", lmtp=lmtp)
    server.greet()
    pieces = iter(sizes)
    found, left, refused, open_ = [], [set(plan) for plan in plans], set(), False
    while True:
        said, asked = server.output(), client.output()
        for data, take in ((said, client.receive), (asked, server.receive)):
            at = 0
            while at < len(data):
                size = next(pieces, len(data))
                take(data[at : at + size])
                at += size
                serve(server, refused)
                while (event := client.next_event()) is not None:
                    match event:
                        case e.Connected():
                            client.hello()
                        case e.Introduced(extensions):
                            if not pipelining:
                                del extensions["PIPELINING"]
                        case e.ContentWanted():
                            client.content(b"text\r\n")
                            client.end_content()
                        case e.Done():
                            found.append((refused, event))
                            open_ = False
        if not said and not asked:
            if open_ or not client.extensions or not left or client.awaiting:
                break
            refused, open_ = left.pop(0), True
            send(client, Sender("s@y.example"), A_AND_B)
    assert len(found) == len(plans)
    assert not client.closed
    for plan, done in found:
        for name, answer, stage in zip("ab", done.answers, done.stages, strict=True):
            last = f"{name} end" if lmtp else "end"
            if "mail" in plan:
                expected = ("MAIL", 550)
            elif name in plan:
                expected = ("RCPT", 550)
            elif "data" in plan:
                expected = ("DATA", 550)
            else:
                expected = ("END", 550 if last in plan else 250)
            assert (stage, answer.code) == expected


def talked(*said, recipients=A_AND_B, lmtp=False, extensions=None):
    """A client that has begun a transaction and heard this; its events since then."""
    client = c.ClientCore("me.example", lmtp=lmtp)
    client.receive(b"220 x\r\n")
    client.next_event()
    client.hello()
    client.receive(b"250-x\r\n250 PIPELINING\r\n")
    client.next_event()
    client.output()
    send(client, Sender("s@y.example"), recipients)
    found = []
    for data in said:
        client.receive(data)
        while (event := client.next_event()) is not None:
            found.append(event)
            if isinstance(event, e.ContentWanted):
                client.content(b"text\r\n")
                if extensions != "slowly":
                    client.end_content()
    return client, found


GOOD = b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"


@given(st.integers(0, len(GOOD)), st.booleans())
def test_an_end_at_any_octet_decides_everything(cut, lmtp):
    heard = GOOD + b"250 taken too\r\n" * lmtp
    cut = min(cut, len(heard))
    client, found = talked(heard[:cut], lmtp=lmtp)
    client.give_up("LOST", Answer(421, "4.4.2", ("gone",)))
    while (event := client.next_event()) is not None:
        found.append(event)
    (done,) = [event for event in found if isinstance(event, e.Done)]
    assert len(done.answers) == 2
    assert client.closed
    whole = sum(line.startswith(b"250 taken") for line in heard[:cut].split(b"\r\n")[:-1])
    expected = ["END"] * (whole if lmtp else whole * 2)
    assert list(done.stages) == expected + ["LOST"] * (2 - len(expected))


@pytest.mark.parametrize(
    "said",
    [
        b"250 ok\r\n250 ok\r\n250 ok\r\n250 not a 354\r\n",
        b"354 go\r\n",
        b"250 ok\r\n354 go\r\n",
        b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n354 go on\r\n",
    ],
)
def test_an_answer_that_does_not_fit(said):
    client, found = talked(said)
    done, failed = found[-2:]
    assert client.closed
    assert done.stages == ("PROTOCOL", "PROTOCOL")
    assert done.answers[0].temporary
    assert failed.stage == "PROTOCOL"


def test_an_early_refusal():
    client, found = talked(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", b"552 5.3.4 too big\r\n", extensions="slowly")
    assert found[-1] == e.Done((Answer(552, "5.3.4", ("too big",)),) * 2, ("END", "END"))
    assert client.closed
    client.output()
    client.content(b"more")
    client.end_content()
    assert client.output() == b""


def test_early_praise_is_no_answer():
    client, found = talked(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", b"250 fine\r\n", extensions="slowly")
    assert client.closed
    assert found[-2].stages == ("PROTOCOL", "PROTOCOL")


def test_a_refused_reset_closes():
    client, found = talked(b"250 ok\r\n550 no\r\n550 no\r\n554 nobody\r\n")
    assert found[-1].stages == ("RCPT", "RCPT")
    assert client.awaiting == "RSET"
    client.receive(b"500 what\r\n")
    assert client.next_event() is None
    assert client.closed


@pytest.mark.parametrize("code", [571, 591, 471, 599])
def test_a_code_that_nobody_knows_counts_by_its_first_digit(code):
    client, found = talked(b"250 ok\r\n%d no\r\n250 ok\r\n354 go\r\n250 taken\r\n" % code)
    assert found[-1] == e.Done((Answer(code, "", ("no",)), Answer(250, "", ("taken",))), ("RCPT", "END"))
    assert not client.closed


@pytest.mark.parametrize(
    ("code", "stage", "expected"),
    [
        (550, "RCPT", "5.1.0"),
        (550, "MAIL", "5.0.0"),
        (552, "RCPT", "5.2.2"),
        (552, "END", "5.3.4"),
        (421, "MAIL", "4.3.2"),
        (450, "RCPT", "4.2.0"),
        (599, "END", "5.0.0"),
        (250, "END", "2.0.0"),
        (535, "AUTH", "5.7.8"),
    ],
)
def test_codes_without_an_enhanced_one(code, stage, expected):
    assert enhanced_of(Answer(code, "", ("text",)), stage) == expected
    assert enhanced_of(Answer(code, "4.1.8", ("text",)), stage) == "4.1.8"


def test_what_a_server_offers():
    found = extensions_of(["SIZE 1000", "pipelining", "AUTH=LOGIN PLAIN", "LIMITS RCPTMAX=20 mailmax=5", "", "SIZE x"])
    assert found == {"SIZE": "1000", "PIPELINING": "", "AUTH": "LOGIN PLAIN", "LIMITS": "RCPTMAX=20 mailmax=5"}
    assert size_limit(found) == 1000
    assert (limit(found, "RCPTMAX"), limit(found, "MAILMAX"), limit(found, "RCPTDOMAINMAX")) == (20, 5, 0)
    for words in ({"SIZE": ""}, {"SIZE": "many"}, {"SIZE": "9" * 30}, {}):
        assert size_limit(words) == 0


def test_deliver_by_and_priority():
    sender = Sender("a@x.example", priority=-4, deliver_by=120, deliver_mode="RT")
    assert mail_line(sender, {}) == b"MAIL FROM:<a@x.example>\r\n"
    offered = {"MT-PRIORITY": "", "DELIVERBY": ""}
    assert mail_line(sender, offered) == b"MAIL FROM:<a@x.example> MT-PRIORITY=-4 BY=120;RT\r\n"
    late = Sender("a@x.example", deliver_by=-(10**12))
    assert mail_line(late, offered) == b"MAIL FROM:<a@x.example> BY=-999999999;N\r\n"


@pytest.mark.parametrize(
    ("orcpt", "ascii_form", "utf8_form"),
    [
        ("rfc822;a+b=c@x", "rfc822;a+2Bb+3Dc@x", "rfc822;a+2Bb+3Dc@x"),
        ("rfc822;jürgen@x", r"utf-8;j\x{FC}rgen@x", "utf-8;jürgen@x"),
        ("utf-8;jürgen+a@x", r"utf-8;j\x{FC}rgen\x{2B}a@x", r"utf-8;jürgen\x{2B}a@x"),
        (r"utf-8;j\x{FC}rgen@x", r"utf-8;j\x{FC}rgen@x", "utf-8;jürgen@x"),
        (r"UTF-8;\x{D800}\x{5C}", r"utf-8;\x{FFFD}\x{5C}", "utf-8;\ufffd\\x{5C}"),
    ],
)
def test_orcpt(orcpt, ascii_form, utf8_form):
    assert encode_orcpt(orcpt, utf8=False) == ascii_form
    assert encode_orcpt(orcpt, utf8=True) == utf8_form
    assert b"ORCPT=" + ascii_form.encode() in rcpt_line(Recipient("a@x.example", orcpt=orcpt), {"DSN": ""})


@given(st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_orcpt_is_understood_at_the_other_end(address):
    kind, _, value = encode_orcpt(f"rfc822;{address}", utf8=False).partition(";")
    assert value.isascii()
    assert " " not in value
    if kind == "rfc822":
        assert decode_xtext(value) == address


def test_mechanisms_in_their_order():
    def chosen(offered, refused=()):
        mechanism = login.choose(offered, "ada", "secret", "n" * 20, refused)
        return mechanism and mechanism.name

    assert chosen(["PLAIN", "login", "scram-sha-256"]) == "SCRAM-SHA-256"
    assert chosen(["LOGIN", "PLAIN"]) == "PLAIN"
    assert chosen(["LOGIN", "PLAIN"], {"PLAIN"}) == "LOGIN"
    assert chosen(["XOAUTH2", "CRAM-MD5"]) is None


def test_scram_by_the_example_of_rfc_7677():
    mechanism = login.ScramSha256("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert mechanism.initial() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert mechanism.respond(first) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not mechanism.complete
    assert mechanism.respond(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert mechanism.complete


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999",
        b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        b"r=nonceX,s=?,i=1",
        b"r=nonceX,s=,i=1",
        b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=x",
        b"\xff\xfe",
        b"m=x,r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
    ],
)
def test_a_challenge_that_is_none_cancels(challenge):
    assert login.ScramSha256("user", "pencil", "nonce").respond(challenge) is None


def test_a_wrong_proof_of_the_server_cancels():
    mechanism = login.ScramSha256("user", "pencil", "nonce")
    assert mechanism.respond(b"r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1") is not None
    assert mechanism.respond(b"v=AAAA") is None
    assert not mechanism.complete


@pytest.mark.parametrize("seed", fuzz.SEEDS)
def test_the_seeds_of_the_fuzz_target_are_conversations(seed):
    fuzz.run(seed)
    found, *_ = fuzz.converse([[part] for part in seed[2:].split(fuzz.HANDSHAKE)], seed[0])
    kinds = [type(event) for event in found]
    assert kinds[:2] == [e.Connected, e.Introduced]
    assert e.Done in kinds or e.Challenge in kinds


@pytest.mark.parametrize("step", range(1, 40))
def test_what_comes_before_tls_is_not_heard_in_it(step):
    """Wherever it was cut, and where the server's next words are cut too."""
    plain = b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n250 forged\r\nE\r\n"
    secured = b"250 secure\r\n550 5.7.1 no\r\n"
    parts = [[part[at : at + step] for at in range(0, len(part), step)] for part in (plain, secured)]
    found, *_ = fuzz.converse(parts, 4)
    assert [event.name for event in found if isinstance(event, e.Introduced)] == ["mx", "secure"]
