"""Messages and folders that are taken in."""

from __future__ import annotations

import os
from pathlib import Path


def raw(subject: str, body: str = "text\r\n") -> bytes:
    return f"Subject: {subject}\r\nMessage-ID: <{subject}@example.org>\r\n\r\n{body}".encode()


def lf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def maildir(root: Path) -> Path:
    for part in ("cur", "new", "tmp"):
        (root / part).mkdir(parents=True)
    return root


def put(folder: Path, name: str, data: bytes, at: int = 1_700_000_000) -> None:
    path = folder / ("cur" if ":2," in name else "new") / name
    path.write_bytes(data)
    os.utime(path, (at, at))
