"""Hashes, SCRAM keys and the gate. Real argon2 runs a few times only: it is slow on purpose."""

import asyncio
import os
import threading
from base64 import b64decode

import pytest
from argon2 import PasswordHasher, Type
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.access.passwords import (
    PLACEHOLDER,
    HashGate,
    TemporarilyUnavailable,
    hash_password,
    needs_rehash,
    saslprep,
    scram_keys,
    verify,
)

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_a_password_is_stored_in_both_forms_and_verified():
    stored, scram = hash_password("correct horse")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert scram.startswith("SCRAM-SHA-256$4096:")
    assert verify(stored, "correct horse")
    assert not verify(stored, "correct hors")
    assert not needs_rehash(stored)


def test_the_placeholder_is_a_hash_like_any_other_and_matches_nothing_likely():
    assert not needs_rehash(PLACEHOLDER)
    assert not verify(PLACEHOLDER, "password")


def test_other_parameters_are_verified_and_to_be_renewed():
    stored = CHEAP.hash("pässword")
    assert verify(stored, "pässword")
    assert verify(stored, "pa\u0308ssword")  # the same text, composed differently
    assert needs_rehash(stored)


@pytest.mark.parametrize("kind", list(Type))
@pytest.mark.parametrize(("lanes", "passes", "memory"), [(1, 1, 8), (1, 2, 64), (2, 3, 32), (4, 1, 1024)])
@pytest.mark.parametrize(("salt", "size"), [(8, 16), (16, 32), (64, 64)])
def test_every_form_of_argon2_is_verified(kind, lanes, passes, memory, salt, size):
    """Those that libsodium takes (argon2id, up to 127 octets) and those that it does not."""
    stored = PasswordHasher(passes, memory, lanes, size, salt, type=kind).hash("a password")
    assert verify(stored, "a password")
    assert not verify(stored, "a passwore")
    assert not verify(stored[:-1] + ("A" if stored[-1] != "A" else "Q"), "a password")
    assert not verify(stored.replace("t=", "t=1"), "a password")


@pytest.mark.parametrize(
    "stored", ["", "!", "plain", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=8,t=1,p=1$!$!", "$argon2id$v=19$é"]
)
def test_what_is_no_argon2_hash_matches_nothing(stored):
    assert not verify(stored, stored or "x")
    assert needs_rehash(stored)


def test_an_endless_password_is_not_hashed_but_costs_the_same():
    assert not verify(CHEAP.hash("x" * 2000), "x" * 2000)


def test_scram_keys_are_those_of_rfc_7677():
    keys = scram_keys("pencil", salt=b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert keys == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@pytest.mark.parametrize(
    ("given_", "prepared"), [("I\u00adX", "IX"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")]
)
def test_saslprep_examples_of_rfc_4013(given_, prepared):
    assert saslprep(given_) == prepared


@given(st.text(max_size=40))
def test_saslprep_never_raises_and_is_stable_for_ascii(text):
    prepared = saslprep(text)
    assert prepared == text or not text.isascii()


async def test_no_more_than_two_hashes_run_at_once():
    gate, running, most, lock = HashGate(queue_each=10), 0, 0, threading.Lock()
    barrier = threading.Barrier(2, timeout=5)

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait()  # two must be inside together, or this breaks
        with lock:
            running -= 1

    await asyncio.gather(*(gate.run(work) for _ in range(4)))
    assert most == 2


async def test_a_place_taken_by_another_process_is_respected_and_freed_by_its_death():
    gate = HashGate(patience=0.05)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            gate._take_place(), gate._take_place()
            os.write(writer, b"x")
            threading.Event().wait(20)
        finally:
            os._exit(0)
    try:
        assert os.read(reader, 1) == b"x"
        with pytest.raises(TemporarilyUnavailable):
            await gate.run(lambda: 1)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert await gate.run(lambda: 2) == 2


async def test_waiting_is_bounded_for_all_and_for_each_peer():
    gate, go = HashGate(queue=3, queue_each=2), threading.Event()
    waiting = [asyncio.ensure_future(gate.run(go.wait, peer)) for peer in ("a", "a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(TemporarilyUnavailable):
        await gate.run(lambda: None, "c")
    go.set()
    assert await asyncio.gather(*waiting) == [True, True, True]
    go.clear()
    waiting = [asyncio.ensure_future(gate.run(go.wait, "a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TemporarilyUnavailable):
        await gate.run(lambda: None, "a")
    go.set()
    await asyncio.gather(*waiting)
    assert await gate.run(lambda: 3, "a") == 3
