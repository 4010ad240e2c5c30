"""What one program leaves to the next in an upgrade: descriptors that stay open over `execve`, and a document that says
what they are.

There are three documents, JSON in memory without a name. The running program hands `Handed` to the new one, which
first runs as a trial beside it (`trial`); the trial answers with `Made`; and the running one leaves `Left`, with `Made`
inside as it came, to the new program that takes its place (`succession`). Every document begins with its format. A
program passes over names that it does not know and has defaults for those that it misses, so the format only changes
when that is not enough; one that it does not know it refuses, and then the running program goes on.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

if TYPE_CHECKING:
    from pillarbox.config import Settings

    from .certificates import KeyPair

FORMAT = 1
VARIABLE = "PILLARBOX_INHERITED"  # of the environment: the descriptor of the document
TRIAL_OPTION = "--trial"  # so that a program without trials refuses to start, instead of being a second server

T = TypeVar("T", bound=msgspec.Struct)


class InheritanceError(Exception):
    """What was left cannot be taken over; the text is for the operator."""


class Document(msgspec.Struct, kw_only=True):
    """How each of them begins. `version` is the program that wrote it."""

    format: int = FORMAT
    role: str = ""
    version: str = ""


class Listening(msgspec.Struct, kw_only=True):
    """A listener, see `listeners.Listener`."""

    role: str
    host: str = ""
    port: int = 0
    path: str = ""
    passed: bool = False
    descriptors: list[int]


class Estate(msgspec.Struct, kw_only=True):
    """What workers of both programs share: listeners, the ledger, its sockets for hints, and the application's own."""

    listeners: list[Listening]
    ledger: int
    hints: list[tuple[int, int]]
    shared: int = -1
    started_at: float

    def descriptors(self) -> Iterator[int]:
        for listener in self.listeners:
            yield from listener.descriptors
        yield self.ledger
        for pair in self.hints:
            yield from pair
        if self.shared >= 0:
            yield self.shared


class Employed(msgspec.Struct, kw_only=True):
    """A worker, see `crew.Worker`. `ledger` counts in `Left.ledgers`; `deadline` is monotonic seconds, or None."""

    pid: int
    generation: int
    index: int
    slot: int
    orders: int
    ready: bool = True
    asked: bool = False
    deadline: float | None = None
    ledger: int = 0


class Counting(msgspec.Struct, kw_only=True):
    """A ledger that workers count in; `brought` is what was carried out of it already (`access.ledger_carry`)."""

    descriptor: int
    brought: dict[str, int] = {}


class Handed(Document, kw_only=True):
    """To the trial. Its workers are of this `generation` and take these `slots` of the ledger, if they can use it.

    It says on `report` how far it is, and `streams` are the server's standard output and error: its own are read until
    it has understood all this.
    """

    estate: Estate
    generation: int
    slots: list[int]
    fixed: dict[str, str] = {}  # settings that may not be different (`reload.fixed`)
    report: int
    streams: tuple[int, int]

    def descriptors(self) -> list[int]:
        return [*self.estate.descriptors(), self.report, *self.streams]


class Made(Document, kw_only=True):
    """What the trial has made ready: its workers, on the estate it was handed and what it had to add to that.

    `settled` is for the next start of the same program only: the settings and the certificate, pickled.
    """

    estate: Estate
    generation: int
    size: int
    workers: list[Employed]
    settled: bytes

    def rename(self, numbers: Mapping[int, int]) -> None:
        """Put the numbers that descriptors have in another process."""
        estate = self.estate
        for listener in estate.listeners:
            listener.descriptors = [numbers.get(n, n) for n in listener.descriptors]
        estate.ledger = numbers.get(estate.ledger, estate.ledger)
        estate.hints = [(numbers.get(a, a), numbers.get(b, b)) for a, b in estate.hints]
        estate.shared = numbers.get(estate.shared, estate.shared)
        for worker in self.workers:
            worker.orders = numbers.get(worker.orders, worker.orders)

    def descriptors(self) -> list[int]:
        return [*self.estate.descriptors(), *(worker.orders for worker in self.workers)]


class Left(Document, kw_only=True):
    """To the successor. `made` is the trial's document, and `renamed` what its new descriptors are called here.

    `workers` are those of the old program, which count in `ledgers`, the first of which was its own.
    """

    made: msgspec.Raw
    renamed: dict[int, int]
    estate: Estate
    workers: list[Employed]
    ledgers: list[Counting]
    number: int  # of upgrades that were asked for
    reloads: int = 0

    def descriptors(self) -> list[int]:
        mine = [worker.orders for worker in self.workers] + [ledger.descriptor for ledger in self.ledgers]
        return [*self.estate.descriptors(), *mine, *self.renamed.values()]


class Word(msgspec.Struct, kw_only=True):
    """What the trial says on its way: a `step` it takes and for how many seconds, that it `failed` and why, or what is
    `ready`. Messages that carry the named descriptors, in this order, follow the last."""

    state: str
    text: str = ""
    patience: float = 0.0
    made: msgspec.Raw = msgspec.Raw(b"null")
    descriptors: list[int] = []


class Inheritance:
    """The document that this process was started with, `handed` or `left`."""

    def __init__(self, handed: Handed | None = None, left: Left | None = None) -> None:
        self.handed, self.left = handed, left
        self._made: Made | None = None

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self | None:
        """None for a process that was started as usual. Its variable is removed. Raises InheritanceError."""
        text = environ.pop(VARIABLE, "")
        if not text:
            return None
        try:
            descriptor = int(text)
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            os.close(descriptor)
        except (OSError, ValueError) as error:
            raise InheritanceError(f"{VARIABLE}={text} is no descriptor of a document") from error
        role = decode(data, Document).role
        if role == "trial":
            return cls(handed=decode(data, Handed))
        return cls(left=decode(data, Left))

    @property
    def made(self) -> Made:
        """What the trial left, with descriptors as they are called here. Raises InheritanceError."""
        if self._made is None:
            assert self.left is not None
            self._made = decode(bytes(self.left.made), Made)
            self._made.rename(self.left.renamed)
        return self._made

    def settled(self) -> tuple[Settings, KeyPair | None] | None:
        """Settings and certificate that the trial found good; None when there are none yet, or no longer."""
        if self.left is not None:
            with suppress(Exception):  # of another program after all: then they are loaded again
                found: tuple[Settings, KeyPair | None] = pickle.loads(self.made.settled)  # noqa: S301  # our own
                return found
        return None

    def ports(self) -> dict[str, int]:
        """The ports asked for, by role."""
        document = self.handed or self.left
        assert document is not None
        return {listener.role: listener.port for listener in document.estate.listeners if not listener.path}


def decode(data: bytes, kind: type[T]) -> T:
    """Raises InheritanceError."""
    try:
        document = msgspec.json.decode(data, type=Document)
        if document.format != FORMAT:
            raise InheritanceError(
                f"version {document.version} leaves what it has in form {document.format}, and this program knows form "
                f"{FORMAT}. Fix: restart the server instead"
            )
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise InheritanceError(f"what the running server leaves cannot be read: {error}") from error


def write(document: Document) -> int:
    """A descriptor of memory that holds the document. Raises OSError."""
    descriptor = os.memfd_create("pillarbox-inheritance", os.MFD_CLOEXEC)
    os.write(descriptor, msgspec.json.encode(document))
    return descriptor


def keep_open(descriptors: Iterable[int], *, inheritable: bool = True) -> None:
    """Whether these stay open over `execve`. Raises OSError."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, inheritable)
