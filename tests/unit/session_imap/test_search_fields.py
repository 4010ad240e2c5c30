"""SEARCH by header fields: what summaries answer is what the messages themselves say, whatever stands where."""

import random

import pytest

from pillarbox.session import imap_search_fields
from pillarbox.session.imap_search_text import matching
from pillarbox.store import summaries, summary_texts

PIECES = ("Ab", "ab", "a", "B", "ß", "É", "e\u0301", "Ab\n", "ﬁ", "x y", "ſ", "日本", " ", "İ", '"', "\\")
NEEDLES = (*PIECES, "aB", "b a", "@x>", "> <", "A@B", "@", "\x80", "\r\n", "<3@AB>", "x" * 300)
COMPARATORS = ("i;unicode-casemap", "i;ascii-casemap", "i;octet")
KEYS = ("SUBJECT", "FROM", "TO", "CC", "BCC", "HEADER Subject", "HEADER To", "HEADER message-id", "HEADER List-Id")
DAYS = ("SENTSINCE 8-Feb-2022", "SENTBEFORE 8-Feb-2022", "SENTON 7-Feb-2022", "SENTON 8-Feb-2022")
FORMS = ("NOT ({})", "OR ({}) ({})", "{} NOT ({})", "NOT (OR ({}) NOT ({}))", "OR ({} 2:9) ({}) UNSEEN {}", "3:14 {}")
OTHERS = (b"List-ID: \xc3\xa9 a", b"List-ID:", b"List-ID: a\0b", b"X-Long: " + b"x" * 3000, b"Lines: 3")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for place, name, value in (
        (summaries, "SPAN", 4),
        (summaries, "LEAST", 4),
        (imap_search_fields, "FEW", 1),
        (imap_search_fields, "ROWS", 3),
        (imap_search_fields, "_VISIT", 2),
        (imap_search_fields, "MASKS", 60),  # two keys of 26 messages
    ):
        monkeypatch.setattr(place, name, value)


async def pack(h):
    store, count = h.node.store, 0
    for part in (summaries, summary_texts):
        while found := await store.scan(part.due):
            while found:
                count += await store.write(part.put, found.pop())
    return count


def letter(choice):
    """A message whose fields are made of PIECES, as octets, in encoded words or over several lines."""

    def value():
        if choice.random() < 0.1:
            return b"\xe9 Ab \xc9"  # no charset is named, and it is not that of others
        text = "".join(choice.choices(PIECES, k=choice.randint(0, 5)))
        if choice.random() < 0.4:
            at = choice.randint(0, len(text))
            words = [f"=?utf-8?q?{''.join(f'={o:02X}' for o in part.encode())}?=" for part in (text[:at], text[at:])]
            return "\r\n ".join(words).encode()
        text = text.replace("\n", "")
        return (text.replace(" ", "\r\n\t") if choice.random() < 0.3 else text).encode()

    def addresses():
        some = [b'"%b" <%b@x>' % (choice.choice([b"Ab", b"a b", b"B"]), choice.choice([b"ab", b"AB", b"y"]))]
        some += [value() + b" <a@b>", b"G: a@x, b@a;", b"=?utf-8?q?=C3=89_,?= <e@x>"]
        return b",\r\n ".join(choice.sample(some, choice.randint(0, 3)))

    lines = [b"Subject: " + value()] * choice.choice([0, 1, 1, 1, 2])
    lines += [field + b": " + addresses() for field in (b"From", b"TO", b"to", b"Cc", b"Bcc") if choice.random() < 0.5]
    lines += [b"Message-ID: <%d@ab>" % choice.randint(0, 9)] * choice.choice([0, 1])
    lines.append(choice.choice(OTHERS))
    lines += [b"Subject: " + b"Ab " * 700] * (choice.random() < 0.1)
    lines += [b"Date: " + choice.choice([b"Tue, 8 Feb 2022 01:00:00 +0900", b"Mon, 7 Feb 2022 21:00:00 -0800", b"?"])]
    choice.shuffle(lines)
    return b"\r\n".join([*lines, b"", b"text"])


def programs(choice):
    """Keys alone and in combinations, their texts as literals."""
    wanted = list(DAYS)
    for key in KEYS:
        for needle in ("x>\n", "", "\x80", *choice.sample(NEEDLES, 6)):
            wanted.append(f"{key} {{{len(needle.encode())}+}}\r\n{needle}")
    for _ in range(40):
        wanted.append(choice.choice(FORMS).format(*choice.sample(wanted, 3)))
    return ["SEARCH CHARSET UTF-8 " + one for one in wanted]


@pytest.mark.parametrize("comparator", COMPARATORS)
async def test_the_same_is_found(house, monkeypatch, comparator):
    choice = random.Random(comparator)
    async with house() as h:
        await h.put(*[letter(choice) for _ in range(26)])
        c, other = await h.login("INBOX"), await h.login("INBOX")
        await other.ok("STORE 3,7:9,20 +FLAGS.SILENT (\\Deleted)")
        await other.ok("STORE 1:12 +FLAGS.SILENT (\\Seen)")
        await c.ok("NOOP")
        await c.ok(f"COMPARATOR {comparator}")

        async def found(seed):
            return [await c.ok(program) for program in programs(random.Random(seed))]

        async def true(seed):
            with monkeypatch.context() as without:
                without.setattr(imap_search_fields, "FEW", 1000)  # every message is asked itself
                return await found(seed)

        told = await true(1)
        assert sum(one != [b"SEARCH"] for one in told) > 40
        assert await found(1) == told  # by rows
        assert await pack(h) == 12
        assert await found(1) == told
        await other.ok("EXPUNGE")  # which is not told in answer to SEARCH
        assert await found(1) == told
        await h.put(*[letter(choice) for _ in range(3)])
        await c.ok("NOOP")
        for summary_id in reversed(await h.node.store.scan(summaries.thinned)):
            await h.node.store.write(summaries.tidy, summary_id)
        assert await found(2) == await true(2)


async def test_it_needs_no_message_for_what_is_packed(house, monkeypatch):
    asked = []

    def noted(tx, page, tests):
        asked.append([row_id for _, row_id in page])
        return matching(tx, page, tests)

    monkeypatch.setattr("pillarbox.session.imap_search_run.matching", noted)
    async with house() as h:
        await h.put(*[b"Subject: s%d\r\nFrom: f%d@x\r\nMessage-ID: <%d@x>\r\n\r\n" % (n, n, n) for n in range(1, 13)])
        c = await h.login("INBOX")
        await pack(h)
        await h.node.store.write(
            lambda tx: tx.run("UPDATE blobs SET subject = 'x', envelope = ?, listed = ?", (b"", b""))
        )
        assert await c.ok("SEARCH SUBJECT s1") == [b"SEARCH 1 10 11 12"]
        assert await c.ok("SEARCH NOT SUBJECT s1 NOT FROM f2") == [b"SEARCH 3 4 5 6 7 8 9"]
        assert await c.ok('SEARCH HEADER message-id "<12@"') == [b"SEARCH 12"]
        assert await c.ok("SEARCH UNSEEN 9:* SUBJECT s1") == [b"SEARCH 10 11 12"]
        assert asked == []
        await h.node.store.write(lambda tx: tx.run("DELETE FROM summaries"))
        assert await c.ok("SEARCH SUBJECT s1") == [b"SEARCH"]


async def test_fields_that_an_older_version_has_not_kept_are_read(house):
    async with house() as h:
        await h.put(*[b"Subject: s%d\r\nX-Loop: %d\r\n\r\n" % (n, n) for n in range(1, 5)])
        await h.node.store.write(lambda tx: tx.run("UPDATE blobs SET listed = ? WHERE id < 3", (b"Subject: s9\r\n",)))
        c = await h.login("INBOX")
        for packed in (False, True):
            assert await c.ok("SEARCH HEADER X-Loop 1") == [b"SEARCH 1"]
            assert await c.ok('SEARCH HEADER X-Loop ""') == [b"SEARCH 1 2 3 4"]
            assert await c.ok("SEARCH HEADER SUBJECT s9") == [b"SEARCH 1 2"]
            assert packed or await pack(h) == 2


async def test_damaged_texts_do_no_harm(house):
    async with house() as h:
        await h.put(*[b"Subject: s%d\r\n\r\n" % n for n in range(1, 9)])
        c = await h.login("INBOX")
        await pack(h)
        for sql in (
            "UPDATE summary_texts SET texts = ?",
            "UPDATE summaries SET header = ?",
            "UPDATE summaries SET ids = ?",
        ):
            await h.node.store.write(lambda tx, sql=sql: tx.run(sql, (b"x",)))
            assert await c.ok("SEARCH SUBJECT s8") == [b"SEARCH 8"]
            assert await c.ok("SEARCH HEADER SUBJECT s8") == [b"SEARCH 8"]
        await h.node.store.write(lambda tx: tx.run("DELETE FROM summaries"))


async def test_what_is_expunged_keeps_its_number_until_the_client_is_told(house):
    async with house() as h:
        await h.put(*[b"Subject: s%d\r\n\r\n" % n for n in range(1, 9)])
        c, other = await h.login("INBOX"), await h.login("INBOX")
        await other.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
        await other.ok("EXPUNGE")
        assert await c.ok("SEARCH SUBJECT s3") == [b"SEARCH 3"]
        assert await messages_left(h) == 6


async def messages_left(h):
    return (await h.node.store.read(lambda tx: tx.row("SELECT count(*) FROM messages")))[0]
