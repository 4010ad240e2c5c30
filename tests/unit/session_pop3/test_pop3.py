"""POP3 sessions on a real store, spoken to by `poplib` and, where that is too polite, by raw octets."""

import asyncio
import poplib
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager

import pytest

from house import ADA, MESSAGE
from pillarbox.access.bearer import make_token, token_hash
from pillarbox.access.passwords import scram_keys
from pillarbox.session import pop3
from pillarbox.session.pop3 import Pop3Session
from pillarbox.store import directory, mailboxes, messages, tokens
from pillarbox.store.errors import Full
from scram_client import ScramClient

DOTS = b"Subject: dots\r\n\r\n.\r\n..\r\nend\r\n"
LONG = b"Subject: long\r\n\r\n" + b"".join(b"line %d\r\n" % n for n in range(60_000))


class Client:
    """`poplib` in a thread, so that the server's loop goes on."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        async def call(*args):
            return await asyncio.to_thread(getattr(self._client, name), *args)

        return call


@pytest.fixture
def maildrop(house):
    """`async with maildrop(...) as (h, connect):` where `connect(login=True)` gives a client over TLS."""

    @asynccontextmanager
    async def build(**changes):
        opened = []
        async with house(session=Pop3Session, **changes) as h:

            async def connect(*, login=True, node=None, implicit_tls=True):
                port = await h.listen(implicit_tls=implicit_tls, node=node)
                if implicit_tls:
                    made = await asyncio.to_thread(poplib.POP3_SSL, "localhost", port, context=h.client_tls, timeout=10)
                else:
                    made = await asyncio.to_thread(poplib.POP3, "localhost", port, timeout=10)
                opened.append(made)
                client = Client(made)
                if login:
                    await client.user(ADA)
                    await client.pass_("secret")
                return client

            try:
                yield h, connect
            finally:
                for made in opened:
                    made.close()

    return build


async def inbox(h):
    """(uid, flags) of what is in INBOX."""

    def read(tx):
        view = messages.open_view(tx, mailboxes.find(tx, directory.user(tx, ADA).id, "INBOX").id)
        return list(zip(view.uids, view.flags, strict=True))

    return await h.node.store.scan(read)


async def test_what_is_there_is_listed_and_fetched_to_the_octet(maildrop):
    async with maildrop() as (h, connect):
        await h.put(MESSAGE, LONG, DOTS)
        client = await connect()
        sizes = [len(MESSAGE), len(LONG), len(DOTS)]
        assert await client.stat() == (3, sum(sizes))
        assert (await client.list())[1] == [b"%d %d" % (n, size) for n, size in enumerate(sizes, 1)]
        fetched = [b"\r\n".join((await client.retr(n))[1]) + b"\r\n" for n in (1, 2, 3)]
        assert fetched == [MESSAGE, LONG, DOTS]


async def test_deleted_messages_go_at_quit_and_not_before(maildrop):
    async with maildrop() as (h, connect):
        await h.put(MESSAGE, MESSAGE, MESSAGE)
        client = await connect()
        await client.dele(2)
        assert await client.stat() == (2, 2 * len(MESSAGE))
        with pytest.raises(poplib.error_proto, match="no message of that number"):
            await client.retr(2)
        assert [line.split()[0] for line in (await client.list())[1]] == [b"1", b"3"]
        assert len(await inbox(h)) == 3
        await client.quit()
        assert [uid for uid, _ in await inbox(h)] == [1, 3]


async def test_reset_and_a_lost_connection_remove_nothing(maildrop):
    async with maildrop() as (h, connect):
        await h.put(MESSAGE, MESSAGE)
        client = await connect()
        await client.dele(1)
        await client.rset()
        await client.quit()
        assert len(await inbox(h)) == 2
        client = await connect()
        await client.dele(1)
        await client.close()
        await h.closed()
        assert len(await inbox(h)) == 2


async def test_unique_ids_stay_what_they_are(maildrop):
    async with maildrop() as (h, connect):
        await h.put(MESSAGE, MESSAGE)
        client = await connect()
        first = (await client.uidl())[1]
        await client.dele(1)
        await client.quit()
        client = await connect(node=await h.second_node())
        assert [line.split()[1] for line in (await client.uidl())[1]] == [first[1].split()[1]]
        assert (await client.uidl(1)).split()[2] == first[1].split()[1]


async def test_what_was_fetched_whole_is_seen_after_quit(maildrop):
    async with maildrop() as (h, connect):
        await h.put(MESSAGE, MESSAGE, MESSAGE)
        client = await connect()
        await client.retr(1)
        await client.top(2, 0)
        await client.quit()
        assert await inbox(h) == [(1, 1), (2, 0), (3, 0)]


@pytest.mark.parametrize("lines", [0, 1, 3, 59_999, 70_000])
async def test_top_gives_the_header_and_so_many_lines(maildrop, lines):
    async with maildrop() as (h, connect):
        await h.put(LONG)
        client = await connect()
        _, got, _ = await client.top(1, lines)
        assert got == LONG.splitlines()[: 2 + lines]


async def test_a_message_that_another_session_expunged_is_still_read(maildrop):
    async with maildrop() as (h, connect):
        (uid,) = await h.put(MESSAGE)
        client = await connect()

        def remove(tx):
            box = mailboxes.find(tx, directory.user(tx, ADA).id, "INBOX").id
            messages.store_flags(tx, box, [uid], "add", 8)
            messages.expunge(tx, box)

        await h.node.store.write(remove)
        assert len((await client.retr(1))[1]) == MESSAGE.count(b"\r\n")
        await client.dele(1)
        await client.quit()
        assert await inbox(h) == []


async def test_a_password_goes_over_tls_only(maildrop):
    async with maildrop() as (h, connect):
        client = await connect(login=False, implicit_tls=False)
        with pytest.raises(poplib.error_proto, match="STLS first"):
            await client.user(ADA)
        await client.stls(h.client_tls)
        await client.user(ADA)
        assert b"0 messages" in await client.pass_("secret")


async def test_three_wrong_passwords_close_the_connection(maildrop):
    async with maildrop() as (_, connect):
        client = await connect(login=False)
        for _ in range(3):
            await client.user(ADA)
            with pytest.raises(poplib.error_proto, match=r"\[AUTH\] wrong name or password"):
                await client.pass_("wrong")
        with pytest.raises((poplib.error_proto, OSError)):
            await client.user(ADA)
            await client.user(ADA)


async def auth(client, mechanism, *responses):
    """The last answer to AUTH; `responses` are functions of the challenge, decoded, or the initial response."""
    first, *others = responses
    reply = await client._shortcmd(f"AUTH {mechanism} {b64encode(first).decode()}")
    for response in others:
        reply = await client._shortcmd(b64encode(response(b64decode(reply[2:]))).decode())
    return reply


async def test_scram_and_tokens(maildrop):
    async with maildrop() as (h, connect):
        await h.node.store.write(directory.set_password, ADA, "!", scram_keys("secret"))
        token = make_token()
        await h.node.store.write(tokens.add, 1, token_hash(token), scope="pop3", expires_at=None)
        capabilities = await (await connect(login=False)).capa()
        assert capabilities["SASL"] == ["SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]
        scram = ScramClient("secret", ADA)
        reply = await auth(await connect(login=False), "SCRAM-SHA-256", scram.first(), scram.final, lambda _: b"")
        assert reply.startswith(b"+OK")
        bearer = f"n,,\x01auth=Bearer {token}\x01\x01".encode()
        assert (await auth(await connect(login=False), "OAUTHBEARER", bearer)).startswith(b"+OK")
        wrong = ScramClient("wrong", ADA)
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\] the proof is not that of the password"):
            await auth(await connect(login=False), "SCRAM-SHA-256", wrong.first(), wrong.final)


async def test_an_exclusive_maildrop_has_one_session(maildrop):
    async with maildrop(pop3_exclusive=True) as (h, connect):
        first = await connect()
        second = await connect(login=False, node=await h.second_node())
        await second.user(ADA)
        with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
            await second.pass_("secret")
        await first.quit()
        for _ in range(100):  # the lock is given back after the connection has gone
            await second.user(ADA)
            try:
                await second.pass_("secret")
                break
            except poplib.error_proto:
                await asyncio.sleep(0.01)
        assert await second.stat() == (0, 0)


async def test_a_shared_maildrop_has_many(maildrop):
    async with maildrop() as (h, connect):
        first, second = await connect(), await connect()
        await h.put(MESSAGE)
        assert await first.stat() == (0, 0)  # as it was at the login
        assert await second.stat() == (0, 0)
        assert (await (await connect()).stat())[0] == 1


async def test_a_store_that_cannot_write_says_so_at_quit(maildrop, monkeypatch):
    async with maildrop() as (h, connect):
        await h.put(MESSAGE)
        client = await connect()
        await client.dele(1)

        def full(tx, *args):
            raise Full("the disk is full")

        monkeypatch.setattr(pop3, "update", full)
        with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\] some messages were not removed"):
            await client.quit()
        assert len(await inbox(h)) == 1


async def test_a_changed_password_ends_the_session(maildrop):
    async with maildrop() as (h, connect):
        client = await connect()
        await h.node.store.write(directory.set_enabled, ADA, False)
        await h.node.logins.check()
        with pytest.raises((poplib.error_proto, OSError)):
            await client.stat()
            await client.stat()
