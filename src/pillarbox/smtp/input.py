"""What a client sent and nobody has read yet: lines, octets, or a whole look at it."""

TOO_LONG = b"(a line that is too long to keep)"


class Input:
    """`data[at:]` is to be read; `more` adds what arrived since. Every octet is copied at most twice, however it comes:
    pieces wait in a list and are joined only when the octets before them are used up or lack an end."""

    __slots__ = ("_arrived", "_longest", "_overlong", "at", "data")

    def __init__(self, longest: int) -> None:
        """`longest`: octets of a line without its CRLF; longer ones are dropped as they come."""
        self.data = b""
        self.at = 0
        self._longest = longest
        self._arrived: list[bytes] = []
        self._overlong = False  # within a line that is being dropped

    def __len__(self) -> int:
        return len(self.data) - self.at + sum(map(len, self._arrived))

    def receive(self, data: bytes) -> None:
        self._arrived.append(data)

    def clear(self) -> None:
        self.data, self.at, self._overlong = b"", 0, False
        self._arrived.clear()

    def push_back(self, data: bytes) -> None:
        """Put octets in front of what is to be read."""
        self.data, self.at = data + self.data[self.at :], 0

    def more(self) -> bool:
        """Add what arrived; false when nothing did."""
        if not self._arrived:
            if self.at and self.at == len(self.data):
                self.data, self.at = b"", 0  # an idle client keeps no buffer
            return False
        if self.at == len(self.data):
            self.data = self._arrived[0] if len(self._arrived) == 1 else b"".join(self._arrived)
        else:
            self.data = b"".join((self.data[self.at :], *self._arrived))
        self.at = 0
        self._arrived.clear()
        return True

    def line(self) -> bytes | None:
        """The next line without its CRLF; `TOO_LONG` itself for one over the limit; None when its end is not in.
        A bare CR or LF ends nothing."""
        while True:
            at = self.at
            end = self.data.find(b"\r\n", at)
            if end >= 0:
                self.at = end + 2
                if self._overlong or end - at > self._longest:
                    self._overlong = False
                    return TOO_LONG
                return self.data[at:end]
            if self._overlong or len(self.data) - at > self._longest + 1:  # one more may be the CR
                self._overlong = True
                self.data, self.at = (b"\r" if self.data.endswith(b"\r", at) else b""), 0
            if not self.more():
                return None

    def take(self, most: int) -> bytes:
        """Up to `most` octets, as many as are at hand; empty when there are none."""
        if self.at == len(self.data) and not self.more():
            return b""
        piece = self.data[self.at : self.at + most]
        self.at += len(piece)
        return piece
