"""Our own messages in tests/data/mime: what is computed of each is what is written beside it."""

from __future__ import annotations

from pathlib import Path

import fuzz_mime
import mime_golden
import pytest

from pillarbox.mime.analysis import Scanner, analyse

MESSAGES = mime_golden.messages()


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 50


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_a_message_is_described_as_expected(path: Path) -> None:
    assert mime_golden.describe(path.read_bytes()) == mime_golden.expectation(path).read_bytes().decode()


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_a_message_keeps_the_invariants(path: Path) -> None:
    fuzz_mime.run(path.read_bytes())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_pieces_of_any_size_make_the_same_analysis(size: int) -> None:
    for path in MESSAGES:
        data = path.read_bytes()
        scanner = Scanner()
        for at in range(0, len(data), size):
            scanner.feed(data[at : at + size])
        assert scanner.finish() == analyse(data), path.stem
