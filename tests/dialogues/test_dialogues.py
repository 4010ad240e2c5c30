"""Every conversation in the texts of this folder goes as it is written, also when the octets come in small pieces."""

from pathlib import Path

import pytest

from dialogues import imap_player, pop3_player, smtp_player
from dialogues.player import conversations

PLAYERS = {"smtp": smtp_player.play, "imap": imap_player.play, "pop3": pop3_player.play}
WRITTEN = [
    pytest.param(PLAYERS[path.stem.partition("_")[0]], lines, id=f"{path.stem}: {title}")
    for path in sorted(Path(__file__).parent.glob("*.txt"))
    for title, lines in conversations(path)
]


@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize(("play", "lines"), WRITTEN)
def test_conversation(play, lines, split):
    play(lines, split=split)


@pytest.mark.parametrize(
    ("protocol", "lines", "noticed"),
    [
        ("smtp", ["S: 220 mx.example.com ESMTP Service Ready", "C: HELO c"], "250 mx"),
        ("smtp", ["S: 220 mx.example.com ESMTP Service Ready", "S: 250 OK"], "said no more"),
        ("imap", ["C: a NOOP", "S: a OK later"], "a OK later"),
        ("imap", ["C: a NOOP"], "also said"),
    ],
)
def test_a_conversation_that_goes_otherwise_is_noticed(protocol, lines, noticed):
    with pytest.raises(AssertionError, match=noticed):
        PLAYERS[protocol](lines)
