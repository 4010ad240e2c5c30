"""What holds for every setting: a wrong value anywhere is named with its place, range and a way out, all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from examples import examples
from pillarbox.config import Loaded, Problem, load
from pillarbox.config.setting import Setting
from pillarbox.config.table import BY_NAME, SETTINGS

RANGE = re.compile(r"a whole number between (-?\d+) and (\d+)")
PLACES = ("command line", "environment", "config.env", "config.toml")
WORDS = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzäß .-/"), min_size=1).filter(lambda text: bool(text.strip()))


def wrong_values(setting: Setting) -> st.SearchStrategy[str] | None:
    """Values that the setting must refuse; None where any text is a value (names of files, names)."""
    if found := RANGE.search(setting.kind.allowed):
        low, high = int(found[1]), int(found[2])
        return st.one_of(
            st.integers(max_value=low - 1).map(str),
            st.integers(min_value=high + 1).map(str),
            st.floats(allow_nan=True).map(str),
            WORDS.filter(lambda text: text.strip() != "off"),
        )
    match setting.kind.name:
        case "boolean":
            return WORDS.filter(lambda text: text.strip().lower() not in {"true", "yes", "on", "false", "no", "off"})
        case "choice":
            good = set(re.findall(r"[\w.]+", setting.kind.allowed))
            return WORDS.filter(lambda text: text.strip().lower() not in good)
        case "IP address":
            return WORDS.filter(lambda text: text.strip() != "localhost")
        case "domains":
            return WORDS.map(lambda text: f"a..{text}b")
        case "networks" | "servers" | "duration" | "durations" | "percentages":
            return WORDS
        case "URL":
            return WORDS.map(lambda text: f"gopher://{text}")
        case "host name":
            return WORDS.map(lambda text: f"mail {text}")
    return None


def strict_values(setting: Setting) -> st.SearchStrategy[str]:
    strategy = wrong_values(setting)
    assert strategy is not None
    return strategy


STRICT = [setting for setting in SETTINGS if wrong_values(setting) is not None]


def test_only_names_of_files_and_people_take_any_text() -> None:
    free = {setting.kind.name for setting in SETTINGS if setting not in STRICT}
    assert free == {"path", "text"}


class Sources:
    """One value in one of the four places, in files behind some other lines."""

    def __init__(self, folder: Path) -> None:
        self.env, self.toml = folder / "config.env", folder / "config.toml"

    def load(self, wrong: list[tuple[Setting, str, str]]) -> tuple[Loaded, dict[str, tuple[str, int | None]]]:
        """What comes of it, and where each name stands."""
        overrides: dict[str, str] = {}
        environ: dict[str, str] = {}
        env, toml = ["# a comment", ""], ["# a comment"]
        where: dict[str, tuple[str, int | None]] = {}
        for setting, value, place in wrong:
            match place:
                case "command line":
                    overrides[setting.name] = value
                    where[setting.name] = (place, None)
                case "environment":
                    environ[setting.name] = value
                    where[setting.name] = (place, None)
                case "config.env":
                    env.append(f"{setting.name}='{value}'")
                    where[setting.name] = (str(self.env), len(env))
                case _:
                    if "." in setting.toml:
                        toml.append(f"[{setting.toml.partition('.')[0]}]")
                    toml.append(f"{setting.toml.rpartition('.')[2]} = '{value}'")
                    where[setting.name] = (str(self.toml), len(toml))
        self.env.write_text("\n".join(env) + "\n")
        self.toml.write_text("\n".join(toml) + "\n")
        return load(overrides, environ, config_env=str(self.env), config_toml=str(self.toml)), where


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources(tmp_path_factory.mktemp("settings"))


def check(setting: Setting, value: str, problem: Problem, where: tuple[str, int | None]) -> None:
    assert (problem.source, problem.line) == where
    assert problem.kind == setting.error
    assert problem.allowed == setting.kind.allowed
    assert problem.value == ("***" if setting.secret else value)
    assert problem.fix
    said = str(problem)
    assert "\n" not in said
    assert said.startswith(f"{setting.name} must be ")
    assert (f"line {where[1]}" in said) == (where[1] is not None)


@pytest.mark.parametrize("setting", STRICT, ids=lambda setting: setting.name)
@few(max_examples=examples(12))
@given(st.data())
def test_a_wrong_value_is_named_with_place_range_and_fix(
    sources: Sources, setting: Setting, data: st.DataObject
) -> None:
    value, place = data.draw(strict_values(setting)), data.draw(st.sampled_from(PLACES))
    loaded, where = sources.load([(setting, value, place)])
    (problem,) = loaded.errors
    check(setting, value, problem, where[setting.name])


@given(st.data())
def test_all_of_them_at_once(sources: Sources, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(STRICT), unique_by=lambda setting: setting.name, min_size=2))
    # A TOML table stands in one piece, so at most one setting of a section goes there.
    in_toml: set[str] = set()
    wrong = []
    for setting in sorted(chosen, key=lambda setting: "." in setting.toml):
        section = setting.toml.partition(".")[0]
        places = PLACES if section not in in_toml else PLACES[:3]
        place = data.draw(st.sampled_from(places))
        if place == PLACES[3]:
            in_toml.add(section)
        wrong.append((setting, data.draw(strict_values(setting)), place))
    loaded, where = sources.load(wrong)
    assert sorted(problem.name for problem in loaded.errors) == sorted(where)
    values = {setting.name: value for setting, value, _ in wrong}
    for problem in loaded.errors:
        check(BY_NAME[problem.name], values[problem.name], problem, where[problem.name])


@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)), st.text().filter(lambda text: "\0" not in text), max_size=20))
def test_any_values_load_or_are_problems(environ: dict[str, str]) -> None:
    loaded = load({}, environ, config_env=None, config_toml=None)
    assert (loaded.given is None) == bool(loaded.errors)
    assert all(problem.name in BY_NAME or problem.kind == "InvalidConfigFile" for problem in loaded.errors)


def test_errors_of_files_and_between_settings_come_together_with_those_of_single_values(sources: Sources) -> None:
    environ = {
        "SMTP_PORT": "x",
        "SMTP_TLS_CERT": "/nowhere/a.pem",
        "SMTP_TLS_KEY": "/nowhere/a.key",
        "SMTP_IMAP_PORT": "2143",
        "SMTP_IMAPS_PORT": "2143",
        "SMTP_ENABLE_TLS": "true",
        "SMTP_WEBHOOK_ENABLED": "true",
    }
    loaded = load({}, environ, config_env=None, config_toml=None)
    names = [problem.name for problem in loaded.errors]
    assert names == ["SMTP_PORT", "SMTP_IMAPS_PORT", "SMTP_TLS_CERT", "SMTP_TLS_KEY", "SMTP_WEBHOOK_URL"]


@pytest.mark.parametrize(
    "environ",
    [
        {"SMTP_ENABLE_TLS": "perhaps", "SMTP_IMAPS_PORT": "2993"},
        {"SMTP_PROFILE": "prodction", "SMTP_IMAPS_PORT": "2993"},
        {"SMTP_PORT": "2s25", "SMTP_IMAP_PORT": "2525"},
        {"SMTP_ENABLE_AUTH": "ja", "SMTP_REQUIRE_AUTH": "true"},
        {"SMTP_WEBHOOK_URL": "ftp://x", "SMTP_WEBHOOK_ENABLED": "true"},
    ],
)
def test_nothing_is_concluded_from_a_value_that_was_refused(environ: dict[str, str]) -> None:
    (problem,) = load({}, environ, config_env=None, config_toml=None).errors
    assert problem.name == next(iter(environ))


def test_nothing_is_concluded_from_what_an_unreadable_file_may_have_said(sources: Sources) -> None:
    sources.env.write_text("SMTP_ENABLE_TLS=true\nnonsense\n")
    environ = {"SMTP_IMAPS_PORT": "2993"}
    (problem,) = load({}, environ, config_env=str(sources.env), config_toml=None).errors
    assert (problem.kind, problem.line) == ("InvalidConfigFile", 2)


def test_what_systemd_read_from_the_file_is_said_once_with_its_line(sources: Sources) -> None:
    sources.env.write_text("SMTP_PORT=2525\nSMTP_MAX_RECIPIENTS=0\nSMTP_MAX_CONECTIONS=7\n")
    environ = {"SMTP_PORT": "2526", "SMTP_MAX_RECIPIENTS": "0", "SMTP_MAX_CONECTIONS": "7"}
    loaded = load({}, environ, config_env=str(sources.env), config_toml=None)
    (problem,) = loaded.errors
    assert (problem.name, problem.source, problem.line) == ("SMTP_MAX_RECIPIENTS", str(sources.env), 2)
    (warning,) = loaded.warnings
    assert warning.startswith(f"SMTP_MAX_CONECTIONS ({sources.env} line 3)")
    del environ["SMTP_MAX_RECIPIENTS"]
    sources.env.write_text("SMTP_PORT=2525\n")
    assert load({}, environ, config_env=str(sources.env), config_toml=None).settings.port == 2526


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SMTP_MAX_CONECTIONS", "SMTP_MAX_CONNECTIONS"),
        ("SMTP_RATE_LIMIT_IP", "SMTP_RATE_LIMIT_PER_IP"),
        ("SMTP_REQUIRETLS", "SMTP_REQUIRE_TLS"),
        ("SMTP_HOST_NAME", "SMTP_HOSTNAME"),
        ("SMTP_XYZZY", None),
    ],
)
def test_the_nearest_name_is_near(name: str, hint: str | None) -> None:
    (warning,) = load({}, {name: "1"}, config_env=None, config_toml=None).warnings
    assert warning.endswith(f"did you mean {hint}?" if hint else "is no setting and is ignored")
