"""Every conversation in `imap_*.txt` goes as it is written, also when the octets come in small pieces."""

from pathlib import Path

import pytest

from dialogues.imap_player import play
from dialogues.player import conversations

WRITTEN = [
    pytest.param(lines, id=f"{path.stem}: {title}")
    for path in sorted(Path(__file__).parent.glob("imap_*.txt"))
    for title, lines in conversations(path)
]


@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize("lines", WRITTEN)
def test_conversation(lines, split):
    play(lines, split=split)


def test_a_conversation_that_goes_otherwise_is_noticed():
    with pytest.raises(AssertionError, match="a OK later"):
        play(["C: a NOOP", "S: a OK later"])
    with pytest.raises(AssertionError, match="also said"):
        play(["C: a NOOP"])
