"""The view of a mailbox against a model: a client that believes what it is told knows what is in the store."""

from array import array
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap.sequence import SequenceSet, parse
from pillarbox.session import imap_columns
from pillarbox.session.imap_selected import Selected, join
from pillarbox.store.records import Changes, MessageRow, View
from unit.session_imap.model_client import ModelClient


class Mailbox:
    """A mailbox as the store keeps it, in a few lines."""

    def __init__(self):
        self.modseq, self.uidnext = 1, 1
        self.messages = {}  # uid -> (flags, keywords, modseq)
        self.expunged = []  # (uid, modseq)

    def row(self):
        return SimpleNamespace(id=1, user_id=1, uidvalidity=1, uidnext=self.uidnext, highestmodseq=self.modseq)

    def add(self, flags):
        self.modseq += 1
        self.messages[self.uidnext] = (flags, (), self.modseq)
        self.uidnext += 1

    def flag(self, uid, flags, keywords):
        if uid in self.messages:
            self.modseq += 1
            self.messages[uid] = (flags, keywords, self.modseq)
            return (uid, flags, keywords, self.modseq)
        return None

    def expunge(self, uid):
        if self.messages.pop(uid, None):
            self.modseq += 1
            self.expunged.append((uid, self.modseq))

    def view(self):
        columns = sorted(self.messages.items())
        zeros = array("q", [0] * len(columns))
        return View(
            self.row(),
            array("I", [uid for uid, _ in columns]),
            array("B", [message[0] for _, message in columns]),
            array("q", [message[2] for _, message in columns]),
            zeros,
            zeros[:],
            array("q", [uid * 10 for uid, _ in columns]),
            zeros[:],
            {uid: message[1] for uid, message in columns if message[1]},
        )

    def changes(self, since, known_uidnext, *, remembered):
        new = [
            MessageRow(uid, flags, keywords, modseq, 0, 0, 0, uid * 10)
            for uid, (flags, keywords, modseq) in sorted(self.messages.items())
            if uid >= known_uidnext
        ]
        changed = [
            (uid, *message)
            for uid, message in sorted(self.messages.items())
            if message[2] > since and uid < known_uidnext
        ]
        vanished = [uid for uid, modseq in self.expunged if modseq > since and uid < known_uidnext]
        return Changes(self.row(), new, changed, vanished if remembered else None)


uids = st.integers(1, 12)
flags = st.integers(0, 31)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), flags),
        st.tuples(st.just("flag"), uids, flags, st.sampled_from([(), ("todo",)])),
        st.tuples(st.just("expunge"), uids),
        st.tuples(st.just("own flag"), uids, flags),
        st.tuples(st.just("look"), st.booleans(), st.booleans()),
        st.tuples(st.just("ask")),
    ),
    max_size=40,
)


@given(EVENTS, st.booleans(), st.integers(0, 6))
def test_a_client_that_believes_everything_knows_the_mailbox(events, vanished, first):
    box = Mailbox()
    for _ in range(first):
        box.add(0)
    view = Selected(box.view(), "INBOX", read_only=False, recent_from=1)
    client = ModelClient(view.uids)

    def look(expunge, remembered):
        if remembered:
            view.take(box.changes(view.highestmodseq, view.uidnext, remembered=True))
        else:
            view.reload(box.view())
        for response in view.tell(expunge=expunge, vanished=vanished, modseq=True, recent=False):
            assert expunge or b"EXPUNGE" not in response
            client.hear(response)

    for name, *args in events:
        match name:
            case "add":
                box.add(*args)
            case "flag":
                box.flag(*args)
            case "expunge":
                box.expunge(*args)
            case "own flag":
                if (changed := box.flag(*args, ())) and view.set_flags(*changed) >= 0:
                    view.note([changed[0]])
            case "look":
                look(*args)
            case "ask":
                look(False, True)
                client.ask(view)
    look(True, True)
    assert view.settled
    client.ask(view)
    assert list(view.uids) == sorted(box.messages)
    assert list(view.ids) == [uid * 10 for uid in sorted(box.messages)]
    assert [view.modseqs[at] for at in range(len(view))] == [box.messages[uid][2] for uid in view.uids]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8))
def test_joined_ranges_hold_what_the_pieces_held(pairs):
    pieces = [range(low, high) for low, high in pairs]
    joined = join(pieces)
    assert sorted({at for piece in pieces for at in piece}) == [at for piece in joined for at in piece]


def test_a_saved_result_with_other_numbers():
    box = Mailbox()
    for _ in range(9):
        box.add(0)
    view = Selected(box.view(), "INBOX", read_only=False, recent_from=1)
    assert view.pick(SequenceSet((), saved=True), uid=True) == []
    view.saved = SequenceSet(((2, 4),))
    assert view.pick(parse(b"4:6,9,$"), uid=True) == [range(1, 6), range(8, 9)]


@given(
    st.lists(st.tuples(flags, st.integers(1, 9)), max_size=12),
    st.integers(0, 9),
    st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
def test_what_is_looked_for_in_pieces(rows, since, ends):
    some, imap_columns._SOME = imap_columns._SOME, 3
    try:
        box = SimpleNamespace(id=1, user_id=1, uidvalidity=1, uidnext=len(rows) + 1, highestmodseq=9)
        numbers = [array("q", range(1, len(rows) + 1)) for _ in range(4)]
        columns = (array("B", [bits for bits, _ in rows]), array("q", [modseq for _, modseq in rows]), *numbers)
        view = View(box, array("I", range(1, len(rows) + 1)), *columns, {})
        selected = Selected(view, "x", read_only=True, recent_from=1)
        among = range(min(ends), min(max(ends), len(rows)))
        assert selected.newer(among, since) == [at for at in among if rows[at][1] > since]
        for bit in (1, 8):
            without = [number for number, (bits, _) in enumerate(rows, 1) if not bits & bit]
            assert selected.first_without(bit) == (without or [0])[0]
    finally:
        imap_columns._SOME = some
