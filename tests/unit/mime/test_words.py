"""Texts as words: folding, scripts without spaces, and that a piece of a text is found in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.mime.words import folded, holds, sought


@pytest.mark.parametrize(
    ("text", "needle", "there"),
    [
        ("How about lunch?", "LUNCH", True),
        ("How about lunch?", "about lun", True),
        ("How about lunch?", "unch", False),
        ("How about lunch?", "how lunch", False),
        ("bob@example.org", "bob@example", True),
        ("Meet at the CAFÉ", "cafe", True),
        ("Cafe", "café", True),
        ("Straße", "STRASSE", True),
        ("Ёлка и йод", "елка", True),
        ("Αθήνα", "ΑΘΗΝΑ", True),
        ("東京都に行く", "京都", True),
        ("東京都に行く", "東京都に", True),
        ("東京都に行く", "く", True),
        ("東京都に行く", "京東", False),
        ("東京 Tokyo 都", "京 tokyo 都", True),
        ("東京Tokyo", "京tokyo", True),
        ("나는 학교에 갔다", "학교", True),
        ("ภาษาไทย", "ไทย", True),
        ("हिन्दी भाषा", "हिन्दी", True),
        ("हिन्दी भाषा", "हन्द", False),
        ("مُحَمَّد", "محمد", True),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width", True),
        ("x" * 100, "x" * 80, True),
    ],
)
def test_holds(text, needle, there):
    assert holds(folded(text), sought(needle)) is there


def test_a_text_without_words():
    assert sought("!? -") == ""
    assert folded("") == ""


@given(st.text(), st.text(), st.text())
def test_words_are_found_where_they_stand(before, words, after):
    if sought(words):
        assert holds(folded(f"{before} {words} {after}"), sought(words))


@given(st.text())
def test_only_ascii_separates_words(text):
    # The index cuts at ASCII that is no letter or digit, and nowhere else.
    assert all(word.isalnum() or not word.isascii() for word in folded(text).split(" ") if word)
    assert all(c.isalnum() or c == " " for c in folded(text) if c.isascii())
