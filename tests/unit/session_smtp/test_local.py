"""SMTP over the Unix socket of this machine: who is there is known without a login."""

import asyncio
import os
import pwd

import pytest

from pillarbox.access import local_users
from pillarbox.access.local_users import may_submit
from pillarbox.session.smtp_local import LocalSession
from pillarbox.store import blobs


async def local(h, tmp_path, name="s"):
    path = tmp_path / name
    server = await asyncio.get_running_loop().create_unix_server(lambda: LocalSession(h.node), path)
    h.servers.append(server)
    return h.adopt(*await asyncio.open_unix_connection(path))


async def greeted(h, tmp_path):
    client = await local(h, tmp_path)
    await client.reply()
    await client.say("EHLO x")
    return client


async def test_anybody_may_send_anywhere(house, tmp_path):
    async with house(require_tls=True, require_auth=True, rate_limit_per_ip=1) as h:
        client = await local(h, tmp_path)
        assert (await client.reply()).startswith("220 mx.example.com")
        assert "250" in await client.say("EHLO whatever.test")
        for _ in range(3):
            assert (await client.message("any@where.test", "else@other.test")).startswith("250")
        assert (await client.say("MAIL FROM:<x@y.test>", "RCPT TO:<nobody@example.com>")).startswith("550 5.1.1")
        queue = await h.queue()
        assert [row[:2] for row in queue] == [("any@where.test", "else@other.test")] * 3
        assert f"(HELO uid {os.getuid()}) by mx.example.com with ESMTP".encode() in queue[0][2]


async def test_explicit_requirements_bind_strangers_only(house, tmp_path):
    async with house() as h:
        h.node.settings = h.node.settings.replace(require_tls=True, require_auth=True)
        client = await greeted(h, tmp_path)
        assert (await client.message("any@where.test", "else@other.test")).startswith("250")


async def test_what_a_message_lacks_is_added(house, tmp_path):
    async with house() as h:
        client = await greeted(h, tmp_path)
        written = b"Subject: x\r\nBcc: hidden@other.test\r\n\r\nbody\r\n"
        for sender in ("any@where.test", ""):
            for recipient in ("else@other.test", "ada@example.com"):
                assert (await client.message(sender, recipient, written)).startswith("250")
        for (blob_id,) in await h.rows("SELECT id FROM blobs ORDER BY id"):
            content = await h.node.store.read(blobs.read_slice, blob_id, 0, 999)
            header, _, body = content.decode().partition("\r\n\r\n")
            names = [line.partition(":")[0] for line in header.split("\r\n")]
            assert names == ["Subject", "From", "Date", "Message-ID"]
            assert ("any@where.test" if blob_id < 3 else "MAILER-DAEMON@mx.example.com") in header
            assert body == "body\r\n"
        assert blob_id == 4


async def test_what_a_program_says_it_is_from_is_its_own_matter(house, tmp_path):
    async with house() as h:
        client = await greeted(h, tmp_path)
        written = b"From: root (Cron Daemon)\r\nFrom: again\r\n\r\nbody\r\n"
        assert (await client.message("any@where.test", "else@other.test", written)).startswith("250")


async def test_who_is_not_on_the_list_is_sent_away(house, tmp_path):
    async with house(sendmail_users="nobody, 4000000000") as h:
        client = await local(h, tmp_path)
        assert (await client.reply()).startswith("550 5.7.1")
        assert await client.ended()


async def test_maintenance(house, tmp_path):
    async with house() as h:
        h.node.draining = True
        client = await local(h, tmp_path)
        assert (await client.reply()).startswith("421")


async def test_the_story_names_the_user(house, tmp_path):
    async with house() as h:
        client = await greeted(h, tmp_path)
        await client.message("any@where.test", "ada@example.com")
        await client.say("MAIL FROM:<any@where.test>", "RCPT TO:<nobody@example.com>")
        await h.node.story.flush()
        rows = await h.rows("SELECT kind, sender, recipient, detail FROM message_events ORDER BY id")
        assert [row[:3] for row in rows] == [
            ("delivered", "any@where.test", "ada@example.com"),
            ("refused", "any@where.test", "nobody@example.com"),
        ]
        assert all(f'"peer":"uid {os.getuid()}"' in row[3] for row in rows)
        assert '"code":550,"enhanced":"5.1.1"' in rows[1][3]


@pytest.mark.parametrize(
    ("allowed", "uid", "expected"),
    [
        ("*", 4711, True),
        ("none", 0, False),
        ("", 0, False),
        ("0", 0, True),
        ("root,4711", 4711, True),
        ("root 4711", 0, True),
        ("root", 4711, False),
        ("nosuchuser, @nosuchgroup, 12", 12, True),
        ("-1, 00, +1", 1, False),
    ],
)
def test_lists_of_users(allowed, uid, expected):
    assert may_submit(allowed, uid) is expected


def test_groups(monkeypatch):
    root = pwd.getpwnam("root")
    assert may_submit("@root", root.pw_uid)
    assert not may_submit("@root", 65534)


def test_a_user_made_later_is_found_within_a_minute(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(local_users.time, "monotonic", lambda: now[0])
    names = {}
    monkeypatch.setattr(local_users.pwd, "getpwnam", lambda name: names[name])
    assert not may_submit("later", 4711)
    names["later"] = pwd.struct_passwd(("later", "x", 4711, 4711, "", "/", ""))
    now[0] += local_users.REMEMBERED
    assert may_submit("later", 4711)
