"""`mailq` and `sendmail -q` on a real store, without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pillarbox.cli import mailq
from unit.cli.queue.queue_samples import CONTENT, KEYS, Run, answer

# What mailq-parsing scripts look for: Postfix's and Sendmail's forms share these.
SUMMARY = re.compile(r"^([A-Za-z0-9]+)([*!]?)\s+(\d+)\s+(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d)\s+(\S+)$")
RECIPIENT = re.compile(r"^\s{10,}(\S+@\S+)$")
REASON = re.compile(r"^\s*\((.*)\)$")
TOTAL = re.compile(r"^-- (\d+) Kbytes in (\d+) Requests?\.$")


def parsed(text: str) -> list[dict[str, Any]]:
    """The listing as a script reads it."""
    head, *lines = text.splitlines()
    assert head.startswith("-Queue ID-")
    total = TOTAL.match(lines[-1])
    assert total is not None
    found: list[dict[str, Any]] = []
    reason = None
    for line in lines[:-1]:
        if match := SUMMARY.match(line):
            found.append({"id": match[1], "mark": match[2], "size": int(match[3]), "sender": match[5], "to": []})
            reason = None
        elif match := REASON.match(line):
            reason = match[1]
        elif match := RECIPIENT.match(line):
            found[-1]["to"].append((match[1], reason))
        else:
            assert line == ""
    assert int(total[2]) == len(found)
    return found


def test_mailq(run: Run) -> None:
    size = len(CONTENT) + len("Received: us\r\n")
    run("queue", "hold", KEYS[1])
    found = parsed(run("queue", "mailq")[1])
    assert found == [
        {
            "id": KEYS[0],
            "mark": "",
            "size": size,
            "sender": "a@x.test",
            "to": [("b@y.test", None), ("d@y.test", None), ("c@y.test", "451 4.7.1 try later")],
        },
        {"id": KEYS[1], "mark": "!", "size": len(CONTENT), "sender": "ada@example.com", "to": [("e@z.test", None)]},
    ]


def test_an_empty_queue(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("queue", "delete", "--all")
    assert mailq.main([]) == 0
    assert capsys.readouterr().out == "Mail queue is empty\n"


def test_mailq_shows_the_spool_folder_and_pages(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailq, "PAGE", 2)  # a message goes over the end of a page
    (tmp_path / "maildrop").mkdir()
    (tmp_path / "maildrop" / "0123456789abcdef").write_bytes(b"x" * 100)
    (tmp_path / "maildrop" / "tmp.half").write_bytes(b"x")
    assert mailq.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"^0123456789 +100 \w{3} \w{3} [ \d]\d [\d:]{8}  \(maildrop queue, sender UID \d+\)$", lines[1])
    assert sum(KEYS[0] in line for line in lines) == 1 and lines[-1].endswith("in 3 Requests.")


def test_mailq_without_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SMTP_DB_PATH", str(tmp_path / "none.db"))
    assert mailq.main([]) == 69
    assert "no database" in capsys.readouterr().err
    assert mailq.main(["--wrong"]) == 64
    assert mailq.main(["--help"]) == 0


def test_sendmail_q_makes_everything_due(run: Run) -> None:
    assert mailq.flush() == 0
    rows = [row for row in answer(run("queue", "list", "--json")) if row["status"] != "failed"]
    assert len(rows) == 4 and all(row["next_retry_at"] < 2_000_000_000 for row in rows)
    assert mailq.flush("2") == 0


def test_sendmail_q_leaves_dead_letters(run: Run) -> None:
    before = run("queue", "dead", "--json")[1]
    assert mailq.flush() == 0
    assert run("queue", "dead", "--json")[1] == before
    assert mailq.flush(KEYS[2]) == 0
    assert json.loads(run("queue", "dead", "--json")[1]) == []
