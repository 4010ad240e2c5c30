"""The spool folder of `sendmail`: all in it is taken in once, whatever dies on the way and whoever put it there."""

import asyncio
import os
import socket
import stat

import pytest

from pillarbox.flow import maildrop, pickup, pickup_file, srs
from pillarbox.flow.maildrop import Envelope, leave
from pillarbox.flow.pickup import Pickup, Policy
from pillarbox.flow.pickup_file import PIECE, prepare_folder
from pillarbox.session.node import Node
from pillarbox.store import Full, blobs, events, lists
from pillarbox.store.opening import open_store
from waiting import until

MESSAGE = b"Subject: x\r\nMessage-ID: <1@x.test>\r\n\r\nhello\r\n"
ADA, BOB = "ada@example.com", "bob@example.com"


class Drop:
    """A house with a folder and an eye on it."""

    def __init__(self, h, folder):
        self.h, self.folder = h, str(folder)
        self.policy = Policy("mx.example.com", 1 << 20, False, lambda uid: True)
        prepare_folder(self.folder)
        self.pickup = self.eye(h.node)

    def eye(self, node):
        return Pickup(node, self.folder, lambda: self.policy)

    def leave(self, *recipients, sender="x@y.test", content=MESSAGE, **more):
        return leave(self.folder, Envelope(sender, recipients, len(content), **more), [content])

    def names(self):
        return sorted(os.listdir(self.folder))

    def aside(self):
        return sorted(os.listdir(self.folder + ".refused")) if os.path.isdir(self.folder + ".refused") else []

    async def look(self, times=1):
        for _ in range(times):
            self.pickup._put_off.clear()
            self.pickup._seen = -1
            await self.pickup.look()

    async def marks(self):
        return await self.h.rows("SELECT key FROM store_meta WHERE key LIKE 'once:%'")


@pytest.fixture
def drop(house, tmp_path):
    class Opened:
        async def __aenter__(self):
            self.context = house()
            return Drop(await self.context.__aenter__(), tmp_path / "maildrop")

        async def __aexit__(self, *error):
            return await self.context.__aexit__(*error)

    return Opened()


async def test_a_message_is_delivered_and_queued_and_gone(drop):
    async with drop as d:
        d.leave(ADA, "else@where.test", notify="FAILURE,DELAY", ret="HDRS", envid="e1")
        (name,) = d.names()
        assert stat.S_IMODE(os.stat(f"{d.folder}/{name}").st_mode) == 0o640
        await d.look()
        assert d.names() == [] and await d.marks() == []
        (mail,) = await d.h.mail(ADA)
        head, _, rest = mail.partition(b"Received: ")
        assert head == b"Return-Path: <x@y.test>\r\nDelivered-To: ada@example.com\r\n"
        assert rest.startswith(b"by mx.example.com (Pillarbox, from uid %d) id " % os.getuid())
        assert mail.endswith(MESSAGE)
        rows = await d.h.rows("SELECT from_address, to_address, notify, ret, envid, status FROM message_queue")
        assert [(*row[:2], set(row[2].split(",")), *row[3:]) for row in rows] == [
            ("x@y.test", "else@where.test", {"FAILURE", "DELAY"}, "HDRS", "e1", "pending")
        ]


async def test_addresses_without_a_domain_are_ours(drop):
    async with drop as d:
        d.leave("ada@example.com", sender="root")
        await d.look()
        assert (await d.h.mail(ADA))[0].startswith(b"Return-Path: <root@mx.example.com>\r\n")


async def test_who_is_not_there_is_reported_and_the_others_have_it(drop):
    async with drop as d:
        d.leave("nobody@example.com", ADA, "no address at all@", sender=BOB)
        await d.look()
        assert len(await d.h.mail(ADA)) == 1
        (report,) = await d.h.mail(BOB)
        assert b"report-type=delivery-status" in report
        assert b"nobody@example.com" in report and b"Status: 5.1.1" in report and b"Status: 5.1.3" in report
        assert b"<1@x.test>" in report  # the header of the message
        told = await d.h.rows("SELECT kind, recipient FROM message_events ORDER BY id")
        assert ("delivered", ADA) in told and ("refused", "nobody@example.com") in told and ("report", BOB) in told


async def test_whatever_refuses_an_address_is_reported(drop):
    async with drop as d:
        await d.h.write(lists.create_list, "team@example.com", BOB)
        await srs.open_rewriter(d.h.node.store)
        d.leave("team@example.com", "SRS0=ABCDEF=AB=example.org=eve@example.com", sender=BOB)
        await d.look()
        assert d.names() == []
        (report,) = await d.h.mail(BOB)
        assert b"Status: 5.2.4" in report and b"Status: 5.1.1" in report


async def test_what_nobody_can_be_told_waits_for_an_operator(drop):
    async with drop as d:
        d.leave("nobody@example.com", sender="")
        await d.look()
        assert d.names() == []
        ((status, recipient),) = await d.h.rows("SELECT status, to_address FROM message_queue")
        assert (status, recipient) == ("held", "nobody@example.com")


async def test_never_is_never(drop):
    async with drop as d:
        d.leave("nobody@example.com", ADA, sender=BOB, notify="NEVER")
        await d.look()
        assert await d.h.mail(BOB) == [] and len(await d.h.mail(ADA)) == 1


async def test_a_crash_between_commit_and_removal_doubles_nothing(drop, monkeypatch):
    async with drop as d:
        d.leave(ADA)
        remove = pickup_file.remove

        def crash(folder, name):
            raise OSError(5, "power loss")

        monkeypatch.setattr(pickup_file, "remove", crash)
        await d.look(3)
        assert len(d.names()) == 1 and len(await d.marks()) == 1
        monkeypatch.setattr(pickup_file, "remove", remove)
        again = d.eye(d.h.node)  # the next server
        await again.look()
        assert d.names() == [] and await d.marks() == []
        assert len(await d.h.mail(ADA)) == 1


async def test_a_full_store_loses_nothing(drop, monkeypatch):
    async with drop as d:
        d.leave(ADA)
        whole = pickup.take_in

        def full(*args):
            raise Full("the disk is full")

        monkeypatch.setattr(pickup, "take_in", full)
        await d.look(2)
        assert len(d.names()) == 1
        monkeypatch.setattr(pickup, "take_in", whole)
        d.h.node.disk.low = False
        await d.pickup.look()  # put off
        assert len(d.names()) == 1
        await d.look()
        assert d.names() == [] and len(await d.h.mail(ADA)) == 1


async def test_two_workers_take_each_once(drop):
    async with drop as d:
        for n in range(60):
            d.leave(ADA, content=b"Subject: %d\r\n\r\n" % n)
        store = await open_store(d.h.path)
        node = Node.build(d.h.node.settings, store, d.h.node.slot, d.h.node.limiter, d.h.node.authenticator._gate)
        other = d.eye(node)
        counts = await asyncio.gather(d.pickup.look(), other.look())
        assert sum(counts) <= 60
        await d.look()
        subjects = sorted(int(mail.rpartition(b"Subject: ")[2].split()[0]) for mail in await d.h.mail(ADA))
        assert subjects == list(range(60)) and d.names() == [] and await d.marks() == []
        node.close()
        await store.close()


async def test_a_large_message_goes_in_by_chunks(drop):
    async with drop as d:
        content = MESSAGE + b"0123456789abcdef\r\n" * 50_000
        d.policy = d.policy._replace(max_size=2 << 20)
        d.leave(ADA, content=content)
        await d.look()
        ((blob_id, size),) = await d.h.rows("SELECT b.id, b.size FROM blobs b")
        assert size == len(content)
        assert await d.h.node.store.read(blobs.read_slice, blob_id, 0, size) == content


async def test_hostile_things_are_cleared_away(drop, tmp_path):
    async with drop as d:
        secret = tmp_path / "secret"
        secret.write_bytes(maildrop.MAGIC + b'{"sender": "", "recipients": ["ada@example.com"], "size": 3}\nkey')
        os.symlink(secret, f"{d.folder}/symlink")
        os.symlink("/nowhere", f"{d.folder}/dangling")
        os.symlink(d.folder, f"{d.folder}/loop")
        os.link(secret, f"{d.folder}/hardlink")
        os.mkfifo(f"{d.folder}/fifo")
        os.mkdir(f"{d.folder}/folder")
        with socket.socket(socket.AF_UNIX) as unix:
            here = os.getcwd()
            os.chdir(d.folder)
            unix.bind("socket")
            os.chdir(here)
        d.leave(ADA)
        async with asyncio.timeout(10):
            await d.look()
        assert d.names() == [] and d.aside() == []
        assert len(await d.h.mail(ADA)) == 1 and secret.read_bytes().endswith(b"key")


async def test_a_folder_with_something_in_it_stays(drop):
    async with drop as d:
        os.makedirs(f"{d.folder}/folder/inside")
        await d.look(2)
        assert d.names() == ["folder"]


def envelope(text, content=b"x\r\n"):
    return maildrop.MAGIC + text.encode() + b"\n" + content


ONE = '{"sender": "", "recipients": ["ada@example.com"], "size": %s}'
BAD = {
    "empty": b"",
    "garbage": os.urandom(5000),
    "another magic": b"PILLARBOX-MAILDROP 2\n" + ONE.encode() % b"3" + b"\nx\r\n",
    "no end": maildrop.MAGIC + b"x" * 100_000,
    "no JSON": envelope("{"),
    "deep JSON": envelope("[" * 100_000),
    "a list": envelope("[]"),
    "no recipients": envelope('{"sender": "", "recipients": [], "size": 3}'),
    "no list": envelope('{"sender": "", "recipients": "ada@example.com", "size": 3}'),
    "numbers": envelope('{"sender": "", "recipients": [1], "size": 3}'),
    "a line end in a recipient": envelope('{"sender": "", "recipients": ["a@b\\r\\nDATA"], "size": 3}'),
    "a surrogate": envelope('{"sender": "\\ud800", "recipients": ["ada@example.com"], "size": 3}'),
    "a bad sender": envelope('{"sender": "a b@c", "recipients": ["ada@example.com"], "size": 3}'),
    "no size": envelope(ONE % '"3"'),
    "a true size": envelope(ONE % "true", b"x"),
    "negative": envelope(ONE % "-1"),
    "cut": envelope(ONE % "300"),
    "more behind": envelope(ONE % "1"),
    "bare LF": envelope(ONE % "3", b"x\n\n"),
    "bare CR": envelope(ONE % "3", b"x\rx"),
    "CR at the end": envelope(ONE % "3", b"x\r\r"),
    "NUL": envelope(ONE % "3", b"\0\r\n"),
    "a split CR": envelope(ONE % (PIECE + 1), b"x" * (PIECE - 1) + b"\rx"),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_no_message_is_set_aside(drop, what):
    async with drop as d:
        with open(f"{d.folder}/bad", "wb") as file:
            file.write(BAD[what])
        d.leave(ADA)
        await d.look()
        assert d.names() == [] and d.aside() == ["bad"]
        assert stat.S_IMODE(os.stat(d.folder + ".refused").st_mode) == 0o700
        assert len(await d.h.mail(ADA)) == 1


async def test_a_line_end_across_two_reads_is_one(drop):
    async with drop as d:
        content = b"\r\n" + b"x" * (PIECE - 3) + b"\r\nmore\r\n"
        d.leave(ADA, content=content)
        await d.look()
        assert (await d.h.mail(ADA))[0].endswith(content)


async def test_a_huge_sparse_file_is_not_read(drop):
    async with drop as d:
        with open(f"{d.folder}/huge", "wb") as file:
            file.write(maildrop.MAGIC)
            file.truncate(1 << 40)
        async with asyncio.timeout(5):
            await d.look()
        assert d.aside() == ["huge"]


async def test_names_that_are_none(drop):
    async with drop as d:
        name = d.leave(ADA)
        os.rename(f"{d.folder}/{name}", f"{d.folder}/ new\nline ")
        await d.look()
        assert d.names() == [] and d.aside() == [" new\nline "]


async def test_half_written_files_are_left_alone_until_they_are_old(drop):
    async with drop as d:
        for name, age in (("tmp.new", 60), ("tmp.old", 2 * pickup_file.STALE)):
            path = f"{d.folder}/{name}"
            with open(path, "wb") as file:
                file.write(maildrop.MAGIC)
            at = os.stat(path).st_mtime - age
            os.utime(path, (at, at))
        await d.look()
        assert d.names() == ["tmp.new"] and d.aside() == []


async def test_who_may_not_submit(drop):
    async with drop as d:
        d.policy = d.policy._replace(may_submit=lambda uid: uid != os.getuid())
        d.leave(ADA)
        await d.look()
        assert d.names() == [] and len(d.aside()) == 1 and await d.h.mail(ADA) == []


async def test_a_file_that_somebody_keeps_locked_stands_in_nobodys_way(drop):
    import fcntl

    async with drop as d:
        name = d.leave(ADA)
        with open(f"{d.folder}/{name}", "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            d.leave(ADA)
            await d.look()
            assert d.names() == [name] and len(await d.h.mail(ADA)) == 1
        await d.look()
        assert d.names() == [] and len(await d.h.mail(ADA)) == 2


async def test_the_test_inbox_makes_mailboxes(drop):
    async with drop as d:
        d.policy = d.policy._replace(accept_all=True)
        d.leave("new@anywhere.test")
        await d.look()
        assert len(await d.h.mail("new@anywhere.test")) == 1


async def test_a_message_that_comes_while_we_look_is_seen(drop):
    async with drop as d:
        assert await d.pickup.look() == 0
        assert await d.pickup.look() == 0
        d.leave(ADA)
        assert await d.pickup.look() == 1


async def test_a_message_of_the_same_tick_is_seen(drop):
    async with drop as d:
        before = os.stat(d.folder).st_mtime_ns
        assert await d.pickup.look() == 0
        d.leave(ADA)
        os.utime(d.folder, ns=(before, before))
        assert await d.pickup.look() == 1


async def test_an_empty_folder_costs_a_look_at_its_time(drop, monkeypatch):
    async with drop as d:
        os.utime(d.folder, (1000, 1000))
        assert await d.pickup.look() == 0
        monkeypatch.setattr(pickup_file, "waiting", None)
        assert await d.pickup.look() == 0


async def test_a_folder_that_is_taken_away_is_made_anew(drop, monkeypatch):
    monkeypatch.setattr(pickup, "LOOK", 0.01)
    async with drop as d:
        d.pickup.start()
        os.rmdir(d.folder)
        await until(lambda: os.path.isdir(d.folder))
        d.leave(ADA)
        await until(lambda: not d.names())
        await d.pickup.stop()
        assert len(await d.h.mail(ADA)) == 1


async def test_what_is_set_aside_has_a_bound(drop, monkeypatch):
    monkeypatch.setattr(pickup_file, "MOST_ASIDE", 2)
    async with drop as d:
        for n in range(5):
            with open(f"{d.folder}/bad{n}", "wb") as file:
                file.write(b"garbage")
            await d.look()
        assert d.names() == [] and d.aside() == ["bad0", "bad1"]


async def test_it_runs_by_itself_and_stops(drop, monkeypatch):
    monkeypatch.setattr(pickup, "LOOK", 0.01)
    async with drop as d:
        d.pickup.start()
        d.leave(ADA)
        await until(lambda: not d.names())
        await d.pickup.stop()
        assert len(await d.h.mail(ADA)) == 1
        d.leave(ADA)
        await asyncio.sleep(0.05)
        assert len(d.names()) == 1


async def test_the_folder_must_be_ours(drop, tmp_path):
    async with drop as d:
        assert stat.S_IMODE(os.stat(d.folder).st_mode) == 0o3733
        (tmp_path / "file").write_text("")
        with pytest.raises(NotADirectoryError):
            prepare_folder(str(tmp_path / "file"))
        os.symlink(d.folder, tmp_path / "link")
        with pytest.raises(NotADirectoryError):
            prepare_folder(str(tmp_path / "link"))
        if os.getuid() == 0:
            (tmp_path / "theirs").mkdir()
            os.chown(tmp_path / "theirs", 12345, 12345)
            with pytest.raises(PermissionError):
                prepare_folder(str(tmp_path / "theirs"))


async def test_its_story(drop):
    async with drop as d:
        d.leave(ADA, "else@where.test")
        await d.look()
        ((key,),) = await d.h.rows("SELECT DISTINCT message_key FROM message_events")
        told = await d.h.node.store.scan(events.events_of_message, key)
        assert [(event.kind, event.recipient) for event in told] == [("delivered", ADA), ("queued", "else@where.test")]
        assert '"via":"sendmail"' in told[0].detail and '"header_id":"<1@x.test>"' in told[0].detail
