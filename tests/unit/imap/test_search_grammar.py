"""Any octets after SEARCH and its kin are a command or a clear refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.imap import multisearch_grammar, search_grammar, sort_grammar
from pillarbox.imap.syntax import BadSyntax, Cursor, Refused

WORDS = st.sampled_from(
    b"RETURN|(|)| |(PARTIAL|1:5|-1:-5|UPDATE|ALL|RELEVANCY)|CHARSET|UTF-8|KOI8-R|UTF-16|FUZZY|NOT|OR|BODY|TEXT".split(
        b"|"
    )
    + b'TEXT|SUBJECT|"x y"|{2}\r\nab|\xff|OLDER|7|0|YOUNGER|UID|$|1:*|IN|(subtree|(a|mailboxes|personal)'.split(b"|")
    + [b"(REVERSE", b"DATE)", b"REFERENCES"]
)
TEXT = st.one_of(st.lists(WORDS, max_size=14).map(b" ".join), st.lists(WORDS, max_size=14).map(b"".join), st.binary())


@pytest.mark.parametrize(
    "parse",
    [
        search_grammar.search,
        sort_grammar.sort,
        sort_grammar.thread,
        multisearch_grammar.esearch,
        multisearch_grammar.uid_batches,
        multisearch_grammar.cancel_update,
    ],
)
@given(text=TEXT)
def test_a_command_or_a_refusal(parse, text):
    cursor = Cursor(text)
    try:
        made = parse(cursor)
    except (BadSyntax, Refused) as error:
        assert str(error)
    else:
        assert made is not None
        assert cursor.at <= len(text)


def test_ten_thousand_parentheses():
    with pytest.raises(BadSyntax, match="nest deeper"):
        search_grammar.search(Cursor(b"(" * 10_000))
    with pytest.raises(BadSyntax, match="nest deeper"):
        search_grammar.search(Cursor(b"FUZZY " * 10_000))
