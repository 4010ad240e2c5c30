"""`pillarbox share`: an account or a mailbox for others, and the right to send as it."""

import json
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


def shares(run: Run, *words: str) -> list[tuple[str, str, str, bool]]:
    status, out, _ = run("share", *words, "--json")
    assert status == 0
    return [(row["mailbox"], row["with"], row["rights"], row["send_as"]) for row in json.loads(out)]


@pytest.fixture
def office(run: Run) -> Run:
    for name in ("info@example.com", "ada@example.com", "bob@example.com"):
        run("user", "add", name, stdin="correct horse\n")
    return run


def test_a_whole_account_with_the_right_to_send_as_it(office: Run) -> None:
    assert shares(office, "info@example.com") == []
    told = shares(office, "info@example.com", "ada@example.com", "--rights", "full", "--send-as")
    assert told == [("(all)", "ada@example.com", "lrswipkxtena", True)]
    told = shares(office, "info@example.com", "ada@example.com", "--rights", "read", "--no-send-as")
    assert told == [("(all)", "ada@example.com", "lrs", False)]
    assert shares(office, "info@example.com", "ada@example.com", "--rights", "none") == []
    assert office("check")[0] == 0


def test_one_mailbox_has_other_rights(office: Run) -> None:
    shares(office, "info@example.com", "anyone", "--rights", "lr")
    told = shares(office, "info@example.com", "bob@example.com", "--mailbox", "Sent", "--rights", "write")
    assert told == [("(all)", "anyone", "lr", False), ("Sent", "bob@example.com", "lrswiten", False)]
    told = shares(office, "info@example.com", "anyone", "--mailbox", "Junk", "--rights", "none")
    assert told[1:] == [("Junk", "anyone", "none", False), ("Sent", "bob@example.com", "lrswiten", False)]
    assert "no mailbox Nowhere" in office("share", "info@example.com", "bob@example.com", "--mailbox", "Nowhere")[2]
    assert "no user eve" in office("share", "info@example.com", "eve")[2]
    assert office("share", "info@example.com", "bob@example.com", "--rights", "xyz")[0] == 1
    assert "every right" in office("share", "info@example.com", "info@example.com")[2]
