"""Fuzz target of the MIME room: any octets in any split give one and the same analysis, and it is well-formed.

python tests/fuzz/fuzz_mime.py --seconds 60
"""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

import driver
import imap_grammar

from pillarbox.mime.analysis import Part, Scanner, analyse, load_parts
from pillarbox.mime.header import decoded_value, fields_of, header_text, select_fields
from pillarbox.mime.scanner import MAX_DEPTH, MAX_PARTS
from pillarbox.mime.section import locate
from pillarbox.mime.text import search_text

DATA = Path(__file__).parent.parent / "data" / "mime"

DICTIONARY = (
    b"Content-Type: multipart/mixed; boundary=a\r\n\r\n", b"Content-Type: multipart/digest; boundary=\"b\"\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n", b"\r\n--a\r\n", b"\r\n--a--\r\n", b"\n--b\n", b"\r\n--b--", b"--a \t\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"=\r\n", b"=E9",
    b"=?utf-8?q?=C3=A9?=", b"=?iso-2022-jp?b?GyRC?=", b"?=", b"; charset=utf-7", b"; charset=utf-16", b"filename*0*=",
    b"filename*1=", b"Content-Disposition: attachment; ", b"From: ", b"To: ", b"group: a@b, c@d;", b"<@a,@b:c@d>",
    b"Subject: ", b"Date: Tue, 1 Jul 2003 10:52:37 +0200\r\n", b"(comment (nested))", b"\\\"", b"<script>", b"&#x;",
    b"Content-Type: text/html\r\n\r\n", b"+2AA-", b"Re: [x] ", b"[fwd: ", b"(fwd)", b"Content-Language: en, de\r\n",
    b"=?",
)  # fmt: skip


def run(data: bytes) -> None:
    analysis = analyse(data)
    rng = random.Random(zlib.crc32(data))
    for most in (3, 200):
        if len(data) > 500 * most:
            continue
        scanner, at = Scanner(), 0
        while at < len(data):
            size = rng.randint(1, most)
            scanner.feed(data[at : at + size])
            at += size
        assert scanner.finish() == analysis, "another split ends in another analysis"

    assert analysis.size == len(data)
    root = load_parts(analysis.parts)
    assert (root.header, root.end) == (0, len(data))
    check_tree(root, data)

    envelope = imap_grammar.read(analysis.envelope)
    imap_grammar.check_envelope(envelope)
    imap_grammar.check_body(imap_grammar.read(analysis.body), False)
    structure = imap_grammar.read(analysis.bodystructure)
    imap_grammar.check_body(structure, True)
    for numbers, size in imap_grammar.leaf_sizes(structure).items():
        found = locate(root, numbers, "")
        assert found is not None, f"BODYSTRUCTURE shows part {numbers}, which cannot be fetched"
        assert found[1] - found[0] == size, f"part {numbers} has another size than BODYSTRUCTURE says"

    assert len(analysis.preview) <= 256
    text = search_text(lambda start, end: data[start:end], root, headers=True)
    text.encode("utf-8")  # nothing that a store or a client could not encode
    kept = (analysis.preview, analysis.subject, analysis.base_subject, analysis.message_id)
    for value in (*kept, *analysis.in_reply_to, *analysis.references):
        value.encode("utf-8")
        assert "\0" not in value, "PostgreSQL cannot store it"
    header = data[: root.body]
    header_text(header).encode("utf-8")
    decoded_value(header, b"subject")
    names = list(fields_of(header))
    chosen = frozenset(names[::2])
    both = len(select_fields(header, chosen)) + len(select_fields(header, chosen, True))
    assert both - 4 == len(select_fields(header, (), True)) - 2, "FIELDS and FIELDS.NOT together are all fields"


def check_tree(root: Part, data: bytes) -> None:
    """Every part lies in its parent, after its elder brother; counts and caps hold."""
    count = 0
    waiting = [(root, 1)]
    while waiting:
        part, depth = waiting.pop()
        count += 1
        assert depth <= MAX_DEPTH + 1
        assert part.header <= part.body <= part.end
        expected = data.count(b"\n", part.body, part.end)
        if part.type == "text" or part.is_message:
            assert part.lines == expected, f"{part.lines} lines, not {expected}"
        at = part.body
        for child in part.children:
            assert at <= child.header and child.end <= part.end, "parts overlap"
            at = child.end
            waiting.append((child, depth + 1))
        if part.is_multipart:
            assert part.children
        elif part.is_message:
            assert len(part.children) == 1
            assert (part.children[0].header, part.children[0].end) == (part.body, part.end)
        else:
            assert not part.children
    assert count <= 2 * MAX_PARTS


def seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted(DATA.glob("*.eml"))]


if __name__ == "__main__":
    sys.exit(driver.main(run, seeds(), DICTIONARY))
