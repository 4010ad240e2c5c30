"""Every conversation in `pop3_*.txt` goes as it is written, also when the octets come in small pieces."""

from pathlib import Path

import pytest

from dialogues.player import conversations
from dialogues.pop3_player import play

WRITTEN = [
    pytest.param(lines, id=f"{path.stem}: {title}")
    for path in sorted(Path(__file__).parent.glob("pop3_*.txt"))
    for title, lines in conversations(path)
]


@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize("lines", WRITTEN)
def test_conversation(lines, split):
    play(lines, split=split)
