"""`pillarbox routes|route|list` on a real store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pillarbox.cli import explain_route
from pillarbox.flow.explanation import Explanation

Run = Callable[..., tuple[int, str, str]]


def answer(outcome: tuple[int, str, str]) -> Any:
    status, out, err = outcome
    assert status == 0, err
    return json.loads(out)


SMART = ("routes", "add", "smart", "smarthost", "--host", "smart.example", "--username", "me", "--password-stdin")


def test_a_smarthost_and_its_password(run: Run) -> None:
    made = answer(run(*SMART, "--json", stdin="s3cret\n"))
    assert (made["port"], made["tls"], made["has_password"]) == (587, "verify", True)
    status, out, _ = run("routes", "show", "smart")
    assert status == 0
    assert "Has password: yes" in out
    assert "s3cret" not in out + run("routes", "list")[1] + run("routes", "list", "--json")[1]
    assert answer(run("routes", "set", "smart", "--tls", "implicit", "--port", "465", "--json"))["tls"] == "implicit"
    assert run("routes", "set", "smart", "--tls", "may")[::2] == (
        1,
        "Error: with --tls may the password could travel in the clear; use verify, implicit or require\n",
    )
    assert answer(run("routes", "show", "smart", "--json"))["tls"] == "implicit"
    answer(run("routes", "set", "smart", "--host", "127.0.0.1", "--tls", "may", "--json"))
    assert answer(run("routes", "set", "smart", "--username", "", "--json"))["has_password"] is False
    assert run(*SMART, stdin="x\n")[0] == 1  # it is there


def test_rules(run: Run) -> None:
    run(*SMART, stdin="s3cret\n")
    run("routes", "add", "dovecot", "lmtp", "--host", "/run/dovecot/lmtp")
    rule = answer(run("routes", "use", "dovecot", "--for", "Behind.Example", "--accept", "--json"))
    assert (rule["scope"], rule["pattern"], rule["route"], rule["accept"]) == (
        "recipient",
        "behind.example",
        "dovecot",
        True,
    )
    assert run("routes", "use", "smart", "--for", "*")[1] == (
        "Mail for * takes route smart; 0 waiting recipient(s) are routed anew\n"
    )
    assert run("routes", "use", "smart", "--from", "example.com")[0] == 0
    assert [rule["pattern"] for rule in answer(run("routes", "rules", "--json"))] == [
        "*",
        "behind.example",
        "example.com",
    ]
    assert answer(run("routes", "show", "smart", "--json"))["used_for"] == ["*", "from example.com"]
    assert "behind.example (accepted)" in run("routes", "list")[1]
    assert run("routes", "remove", "smart")[0] == 1
    assert answer(run("routes", "unuse", "--for", "*", "--json"))["route"] == "smart"
    assert run("routes", "unuse", "--from", "example.com")[0] == 0
    assert run("routes", "unuse", "--from", "example.com")[0] == 1
    assert run("routes", "remove", "smart")[0] == 0


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("use", "smart"), 2),
        (("use", "smart", "--for", "a.example", "--from", "b.example"), 2),
        (("use", "smart", "--for", "*", "--accept"), 1),
        (("use", "smart", "--for", ".com", "--accept"), 1),
        (("use", "smart", "--from", "a.example", "--accept"), 1),
        (("use", "other", "--for", "a.example"), 1),
        (("add", "x", "smarthost"), 1),
        (("add", "x", "nonsense"), 1),
        (("add", "x", "smarthost", "--host", "h", "--source-ipv4", "::1"), 2),
        (("add", "x", "smarthost", "--host", "h", "--username", "u"), 2),
        (("add", "x", "smarthost", "--host", "h", "--password", "u"), 2),
    ],
)
def test_what_cannot_be(run: Run, words: tuple[str, ...], status: int) -> None:
    run(*SMART, stdin="s3cret\n")
    assert run("routes", *words)[0] == status
    assert answer(run("routes", "rules", "--json")) == []


def test_a_rule_for_a_domain_of_ours_says_what_it_does_not_do(run: Run) -> None:
    run("domain", "add", "example.com")
    run("routes", "add", "later", "hold")
    assert "still goes to them" in run("routes", "use", "later", "--for", "example.com")[1]
    assert "still goes to them" not in run("routes", "use", "later", "--for", "example.org")[1]


def test_waiting_mail_follows_the_rules(run: Run, tmp_path: Path) -> None:
    run(*SMART, stdin="s3cret\n")
    with closing(sqlite3.connect(tmp_path / "smtp.db")) as connection, connection:
        connection.execute("INSERT INTO destinations (id, name) VALUES (1, 'mx example.org')")
        connection.execute(
            "INSERT INTO message_queue (from_address, to_address, created_at, next_retry_at, destination_id) "
            "VALUES ('a@example.com', 'b@example.org', 1, 1, 1)"
        )
    assert "1 waiting recipient(s) are routed anew" in run("routes", "use", "smart", "--for", "example.org")[1]
    with closing(sqlite3.connect(tmp_path / "smtp.db")) as connection, connection:
        assert connection.execute("SELECT destination_id FROM message_queue").fetchall() == [(None,)]


def test_lists(run: Run) -> None:
    made = answer(
        run("list", "create", "Team@Example.com", "--owner", "ada@example.com", "--title", "The team", "--json")
    )
    assert (made["address"], made["posting"], made["members"]) == ("team@example.com", "members", 0)
    assert run("list", "create", "other@example.com")[0] == 2  # without an owner
    far = run("list", "create", "team@elsewhere.example", "--owner", "ada@example.com")
    assert (far[0], "elsewhere.example is not ours" in far[2]) == (0, True)
    run("list", "delete", "team@elsewhere.example")
    assert run("list", "add", "team@example.com", "ada@example.com", "bob@example.org")[1] == (
        "2 member(s) added to team@example.com\n"
    )
    many = "# members\n\nbob@example.org\n" + "".join(f"m{n}@example.net\n" for n in range(2500))
    assert answer(run("list", "add", "team@example.com", "--stdin", "--json", stdin=many))["added"] == 2500
    assert answer(run("list", "remove", "team@example.com", "m1@example.net", "m2@example.net", "--json")) == {
        "address": "team@example.com",
        "removed": 2,
    }
    assert run("list", "remove", "team@example.com", "m3@example.net", "nobody@example.net")[0] == 1
    shown = answer(run("list", "show", "team@example.com", "--json"))
    assert (len(shown["members"]), shown["members"][:2]) == (2500, ["ada@example.com", "bob@example.org"])
    assert answer(run("list", "set", "team@example.com", "--posting", "anyone", "--json"))["posting"] == "anyone"
    assert run("list", "set", "team@example.com", "--posting", "everyone")[0] == 1
    assert "2500" in run("list", "list")[1]
    assert run("list", "add", "team@example.com")[0] == 2
    assert run("list", "add", "nothing@example.com", "a@example.com")[0] == 1
    assert run("list", "delete", "team@example.com")[0] == 0
    assert answer(run("list", "list", "--json")) == []


@pytest.mark.parametrize("owner", ["team", "Team+x", "team-owner", "team-bounces+x", "TEAM-request", "chiefs", "typo"])
def test_a_list_is_not_its_own_owner(run: Run, owner: str) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    run("domain", "add", "example.com", "--catch-all", "team@example.com")
    run("alias", "add", "chiefs@example.com", "team@example.com")
    run("list", "create", "other@example.com", "--owner", "ada@example.com")
    status, _, complaint = run("list", "create", "team@example.com", "--owner", f"{owner}@example.com")
    assert status == 1
    assert "cannot own team@example.com: its mail would go to the list itself" in complaint
    assert [row["address"] for row in answer(run("list", "list", "--json"))] == ["other@example.com"]
    assert run("list", "create", "team@example.com", "--owner", "ada+team@example.com")[0] == 0
    assert run("list", "set", "team@example.com", "--owner", f"{owner}@example.com")[0] == 1
    assert run("list", "set", "team@example.com", "--owner", "other@example.com")[0] == 0
    assert answer(run("list", "show", "team@example.com", "--json"))["owner"] == "other@example.com"


def test_an_address_out_of_a_header(run: Run) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    for address in ("<ada@example.com>", "Ada L. <ada@example.com>", " <ada@example.com>"):
        assert "into the mailbox of ada@example.com" in run("route", address, "--from", "<eve@example.org>")[1]
    for address in ("", "eve@x <ada@example.com>", "<>", "a\nb@c.d"):
        status, _, complaint = run("route", address)
        assert status == 2 and complaint.startswith(f"Error: {address!r} is no address")


def test_what_would_happen_to_a_recipient(run: Run) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    run("alias", "add", "info@example.com", "ada@example.com")
    run("alias", "add", "info@example.com", "carl@example.org")
    run("list", "create", "team@example.com", "--owner", "ada@example.com")
    run("list", "add", "team@example.com", "ada@example.com")
    run(*SMART, stdin="s3cret\n")
    run("routes", "use", "smart", "--from", "example.com")
    status, out, _ = run("route", "ada+x@example.com")
    assert status == 0
    assert out == (
        "domain      example.com is ours: an account has an address in it\n"
        "subaddress  ada+x: ada with the detail 'x'\n"
        "user        ada@example.com is the account ada@example.com\n"
        "Accepted: 250 2.1.5 OK\n"
        "  into the mailbox of ada@example.com\n"
    )
    found = answer(run("route", "info@example.com", "--from", "eve@example.net", "--json"))
    assert found["mailboxes"] == ["ada@example.com"]
    assert [(hop["address"], hop["destination"], hop["via"]) for hop in found["next_hops"]] == [
        ("carl@example.org", "mx example.org", "info@example.com")
    ]
    status, out, _ = run("route", "carl@example.org")
    assert (status, out.splitlines()[-1]) == (1, "Refused: 550 5.7.1 Relay access denied")
    status, out, _ = run("route", "carl@example.org", "--from", "ada@example.com")
    assert (status, out.splitlines()[-1]) == (0, "  to carl@example.org by route 1 (smart.example:587, TLS: verify)")
    assert "carl@example.org: the sender rule example.com says route smart (smarthost)" in out
    status, out, _ = run("route", "team@example.com", "--from", "eve@example.net")
    assert status == 1
    assert "<eve@example.net> may not send to team@example.com, which takes mail from members" in out
    assert "to the 1 member(s) of team@example.com" in run("route", "team@example.com")[1]
    assert run("route", "SRS0=AAAAAA=AA=x.example=bob@example.com")[0] == 1
    assert run("route", "postmaster")[0] == 0
    assert run("route", "nonsense")[0] == 2


def test_a_quota_has_its_say(run: Run) -> None:
    run("user", "add", "ada@example.com", "--quota", "1", stdin="correct horse\n")
    status, out, _ = run("route", "ada@example.com", "--size", "2000000")
    assert status == 1
    assert "ada@example.com uses 0 of 1048576 octets: larger than the quota" in out
    assert run("route", "ada@example.com", "--size", "2000")[0] == 0


def test_held_and_discarded(run: Run) -> None:
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    run("routes", "add", "later", "hold")
    run("routes", "add", "nowhere", "discard")
    run("routes", "use", "later", "--for", "example.org")
    run("routes", "use", "nowhere", "--for", "trap.example", "--accept")
    out = run("route", "bob@example.org", "--from", "ada@example.com")[1]
    assert out.endswith("  bob@example.org is held; when released it goes to mx example.org\n")
    assert run("route", "bob@trap.example")[1].endswith("  bob@trap.example is discarded\n")
    answer(run("route", "bob@trap.example", "--dns", "--json"))  # asks nobody


def test_the_hosts_of_next_hops(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def looked_up(explanation: Explanation) -> explain_route.Found:
        asked.extend(hop.destination for hop in explanation.next_hops)
        rewritten = explanation.forwarded_from == "strict.example" if explanation.forwarded_from else None
        return explain_route.Found({"mx example.org": ["   10 mx1.example.org 192.0.2.1"]}, rewritten)

    monkeypatch.setattr(explain_route, "_looked_up", looked_up)
    run("user", "add", "ada@example.com", stdin="correct horse\n")
    out = run("route", "bob@example.org", "--from", "ada@example.com", "--dns")[1]
    assert out.endswith("  to bob@example.org by mx example.org\n       10 mx1.example.org 192.0.2.1\n")
    assert asked == ["mx example.org"]
    run("alias", "add", "away@example.com", "bob@example.org")
    out = run("route", "away@example.com", "--from", "eve@strict.example", "--dns")[1]
    assert "<eve@strict.example> is rewritten (SRS) if strict.example has mail refused" in out
    assert out.endswith("192.0.2.1\n  with a sender of ours (SRS)\n")
    out = run("route", "away@example.com", "--from", "eve@loose.example", "--dns")[1]
    assert out.endswith("192.0.2.1\n  with the sender <eve@loose.example>\n")
    assert answer(run("route", "away@example.com", "--from", "e@strict.example", "--dns", "--json"))["sender_rewritten"]
    out = run("route", "away@example.com", "--from", "ada@example.com", "--dns")[1]  # nobody refuses our own senders
    assert "SRS" not in out
    assert out.endswith("192.0.2.1\n")
