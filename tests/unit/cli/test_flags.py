"""The small command line parser."""

from __future__ import annotations

import pytest

from pillarbox.cli.flags import Flag, UsageError, describe, parse

FLAGS = (
    Flag(("-p", "--port"), "a port", "PORT"),
    Flag(("--host",), "a host", "NAME"),
    Flag(("--json",), "JSON"),
    Flag(("--set",), "a setting", "NAME=VALUE", repeated=True),
)


def test_flags_words_and_values() -> None:
    parsed = parse(["one", "-p", "25", "two", "--json", "--set", "a=b=c", "--set=d=", "--", "--json", "-x"], FLAGS)
    assert parsed.words == ["one", "two", "--json", "-x"]
    assert parsed.value("--port") == "25"
    assert parsed.has("--json")
    assert parsed.options["--set"] == ["a=b=c", "d="]
    assert parse(["--port=25"], FLAGS).value("--port") == "25"
    assert parse(["-"], FLAGS).words == ["-"]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--prot"], "Unknown argument: --prot (did you mean --port?)"),
        (["--bogus"], "Unknown argument: --bogus"),
        (["-q"], "Unknown argument: -q"),
        (["--port"], "Error: --port requires a value"),
        (["--json=yes"], "Error: --json takes no value"),
        (["--port", "1", "-p", "2"], "Error: -p is given twice"),
    ],
)
def test_wrong_usage(argv: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv, FLAGS)
    assert str(caught.value) == text


def test_the_help_has_every_spelling() -> None:
    text = describe(FLAGS)
    assert "  -p, --port PORT   a port" in text
    assert "--set NAME=VALUE" in text
