"""A client that keeps numbers as RFC 9051 says and believes what it is told.

EXISTS makes messages, EXPUNGE takes one out, VANISHED takes UIDs out, FETCH tells UIDs and flags.
"""

import re

from pillarbox.imap.sequence import parse

_ORDER = [b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Seen", b"\\Draft", b"todo"]  # of a rendered list


class ModelClient:
    """`uids` by message number, None where it was told none yet; `flags` by UID, rendered."""

    def __init__(self, uids):
        self.uids = list(uids)
        self.flags = {}

    def hear(self, response):
        if found := re.fullmatch(rb"(\d+) EXISTS", response):
            assert int(found[1]) >= len(self.uids), "EXISTS never shrinks a mailbox"
            self.uids += [None] * (int(found[1]) - len(self.uids))
        elif found := re.fullmatch(rb"(\d+) EXPUNGE", response):
            self.flags.pop(self.uids.pop(int(found[1]) - 1), None)
        elif found := re.fullmatch(rb"VANISHED ([\d:,]+)", response):
            for low, high in parse(found[1]).ranges:
                for uid in range(low, high + 1):
                    self.vanish(uid)
        elif found := re.match(rb"(\d+) FETCH \((?:UID (\d+))?", response):
            uid = int(found[2])
            number = int(found[1])
            assert self.uids[number - 1] in (None, uid)
            self.uids[number - 1] = uid
            if flags := re.search(rb" FLAGS \(([^)]*)\)", response):
                self.flags[uid] = flags[1]

    def store(self, uids, sign, flag):
        """It sends STORE with .SILENT and computes what becomes of flags that it knows."""
        for uid in uids:
            if uid in self.flags:
                words = [word for word in self.flags[uid].split() if sign and word != flag]
                self.flags[uid] = b" ".join(words if sign == b"-" else sorted([*words, flag], key=_ORDER.index))

    def vanish(self, uid):
        """A UID is gone. One that it was never told stands among the unknown ones between its neighbours."""
        if uid in self.uids:
            self.uids.remove(uid)
        else:
            after = next((at for at, known in enumerate(self.uids) if known and known > uid), len(self.uids))
            assert self.uids[after - 1] is None, "VANISHED names what was there"
            del self.uids[after - 1]

    def ask(self, view):
        """FETCH 1:* (UID FLAGS): what it learns fits what it knew."""
        assert len(view) == len(self.uids)
        for at, uid in enumerate(view.uids):
            assert self.uids[at] in (None, uid)
            shown = view.render_flags(at, recent=False)[1:-1]
            assert self.flags.get(uid, shown) == shown
            self.uids[at], self.flags[uid] = uid, shown


class UidOnlyClient(ModelClient):
    """After ENABLE UIDONLY (RFC 9586) nothing has a number: in `uids` stands first what it knows, in order."""

    def hear(self, response):
        assert not re.match(rb"\d+ (FETCH|EXPUNGE)", response), "message numbers are not told"
        if found := re.match(rb"(\d+) UIDFETCH \(", response):
            uid = int(found[1])
            if uid not in self.uids:
                assert None in self.uids, "there are no more than EXISTS said"
                known = sorted([uid, *(one for one in self.uids if one is not None)])
                self.uids = known + [None] * (len(self.uids) - len(known))
            if flags := re.search(rb"FLAGS \(([^)]*)\)", response):
                self.flags[uid] = flags[1]
        else:
            super().hear(response)

    def vanish(self, uid):
        assert uid in self.uids or None in self.uids, "VANISHED names what was there"
        self.uids.remove(uid if uid in self.uids else None)
