"""The client core and the server core played against each other: what is sent arrives, who is refused is told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from pillarbox.smtp import client as c
from pillarbox.smtp import client_events as e
from pillarbox.smtp import events
from pillarbox.smtp.address import AddressError
from pillarbox.smtp.core import SmtpCore
from pillarbox.smtp.offer import Limits, Offer
from pillarbox.smtp.outgoing import Recipient, Sender, mail_line, rcpt_line, takes_binary

LIMITS = Limits(message_size=4000, recipients=4)


AUTH = Offer(auth=("PLAIN", "LOGIN"), auth_in_clear=True)
TO_A_AND_B = [Recipient("a@x.example"), Recipient("b@x.example")]


def send(client, sender, recipients):
    """Begin a transaction with what this client's server offers."""
    lines = [rcpt_line(recipient, client.extensions) for recipient in recipients]
    chunked = sender.body == "BINARYMIME" and takes_binary(client.extensions)
    client.send(mail_line(sender, client.extensions), lines, chunked=chunked)


class Server:
    """A core with a session that refuses what `refused` names and keeps what it takes."""

    def __init__(self, *, lmtp=False, refused=(), offer=AUTH):
        self.core = SmtpCore("mx.example.com", LIMITS, offer, lmtp=lmtp)
        self.refused = set(refused)
        self.core.greet()
        self.mail, self.recipients, self.content, self.messages = None, [], b"", []

    def work(self):
        while (event := self.core.next_event()) is not None:
            match event:
                case events.Mail():
                    self.mail, self.recipients, self.content = event, [], b""
                    self.decide("mail")
                case events.Rcpt(recipient):
                    if self.decide(recipient.local):
                        self.recipients.append(recipient.local)
                case events.Data():
                    self.decide("data")
                case events.Content(data):
                    self.content += data
                case events.ContentEnd(fault=None):
                    self.messages.append((self.mail, tuple(self.recipients), self.content))
                    for recipient in self.recipients if self.core.lmtp else ["end"]:
                        self.decide(f"{recipient} end" if self.core.lmtp else recipient)
                case events.Auth():
                    self.core.challenge(b"Password:")
                case events.AuthResponse(data):
                    self.decide("auth" if data == b"secret" else "refused")
                case _ if self.core.waiting is event:
                    self.core.accept()

    def decide(self, what) -> bool:
        if what in self.refused or what == "refused":
            self.core.reply(550, "5.7.1", f"no {what}")
            return False
        self.core.accept()
        return True


def talk(client, server, script, pieces=None):
    """Run until both are silent; `script` is called with each event of the client. Returns the client's events."""
    found, sizes = [], iter(pieces or [])
    while True:
        server.work()
        said = server.core.output()
        asked = client.output()
        if not said and not asked:
            return found
        for data, take in ((said, client.receive), (asked, server.core.receive)):
            at = 0
            while at < len(data):
                size = next(sizes, len(data))
                take(data[at : at + size])
                at += size
                server.work()
                while (event := client.next_event()) is not None:
                    found.append(event)
                    script(event)


def sending(client, sender, recipients, content, *, pipelining=True):
    def script(event):
        match event:
            case e.Connected():
                client.hello()
            case e.Introduced(extensions):
                if not pipelining:
                    del extensions["PIPELINING"]
                send(client, sender, recipients)
            case e.ContentWanted():
                for piece in content:
                    client.content(piece)
                client.end_content()
            case e.Done():
                client.quit()

    return script


def codes(found):
    (done,) = [event for event in found if isinstance(event, e.Done)]
    return [answer.code for answer in done.answers]


TOKENS = [b"\r\n", b".", b"\r", b"\n", b"abc", b"..\r\n", b"\r\n.\r\n", b"\0"]
TEXT = st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join)


@settings(max_examples=examples(150))
@given(
    st.lists(TEXT, max_size=6),
    st.sampled_from(["", "BINARYMIME"]),
    st.sets(st.sampled_from(["mail", "a", "b", "data", "end", "a end", "b end"]), max_size=3),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 30), max_size=50),
)
def test_what_is_sent_arrives_and_each_recipient_is_decided(content, body, refused, lmtp, pipelining, pieces):
    client, server = c.ClientCore("me.example", lmtp=lmtp), Server(lmtp=lmtp, refused=refused)
    script = sending(client, Sender("s@y.example", body=body), TO_A_AND_B, content, pipelining=pipelining)
    found = talk(client, server, script, pieces)
    assert client.closed
    accepted = [name for name in "ab" if name not in refused]
    if "mail" in refused or "data" in refused:
        expected = [550, 550]
    elif b"\0" in b"".join(content) and body == "":
        expected = [554 if name in accepted else 550 for name in "ab"]
    else:
        end = [f"{name} end" if lmtp else "end" for name in "ab"]
        expected = [550 if name in refused or last in refused else 250 for name, last in zip("ab", end, strict=True)]
    assert codes(found) == expected
    if server.messages:
        ((mail, got, text),) = server.messages
        whole = b"".join(content)
        if body != "BINARYMIME":
            whole = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
            whole += b"" if whole.endswith(b"\r\n") or not whole else b"\r\n"
        assert (mail.sender.address, got, text) == ("s@y.example", tuple(accepted), whole)
    assert server.core.closed


def test_parameters_arrive():
    client, server = c.ClientCore("me.example"), Server()
    sender = Sender("jürgen@y.example", 100, "8BITMIME", True, "HDRS", "a+b=c d")
    recipient = Recipient("bob@x.example", ("SUCCESS", "DELAY"), "rfc822;bob+x@old.example")
    talk(client, server, sending(client, sender, [recipient], [b"x"]))
    ((mail, _, _),) = server.messages
    assert (mail.size, mail.body, mail.smtputf8, mail.ret, mail.envid) == (100, "8BITMIME", True, "HDRS", "a+b=c d")


def test_parameters_that_are_not_offered_are_left_out():
    client, server = c.ClientCore("me.example"), Server(offer=Offer(dsn=False, smtputf8=False, chunking=False))
    sender = Sender("a@y.example", 100, "BINARYMIME", True, "HDRS", "id")
    found = talk(client, server, sending(client, sender, [Recipient("b@x.example", ("NEVER",), "rfc822;x")], [b"x"]))
    assert codes(found) == [250]
    ((mail, _, _),) = server.messages
    assert (mail.size, mail.body, mail.smtputf8, mail.ret) == (100, "7BIT", False, "")


def test_chunks_over_the_limit():
    client, server = c.ClientCore("me.example"), Server()
    sender = Sender("a@y.example", body="BINARYMIME")
    found = talk(client, server, sending(client, sender, [Recipient("b@x.example")], [b"x" * 3000] * 3))
    assert codes(found) == [552]
    assert server.messages == []
    assert client.closed


def test_starttls_then_login():
    client, server = c.ClientCore("me.example"), Server(offer=Offer(starttls=True, auth=("LOGIN",)))

    def script(event):
        match event:
            case e.Connected():
                client.hello()
            case e.Introduced(extensions) if "STARTTLS" in extensions:
                assert "AUTH" not in extensions
                client.starttls()
            case e.Introduced(extensions):
                assert extensions["AUTH"] == "LOGIN"
                client.auth("LOGIN")
            case e.UpgradeTls():
                client.receive(b"250 2.0.0 injected\r\n")
                server.core.tls_started()
                client.tls_started()
                client.hello()
            case e.Challenge(data):
                assert data == b"Password:"
                client.respond(b"secret")
            case e.Authenticated():
                client.quit()

    found = talk(client, server, script)
    assert isinstance(found[-1], e.Authenticated)
    assert server.core.authenticated
    assert client.closed


def test_a_refused_login_and_a_cancelled_one():
    client, server = c.ClientCore("me.example"), Server()
    answers = [b"wrong", None]

    def script(event):
        match event:
            case e.Connected():
                client.hello()
            case e.Introduced():
                client.auth("PLAIN", b"")
            case e.Challenge():
                client.respond(answers.pop(0))
            case e.Failed("AUTH", answer):
                assert answer.code == (550 if answers else 501)
                if answers:
                    client.auth("LOGIN")

    found = talk(client, server, script)
    assert [event.stage for event in found if isinstance(event, e.Failed)] == ["AUTH", "AUTH"]


def reader(*said: bytes, ask=lambda client: None):
    client = c.ClientCore("me.example")
    found = []
    for data in said:
        client.receive(data)
        while (event := client.next_event()) is not None:
            found.append(event)
            ask(client)
            ask = lambda client: None  # noqa: E731
    return client, found


def test_a_server_that_knows_no_ehlo():
    client, found = reader(
        b"220 old\r\n", b"502 what\r\n", b"250 hello EHLO is for others\r\n", ask=lambda client: client.hello()
    )
    assert client.output() == b"EHLO me.example\r\nHELO me.example\r\n"
    assert found[1] == e.Introduced({}, "hello")


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-x\r\n",
        b"220-a\r\n250 b\r\n",
        b"999 a\r\n",
        b"220\ta\r\n",
        b"220 a\r\n250 unasked\r\n",
        b"220-a\r\n" * 300,
        b"2" * 10_000 + b"\r\n",
    ],
)
def test_what_is_no_smtp_closes_the_core(said):
    client, found = reader(said)
    assert client.closed
    assert found[-1].stage == "PROTOCOL"


def test_a_goodbye_at_any_time():
    client, found = reader(b"220 a\r\n421 4.3.2 going\r\n")
    assert client.closed
    assert found[-1] == e.Failed("CLOSED", c.Answer(421, "4.3.2", ("going",)))


def test_a_goodbye_decides_what_is_not_decided():
    def ask(client):
        send(client, Sender(""), [Recipient("a@b.example")])

    client, found = reader(b"220 a\r\n", b"250 2.1.0 OK\r\n421 going\r\n", ask=ask)
    assert found[-1] == e.Done((c.Answer(421, "", ("going",)),), ("RCPT",))
    assert client.closed


def test_an_answer_with_several_lines_and_control_characters():
    _, found = reader(b"220-mx \x1b[1m\r\n220\r\n")
    assert found == [e.Connected(c.Answer(220, "", ("mx ?[1m", "")))]


@given(st.binary(max_size=200) | st.text("25- 01\r\n.ab", max_size=100).map(str.encode), st.lists(st.integers(1, 20)))
def test_nothing_that_a_server_says_raises(data, sizes):
    def run(pieces):
        client, found = c.ClientCore("me.example"), []
        client.receive(b"220 x\r\n")
        client.next_event()
        client.hello()
        send(client, Sender("", body="BINARYMIME"), [Recipient("a@b.example")] * 2)
        for piece in pieces:
            client.receive(piece)
            while (event := client.next_event()) is not None:
                found.append(event)
                if isinstance(event, e.ContentWanted):
                    client.content(b"x")
                    client.end_content()
        return found, client.closed, client.output()

    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    assert run([*pieces, data[at:]]) == run([data])


@pytest.mark.parametrize("address", ["a b@c", "a@b> SIZE=1", "a@b\r\nRSET", "a"])
def test_no_address_breaks_out_of_its_command(address):
    client = c.ClientCore("me.example")
    with pytest.raises(AddressError):
        send(client, Sender(address), TO_A_AND_B)
    with pytest.raises(AddressError):
        send(client, Sender(""), [Recipient(address)])
    assert client.output() == b""
