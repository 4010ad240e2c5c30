"""Fuzz target of messages that are encoded anew: every part decodes to what it was, for a mailbox and on the way out.

python tests/fuzz/fuzz_downgrade.py --seconds 60
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.path.insert(0, str(Path(__file__).parent))

import driver
import fuzz_mime

from encoded_anew import made
from pillarbox.mime.analysis import Part
from pillarbox.mime.downgrade import Downgrade, Read, Untouchable, plan_downgrade, plan_storage, structure
from pillarbox.mime.scanner import MAX_PARTS
from pillarbox.mime.transfer import decode_transfer

DICTIONARY = (
    *fuzz_mime.DICTIONARY, b"\0", b"\0\0", b"\r\0\n", b"Content-Transfer-Encoding: binary\r\n", b"\xff\xfe",
    b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Transfer-Encoding: x-uue\r\n", b"multipart/signed",
    b"Content-Type: multipart/report; boundary=a\r\n\r\n", b"\r\n\r\n\0", b"MIME-Version: 1.0\r\n",
)  # fmt: skip


def run(data: bytes) -> None:
    if not data:
        return

    def read(start: int, length: int) -> bytes:
        return data[start : start + length]

    parts = contents(data)
    if len(parts) >= MAX_PARTS or b"global" in data.lower():
        return  # the last part hides others; quoted-printable shows the boundaries within what is global
    for plan in (plan_storage, plain, ascii_only):
        try:
            out = made(data, plan(len(data), read))
        except Untouchable:
            continue
        assert contents(out) == parts, f"{plan.__name__} changes what a part holds"


def plain(size: int, read: Read) -> Downgrade:
    return plan_downgrade(size, read, eight_bit=True)


def ascii_only(size: int, read: Read) -> Downgrade:
    return plan_downgrade(size, read, eight_bit=False)


def contents(data: bytes) -> list[tuple[str, str, bytes | None]]:
    """Type and decoded content of every leaf."""
    found: list[tuple[str, str, bytes | None]] = []

    def walk(part: Part) -> None:
        if part.children:
            for child in part.children:
                walk(child)
        else:
            found.append((part.type, part.subtype, decode_transfer(data[part.body : part.end], part.encoding)))

    walk(structure(len(data), lambda start, length: data[start : start + length]))
    return found


if __name__ == "__main__":
    sys.exit(
        driver.main(
            run, [*fuzz_mime.seeds(), *(one.replace(b"7bit", b"binary") for one in fuzz_mime.seeds())], DICTIONARY
        )
    )
