"""Every conversation in `smtp_*.txt` goes as it is written, also when the octets come in small pieces."""

from pathlib import Path

import pytest

from dialogues.player import conversations
from dialogues.smtp_player import play

WRITTEN = [
    pytest.param(lines, id=f"{path.stem}: {title}")
    for path in sorted(Path(__file__).parent.glob("smtp_*.txt"))
    for title, lines in conversations(path)
]


@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize("lines", WRITTEN)
def test_conversation(lines, split):
    play(lines, split=split)


def test_a_conversation_that_goes_otherwise_is_noticed():
    with pytest.raises(AssertionError, match="250 mx"):
        play(["S: 220 mx.example.com ESMTP Service Ready", "C: HELO c"])
    with pytest.raises(AssertionError, match="said no more"):
        play(["S: 220 mx.example.com ESMTP Service Ready", "S: 250 OK"])
