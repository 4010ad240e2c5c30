"""Drives a fuzz target: random mutations of seeds, a saved and shrunk input when an invariant breaks.

A target is a module with `run(data: bytes) -> None` that raises when an invariant does not hold, and ends with

    if __name__ == "__main__":
        sys.exit(main(run, seeds))

so that `python tests/fuzz/fuzz_mime.py --seconds 60 --seed 7` works for each of them, and
`... --replay tests/fuzz/failures/fuzz_mime-1234.bin` runs one saved input again. No coverage feedback: the seeds and
the dictionary of a target bring the depth, the number of executions brings the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

Run = Callable[[bytes], None]
Mutate = Callable[[bytes, Sequence[bytes], Sequence[bytes], random.Random], bytes]

FAILURES = Path(__file__).parent / "failures"
MAX_INPUT = 1 << 16  # longer inputs are cut: size traps have tests of their own
SHRINK_SECONDS = 20.0

# Octets that mean something to text protocols; a target may give more (`dictionary`).
INTERESTING = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\\", b'"', b"<", b">", b"(", b")", b"[", b"]", b"{", b"}", b"*", b"%",
    b"@", b".", b",", b":", b";", b"=", b"--", b"\r\n\r\n", b"\r\n.\r\n", b"\n.\n", b"{0}\r\n", b"{5+}\r\n", b"\xff",
    b"\xc3\xa9", b"\x80", b"0", b"-1", b"4294967295", b"4294967296", b"18446744073709551616", b"NIL",
)  # fmt: skip


def mutate(data: bytes, seeds: Sequence[bytes], dictionary: Sequence[bytes], rng: random.Random) -> bytes:
    """One to several random edits of `data`; pieces of other seeds and of the dictionary are mixed in."""
    out = bytearray(data)
    for _ in range(1 << rng.randrange(5)):
        at = rng.randint(0, len(out))
        end = min(len(out), at + (1 << rng.randrange(9)))
        match rng.randrange(9):
            case 0:  # one bit
                if out:
                    out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
            case 1:  # one octet
                if out:
                    out[rng.randrange(len(out))] = rng.randrange(256)
            case 2:
                del out[at:end]
            case 3:  # a piece again, maybe many times
                piece = out[at:end] * (1 << rng.randrange(5))
                out[at:at] = piece
            case 4 | 5:
                out[at:at] = rng.choice(dictionary)
            case 6:
                out[at:end] = rng.choice(dictionary)
            case 7:  # a piece of another seed
                other = rng.choice(seeds)
                begin = rng.randint(0, len(other))
                out[at:at] = other[begin : begin + (1 << rng.randrange(10))]
            case _:  # a line moves
                start = out.rfind(b"\n", 0, at) + 1
                stop = out.find(b"\n", at) + 1 or len(out)
                line = out[start:stop]
                del out[start:stop]
                to = out.rfind(b"\n", 0, rng.randint(0, len(out))) + 1
                out[to:to] = line
        if len(out) > MAX_INPUT:
            del out[MAX_INPUT:]
    return bytes(out)


def mutate_lines(
    data: bytes, head: int, spoken: Sequence[bytes], edited: Callable[[bytes, random.Random], bytes], rng: random.Random
) -> bytes:
    """Edits of whole lines, for a conversation: those of `spoken` come in, others go, come again or are `edited`.

    The first `head` octets say how it is played, and change now and then.
    """
    how = bytearray(data[:head].ljust(head, b"\0"))
    for at in range(head):
        if rng.randrange(3) == 0:
            how[at] = rng.randrange(256)
    lines = data[head:].splitlines(keepends=True)
    for _ in range(1 << rng.randrange(4)):
        at = rng.randint(0, len(lines))
        match rng.randrange(6):
            case 0 | 1 | 2:
                lines.insert(at, rng.choice(spoken))
            case 3:
                del lines[at : at + 1]
            case 4:
                lines[at:at] = lines[at : at + 2] * rng.choice((1, 1, 8))
            case _ if at < len(lines):
                lines[at] = edited(lines[at], rng)
    return bytes(how) + b"".join(lines)[:MAX_INPUT]


def fails(run: Run, data: bytes) -> BaseException | None:
    """What `run` raised on `data`, or None."""
    try:
        run(data)
    except Exception as error:  # any exception breaks "never raises", an AssertionError breaks an invariant
        return error
    return None


def shrink(run: Run, data: bytes, kind: type[BaseException], seconds: float = SHRINK_SECONDS) -> bytes:
    """A smaller input that fails with the same kind of exception: pieces are cut out, halving their size."""
    deadline = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while time.monotonic() < deadline:
        at, progress = 0, False
        while at < len(data) and time.monotonic() < deadline:
            shorter = data[:at] + data[at + size :]
            if isinstance(fails(run, shorter), kind):
                data, progress = shorter, True
            else:
                at += size
        if size == 1 and not progress:
            break
        if not progress:
            size //= 2
    return data


def drive(
    run: Run,
    seeds: Sequence[bytes],
    seconds: float,
    seed: int | None = None,
    *,
    dictionary: Sequence[bytes] = (),
    name: str = "fuzz",
    mutate: Mutate = mutate,
) -> int:
    """Run mutations of `seeds` for `seconds`; print executions per second. 1 after a failure (saved, shrunk), else 0.

    `seed` makes the order of inputs repeatable. Every seed itself is run first. A target that knows the structure of
    its inputs gives a `mutate` of its own.
    """
    seed = random.randrange(1 << 32) if seed is None else seed
    rng = random.Random(seed)
    words = (*INTERESTING, *dictionary)
    corpus = list(seeds) or [b""]
    began = time.monotonic()
    executions = 0
    while True:
        if executions < len(corpus):
            data = corpus[executions]
        elif rng.randrange(50) == 0:
            data = rng.randbytes(rng.randrange(400))
        else:
            data = mutate(rng.choice(corpus), corpus, words, rng)
        error = fails(run, data)
        executions += 1
        if error is not None:
            return _report(run, data, error, seed, executions, name)
        elapsed = time.monotonic() - began
        if elapsed >= seconds and executions >= len(corpus):
            break
    print(f"{name}: {executions} executions in {elapsed:.1f} s, {executions / elapsed:.0f}/s, seed {seed}, no failure")
    return 0


def _report(run: Run, data: bytes, error: BaseException, seed: int, executions: int, name: str) -> int:
    FAILURES.mkdir(exist_ok=True)
    path = FAILURES / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)  # saved before shrinking, which may be interrupted
    small = shrink(run, data, type(error))
    path.write_bytes(small)
    final = fails(run, small) or error
    traceback.print_exception(final)
    print(
        f"{name}: FAILED after {executions} executions, seed {seed}; {len(data)} octets shrunk to {len(small)}: {path}"
    )
    print(repr(small[:400]))
    return 1


def main(
    run: Run,
    seeds: Sequence[bytes],
    dictionary: Sequence[bytes] = (),
    argv: Sequence[str] | None = None,
    *,
    mutate: Mutate = mutate,
) -> int:
    """The command line of every target: `--seconds N --seed N`, or `--replay FILE`."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args(argv)
    if options.replay is not None:
        run(options.replay.read_bytes())
        print(f"{name}: {options.replay} passes")
        return 0
    return drive(run, seeds, options.seconds, options.seed, dictionary=dictionary, name=name, mutate=mutate)
