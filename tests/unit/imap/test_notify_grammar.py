"""NOTIFY as text: every command that the grammar allows is understood as it was meant, and nothing makes it fail."""

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap import notify_grammar
from pillarbox.imap.commands import EventGroup, Notify
from pillarbox.imap.fetch import Item
from pillarbox.imap.mailbox_filter import MailboxFilter
from pillarbox.imap.notify_grammar import EVENTS, MESSAGE_EVENTS, notify
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused

PAIR = {"MessageNew", "MessageExpunge"}
ATTRIBUTES = (Item.UID, Item.FLAGS, Item.ENVELOPE, Item.BODYSTRUCTURE, Item.MODSEQ)

names = st.lists(st.sampled_from(["INBOX", "a", "a/b", "Lists"]), min_size=1, max_size=3).map(tuple)


@st.composite
def groups(draw, *, selected):
    kind = draw(
        st.sampled_from(["SELECTED", "SELECTED-DELAYED"])
        if selected
        else st.sampled_from(["INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "MAILBOXES"])
    )
    named = draw(names) if kind in ("SUBTREE", "MAILBOXES") else ()
    events = draw(st.sets(st.sampled_from(MESSAGE_EVENTS if selected else EVENTS)))
    if events & set(MESSAGE_EVENTS):
        events |= PAIR
    items = draw(st.lists(st.sampled_from(ATTRIBUTES), unique=True)) if selected and events else []
    return EventGroup(MailboxFilter(kind, named), frozenset(events), tuple(items))


commands = st.tuples(
    st.lists(groups(selected=False), min_size=1, max_size=4), st.none() | groups(selected=True), st.booleans()
).map(lambda parts: Notify(tuple(parts[0] + ([parts[1]] if parts[1] else [])), parts[2]))


def written(command, case):
    """The command as a client may write it."""
    texts = []
    for group in command.groups:
        where = case(group.mailboxes.kind)
        if group.mailboxes.names:
            listed = " ".join(f'"{name}"' for name in group.mailboxes.names)
            where += f" ({listed})"
        events = []
        for name in sorted(group.events):
            event = case(name)
            if name == "MessageNew" and group.items:
                event += " (" + " ".join(case(item.value.decode()) for item in group.items) + ")"
            events.append(event)
        texts.append(f"({where} ({' '.join(events)}))" if events else f"({where} {case('NONE')})")
    return f"{case('SET')}{case(' STATUS') * command.status} {' '.join(texts)}".encode()


@given(commands, st.sampled_from([str.upper, str.lower, str]))
def test_what_is_written_is_understood(command, case):
    assert notify(Cursor(written(command, case))) == command


@given(commands, st.data())
def test_anything_else_is_a_clear_refusal(command, data):
    text = bytearray(written(command, str))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"(", b")", b" ", b"x", b'"', b"{9}"])
        )
        if not text:
            return
    try:
        found = notify(Cursor(bytes(text)))
    except (BadSyntax, Refused) as error:
        assert str(error)
    else:
        assert all(group.events <= set(EVENTS) for group in found.groups)
        for group in found.groups:
            assert not group.events & set(MESSAGE_EVENTS) or group.events >= PAIR


def test_there_are_bounds():
    for text in (
        b"SET " + b" ".join([b"(personal NONE)"] * (notify_grammar.MAX_GROUPS + 1)),
        b"SET (personal (" + b" ".join([b"MailboxName"] * (notify_grammar.MAX_EVENTS + 1)) + b"))",
        b"SET (mailboxes (" + b" ".join([b"a"] * 1001) + b") NONE)",
    ):
        try:
            notify(Cursor(text))
        except BadSyntax as error:
            assert "more than" in str(error)
        else:
            raise AssertionError(text[:40])
