"""What a fuzzy search looks for."""

from pillarbox.imap.flags import SEEN
from pillarbox.imap.fuzzy import MAX_WORDS, beginning, is_fuzzy, plain
from pillarbox.imap.mailbox_filter import MailboxFilter
from pillarbox.imap.search import And, Body, Flag, Fuzzy, Not, Or


def test_three_ways_each_looser():
    key = And((Fuzzy(Body("Lunch meetings")), Flag(SEEN, True)))
    assert is_fuzzy(key)
    exact = Body("Lunch meetings")
    assert plain(key, 100) == And((exact, Flag(SEEN, True)))
    assert plain(key, 75) == And((Or((exact, And((Body("lunch"), Body("meetings"))))), Flag(SEEN, True)))
    assert plain(key, 50) == And((Or((exact, And((Body("lunc"), Body("meetin"))))), Flag(SEEN, True)))


def test_a_long_text_is_a_few_words():
    long = plain(Fuzzy(Body(" ".join(map(str, range(4000))))), 75)
    assert len(long.keys[1].keys) == MAX_WORDS


def test_not_is_never_looser():
    assert plain(Fuzzy(Not(Body("lunches"))), 50) == Not(Body("lunches"))
    assert not is_fuzzy(Not(Body("lunches")))
    assert plain(Not(Fuzzy(Body("x"))), 100) == Not(Body("x"))


def test_beginnings():
    assert [beginning(word) for word in ("a", "lunch", "lunches", "京都", "meetings")] == [
        "a",
        "lunc",
        "lunch",
        "京都",
        "meetin",
    ]


def test_filters_of_mailboxes():
    names = ["INBOX", "Work", "Work/a", "Work/a/b", "Workshop"]
    subscribed = frozenset({"Work", "gone"})

    def chosen(kind, *filtered):
        return MailboxFilter(kind, filtered).chosen(names, subscribed)

    assert chosen("PERSONAL") == names
    assert chosen("INBOXES") == ["INBOX"]
    assert chosen("SUBSCRIBED") == ["Work"]
    assert chosen("SUBTREE", "Work") == ["Work", "Work/a", "Work/a/b"]
    assert chosen("SUBTREE-ONE", "Work") == ["Work", "Work/a"]
    assert chosen("MAILBOXES", "Work/a", "none") == ["Work/a"]
    assert chosen("SELECTED") == []
