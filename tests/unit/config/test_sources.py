"""Files of settings: systemd's EnvironmentFile syntax and TOML with line numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.config.sources import FileError, parse_environment, read_toml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("A=", ""),
        ("A=b c  ", "b c"),
        ("  A = b", "b"),
        ("A='b \\n \"c\" '", 'b \\n "c" '),
        ('A="b \\" \\$ \\n"', 'b " $ \\n'),
        ("A=\"b\"'c'", "bc"),
        ("A=it's", "it's"),
        ("A=b\\\nc", "bc"),
        ('A="b\nc"', "b\nc"),
        ('A="b\\\nc"', "bc"),
        ("A=b # no comment", "b # no comment"),
        ("A=b\r\n", "b"),
        ("A=b\\ c", "b c"),
        ("A=x=y", "x=y"),
    ],
)
def test_values_as_systemd_reads_them(text: str, value: str) -> None:
    assert list(parse_environment(text, "f")) == [("A", value, 1)]


def test_comments_blank_lines_and_line_numbers() -> None:
    text = "# one\n; two\n\nA=1\\\n2\nB='x\ny'\n  # c\nC=3"
    assert list(parse_environment(text, "f")) == [("A", "12", 4), ("B", "x\ny", 6), ("C", "3", 9)]


@pytest.mark.parametrize(
    ("text", "line", "wrong"),
    [
        ("A=1\nnonsense\n", 2, "NAME=VALUE"),
        ("export A=1", 1, "shell"),
        ("1A=1", 1, "NAME=VALUE"),
        ("A=1\nB='x\n\n", 2, "never closed"),
    ],
)
def test_what_systemd_would_skip_in_silence_is_an_error(text: str, line: int, wrong: str) -> None:
    with pytest.raises(FileError, match=wrong) as caught:
        list(parse_environment(text, "f"))
    assert caught.value.line == line


@given(st.text(alphabet=st.sampled_from("A=b'\"\\ \t\n\r#;$_1"), max_size=40))
def test_any_text_is_read_or_is_a_file_error(text: str) -> None:
    try:
        names = [name for name, _, line in parse_environment(text, "f") if line <= text.count("\n") + 1]
    except FileError:
        return
    assert all(name.isidentifier() for name in names)


@given(st.text(st.characters(exclude_characters="'\0", codec="utf-8"), max_size=40))
def test_single_quotes_keep_everything(value: str) -> None:
    assert next(iter(parse_environment(f"A='{value}'\nB=1", "f")))[:2] == ("A", value)


def test_toml_names_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('profile = "dev"\n\n[server]\n# port = 1\nport = 2\n[ tls ]\n"enabled" = true\n')
    assert [(given.name, given.raw, given.line) for given in read_toml(str(path))] == [
        ("profile", "dev", 1),
        ("server.port", 2, 5),
        ("tls.enabled", True, 7),
    ]
