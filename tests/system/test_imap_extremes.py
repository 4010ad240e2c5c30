"""What nobody sends in earnest, to a real server over TLS: a clear reply at once, and memory that hardly grows.

Measured over all workers: their PSS before and after, and how far the resident set of one rose in between, which the
kernel keeps (VmHWM, reset through clear_refs).
"""

import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1 << 20
PEAK = 10 * MIB  # that a worker may rise for a moment: its buffers of input, and a line of 64 KiB taken apart
STAYS = 6 * MIB  # that all workers together may keep
MILLION = b",".join(b"%d" % number for number in range(1, 2_000_000, 2))


class Line:
    """A connection that has logged in and selected INBOX."""

    def __init__(self, server):
        plain = socket.create_connection(("127.0.0.1", server.ports["imaps"]), timeout=30)
        self.socket = server.tls().wrap_socket(plain, server_hostname="localhost")
        self.lines = self.socket.makefile("rb")
        name, password = server.accounts[0]
        assert self.lines.readline().startswith(b"* OK ")
        assert self.reply(f"LOGIN {name} {password}".encode()).startswith(b"x OK")
        assert self.reply(b"SELECT INBOX").startswith(b"x OK")

    def reply(self, command):
        """The tagged reply, or BYE."""
        self.socket.sendall(b"x " + command + b"\r\n")
        return self.answer()

    def answer(self):
        while True:
            line = self.lines.readline()
            assert line.endswith(b"\r\n"), "the server closed without a word"
            if line.startswith((b"x ", b"* BYE")):
                return line

    def pour(self, octets):
        """Send so many, as far as the server takes them; how many it took."""
        piece = bytes(256 * 1024)
        sent = 0
        try:
            while sent < octets:
                self.socket.sendall(piece)
                sent += len(piece)
        except OSError:
            return sent
        return sent

    def close(self):
        self.lines.close()
        self.socket.close()


@pytest.fixture
def line(server):
    made = Line(server)
    yield made
    made.close()


@contextmanager
def bounded(server):
    """The memory of the workers stays within its bounds meanwhile."""
    workers = server.workers()
    before = sum(memory(pid, "smaps_rollup", "Pss:") for pid in workers)
    resident = {pid: memory(pid, "status", "VmRSS:") for pid in workers}
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    yield
    assert server.workers() == workers, "a worker has ended"
    for pid in workers:
        rise = memory(pid, "status", "VmHWM:") - resident[pid]
        assert rise < PEAK, f"a worker rose by {rise / MIB:.1f} MiB"
    kept = sum(memory(pid, "smaps_rollup", "Pss:") for pid in workers) - before
    assert kept < STAYS, f"the workers keep {kept / MIB:.1f} MiB"


def memory(pid, file, field):
    """Octets."""
    for text in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if text.startswith(field):
            return int(text.split()[1]) * 1024
    raise LookupError(field)


def test_an_append_of_a_gigabyte(server, line):
    with bounded(server):
        assert line.reply(b"APPEND INBOX {1073741824}").startswith(b"x NO [TOOBIG]")
        assert line.reply(b"NOOP").startswith(b"x OK")
        # LITERAL+ brings it unasked: the refusal comes before it, and what is sent all the same is thrown away.
        assert line.reply(b"APPEND INBOX {1073741824+}").startswith((b"x NO [TOOBIG]", b"x BAD", b"* BYE"))
        line.pour(64 * MIB)
    again = Line(server)
    assert again.reply(b"NOOP").startswith(b"x OK")
    again.close()


def test_a_long_literal_where_a_word_belongs(server, line):
    with bounded(server):
        assert line.reply(b"SEARCH SUBJECT {104857600}").startswith(b"x BAD [TOOBIG]")
        assert line.reply(b"NOOP").startswith(b"x OK")
        line.socket.sendall(b"x SEARCH SUBJECT {33554432+}\r\n")
        assert line.answer().startswith(b"x BAD [TOOBIG]")
        assert line.pour(32 * MIB) == 32 * MIB
        line.socket.sendall(b"\r\n")
        assert line.reply(b"NOOP").startswith(b"x OK")


def test_a_set_of_a_million_elements(server, line):
    with bounded(server):
        assert line.reply(b"UID FETCH " + MILLION + b" FLAGS").startswith((b"x BAD [TOOBIG]", b"* BYE"))
        assert line.reply(b"NOOP").startswith(b"x OK")


@pytest.mark.parametrize("command", [b"SEARCH %b", b"FETCH 1 %b", b'LIST "" %b', b"THREAD REFERENCES UTF-8 %b"])
def test_ten_thousand_parentheses(server, line, command):
    with bounded(server):
        for nested in (b"(" * 10_000 + b"ALL" + b")" * 10_000, b"(" * 10_000, b"(" + b"NOT " * 10_000 + b"ALL)("):
            assert line.reply(command % nested).startswith(b"x BAD ")
        assert line.reply(b"NOOP").startswith(b"x OK")
