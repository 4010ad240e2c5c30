"""Loading: precedence, all errors at once with their place and fix, warnings, strict values."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pillarbox.config import Loaded, Settings, load

Load = Callable[..., Loaded]


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., dict[str, str]]:
    def write(env: str | None = None, toml: str | None = None) -> dict[str, str]:
        for name, text in (("config.env", env), ("config.toml", toml)):
            if text is not None:
                (tmp_path / name).write_text(text)
        return {"config_env": str(tmp_path / "config.env"), "config_toml": str(tmp_path / "config.toml")}

    return write


def alone(environ: dict[str, str] | None = None, overrides: dict[str, str] | None = None) -> Loaded:
    """Without any file."""
    return load(overrides, environ or {}, config_env=None, config_toml=None)


def test_nothing_given_is_the_development_profile() -> None:
    settings = alone().settings
    assert (settings.profile, settings.port, settings.max_connections) == ("development", 2525, 100)
    assert (settings.api_port, settings.health_port) == (8080, 8081)
    assert settings.db_path == Path("smtp.db")
    assert settings.source("SMTP_PORT") == "profile"


@pytest.mark.parametrize(
    ("word", "profile", "port", "connections", "tls"),
    [
        ("dev", "development", 2525, 100, False),
        ("TEST", "testing", 0, 10, False),
        ("stage", "staging", 25, 500, True),
        ("Production", "production", 25, 2000, True),
    ],
)
def test_profiles_and_their_short_names(word: str, profile: str, port: int, connections: int, tls: bool) -> None:
    settings = alone({"SMTP_PROFILE": word}).settings
    assert (settings.profile, settings.port, settings.max_connections) == (profile, port, connections)
    assert (settings.enable_tls, settings.require_tls) == (tls, tls)
    assert (settings.api_port, settings.health_port) == (8080, 8081)


def test_production_alone_is_valid_and_says_what_it_makes_up() -> None:
    loaded = alone({"SMTP_PROFILE": "production"})
    assert not loaded.errors
    assert any("certificate of its own" in warning for warning in loaded.warnings)


def test_a_bad_profile_names_the_good_ones() -> None:
    (problem,) = alone({"SMTP_PROFILE": "produktion"}).errors
    assert problem.kind == "InvalidProfile"
    for word in ("development", "testing", "staging", "production", "dev", "test", "stage", "prod"):
        assert word in problem.allowed
    assert "did you mean `production`?" in problem.fix


def test_precedence(files: Callable[..., dict[str, str]]) -> None:
    names = ["SMTP_MAX_RECIPIENTS", "SMTP_MAX_MESSAGE_SIZE", "SMTP_MAX_CONNECTIONS", "SMTP_HOSTNAME"]
    numbers = "max_recipients = 4\nmax_message_size = 4000\nmax_connections = 4\nport = 4\n"
    where = files(
        env="\n".join(f"{name}={value}" for name, value in zip(names, ("3", "3000", "3", "env.example"), strict=True)),
        toml=f"[server]\n{numbers}hostname = 'toml'\n",
    )
    loaded = load({names[0]: "1"}, {names[0]: "2", names[1]: "2000"}, **where)
    settings = loaded.settings
    assert settings.max_recipients == 1
    assert settings.max_message_size == 2000
    assert settings.max_connections == 3
    assert settings.hostname == "env.example"
    assert settings.port == 4
    assert [settings.source(name) for name in names[:3]] == ["command line", "environment", where["config_env"]]
    assert settings.source("SMTP_PORT") == where["config_toml"]


def test_the_profile_may_come_from_any_source(files: Callable[..., dict[str, str]]) -> None:
    assert load({}, {}, **files(env="SMTP_PROFILE=prod\n")).settings.max_connections == 2000
    assert load({}, {}, **files(env="", toml='profile = "stage"\n')).settings.max_connections == 500


def test_every_error_at_once_with_source_line_value_range_and_fix(files: Callable[..., dict[str, str]]) -> None:
    where = files(
        env="# comment\n\nSMTP_MAX_RECIPIENTS=0\nSMTP_ENABLE_TLS=tru\n",
        toml='[timeouts]\n# why\ndata = "soon"\n[tls]\nenabled = 7\n',
    )
    loaded = load({"SMTP_HOST": "example"}, {"SMTP_PORT": "65536"}, **where)
    said = {(problem.name, problem.source, problem.line, problem.value) for problem in loaded.errors}
    assert said == {
        ("SMTP_HOST", "command line", None, "example"),
        ("SMTP_PORT", "environment", None, "65536"),
        ("SMTP_MAX_RECIPIENTS", where["config_env"], 3, "0"),
        ("SMTP_ENABLE_TLS", where["config_env"], 4, "tru"),
        ("SMTP_DATA_TIMEOUT_SECONDS", where["config_toml"], 3, "soon"),
        ("SMTP_ENABLE_TLS", where["config_toml"], 5, "7"),
    }
    assert all(problem.fix for problem in loaded.errors)
    recipients = next(problem for problem in loaded.errors if problem.name == "SMTP_MAX_RECIPIENTS")
    assert str(recipients) == (
        f"SMTP_MAX_RECIPIENTS must be a whole number between 1 and 10000, got '0' ({where['config_env']} line 3)"
        ". Fix: use an allowed value, such as SMTP_MAX_RECIPIENTS=100"
    )
    with pytest.raises(ValueError, match="no settings"):
        _ = loaded.settings


@pytest.mark.parametrize("text", ["", "ten", "1.5", "0x10", "1_000", "١٢", "9" * 5000, "12 34"])
def test_what_is_no_whole_number_is_an_error(text: str) -> None:
    (problem,) = alone({"SMTP_MAX_CONNECTIONS": text}).errors
    assert problem.kind == "InvalidMaxConnections"


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("1", True), ("yes", True), (" on ", True)])
def test_true_has_four_spellings(text: str, value: bool) -> None:
    assert alone({"SMTP_ENABLE_TLS": text}).settings.enable_tls is value


@pytest.mark.parametrize("text", ["false", "0", "No", "off"])
def test_false_has_four_spellings(text: str) -> None:
    assert alone({"SMTP_PROFILE": "production", "SMTP_ENABLE_TLS": text}).settings.enable_tls is False


@pytest.mark.parametrize("text", ["tru", "", "2", "enabled"])
def test_other_booleans_are_errors(text: str) -> None:
    (problem,) = alone({"SMTP_TRUST_LOOPBACK": text}).errors
    assert problem.name == "SMTP_TRUST_LOOPBACK"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("SMTP_PORT", 0, 65535),
        ("SMTP_MAX_CONNECTIONS", 1, 100_000),
        ("SMTP_TIMEOUT_SECONDS", 1, 3600),
        ("SMTP_DATA_TIMEOUT_SECONDS", 1, 3600),
        ("SMTP_COMMAND_TIMEOUT_SECONDS", 1, 3600),
        ("SMTP_GREETING_TIMEOUT_SECONDS", 1, 3600),
        ("SMTP_MAX_MESSAGE_SIZE", 1024, 104_857_600),
        ("SMTP_MAX_RECIPIENTS", 1, 10_000),
        ("SMTP_RATE_LIMIT_PER_IP", 1, 1_000_000),
        ("SMTP_RATE_LIMIT_PER_USER", 1, 1_000_000),
        ("SMTP_RATE_LIMIT_CLEANUP_INTERVAL", 60, 86_400),
    ],
)
def test_ranges_of_the_contract(name: str, low: int, high: int) -> None:
    assert not alone({name: str(low)}).errors
    assert not alone({name: str(high)}).errors
    assert alone({name: str(low - 1)}).errors
    assert alone({name: str(high + 1)}).errors


def test_unknown_names_warn_with_the_nearest_and_other_names_do_not(files: Callable[..., dict[str, str]]) -> None:
    where = files(env="LANG=C\nSMTP_HOSTNAM=x\n", toml="[server]\nprot = 1\nbogus = 1\n[zoo]\nyak = 1\n")
    loaded = load({}, {"SMTP_MAX_CONECTIONS": "1", "HOME": "/"}, **where)
    assert not loaded.errors
    assert loaded.warnings == (
        "SMTP_MAX_CONECTIONS (environment) is no setting and is ignored; did you mean SMTP_MAX_CONNECTIONS?",
        f"SMTP_HOSTNAM ({where['config_env']} line 2) is no setting and is ignored; did you mean SMTP_HOSTNAME?",
        f"server.prot ({where['config_toml']} line 2) is no setting and is ignored; did you mean server.port?",
        f"server.bogus ({where['config_toml']} line 3) is no setting and is ignored",
        f"zoo.yak ({where['config_toml']} line 5) is no setting and is ignored",
    )


def test_settings_of_later_features_are_checked_and_warn_only_when_given() -> None:
    loaded = alone({"SMTP_ENABLE_GREYLIST": "true", "SMTP_S3_BUCKET": "mail"})
    assert sorted(loaded.warnings) == [
        "SMTP_ENABLE_GREYLIST (environment) has no effect yet",
        "SMTP_S3_BUCKET (environment) has no effect yet",
    ]
    assert alone({"SMTP_ENABLE_GREYLIST": "maybe"}).errors
    assert not [text for text in alone({"SMTP_PROFILE": "prod"}).warnings if "no effect" in text]


def test_an_alias_counts_and_says_the_real_name() -> None:
    loaded = alone({"SMTP_METRICS_PORT": "9090"})
    assert loaded.settings.health_port == 9090
    assert loaded.warnings == ("SMTP_METRICS_PORT (environment) is another name of SMTP_HEALTH_PORT; use that",)


def test_a_kubernetes_service_link_is_explained() -> None:
    (problem,) = alone({"SMTP_PORT": "tcp://10.0.0.7:25"}).errors
    assert "enableServiceLinks" in problem.fix


def test_secrets_are_not_printed() -> None:
    (problem,) = alone({"SMTP_DATABASE_URL": "mysql://user:hunter2@db/mail"}).errors
    assert "hunter2" not in str(problem)


def test_require_tls_of_a_profile_is_not_against_strangers_but_the_operators_is() -> None:
    profile = alone({"SMTP_PROFILE": "production"})
    assert profile.settings.require_tls
    assert not profile.settings.refuse_cleartext_strangers
    assert not any("RFC 3207" in warning for warning in profile.warnings)
    operator = alone({"SMTP_PROFILE": "production", "SMTP_REQUIRE_TLS": "true"})
    assert operator.settings.refuse_cleartext_strangers
    assert any("RFC 3207" in warning for warning in operator.warnings)


def test_the_profiles_tls_version_does_not_bind_the_exchanger_but_the_operators_does() -> None:
    assert alone({"SMTP_PROFILE": "prod"}).settings.exchanger_tls_min_version == "1.2"
    assert alone({"SMTP_PROFILE": "prod"}).settings.tls_min_version == "1.3"
    chosen = alone({"SMTP_PROFILE": "prod", "SMTP_TLS_MIN_VERSION": "1.3"}).settings
    assert chosen.exchanger_tls_min_version == "1.3"


def test_a_file_that_cannot_be_read_is_one_clear_error(files: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    where = files(env="", toml="")
    (tmp_path / "config.env").unlink()
    (tmp_path / "config.env").mkdir()
    (problem,) = load({}, {}, **where).errors
    assert problem.source == where["config_env"]
    assert "cannot be read (is a directory)" in str(problem)
    assert "chmod 640" in problem.fix


def test_under_systemd_a_file_only_root_may_read_is_a_warning(
    files: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    where = files()
    (tmp_path / "config.env").mkdir()
    given = {"INVOCATION_ID": "1f", "SMTP_PORT": "2526"}
    loaded = load({}, given, **where)
    assert loaded.settings.port == 2526
    assert any("only what systemd read from it counts" in text for text in loaded.warnings)
    assert load({}, {"INVOCATION_ID": "1f"}, **where).errors


def test_files_that_make_no_sense_say_the_line(files: Callable[..., dict[str, str]]) -> None:
    where = files(env="SMTP_PORT=1\nexport SMTP_HOST=::\n", toml="[server]\nhostname = mail.example.com\n")
    loaded = load({}, {}, **where)
    assert [(problem.source, problem.line) for problem in loaded.errors] == [
        (where["config_env"], 2),
        (where["config_toml"], 2),
    ]


def test_a_named_toml_file_must_be_there_and_the_usual_one_need_not(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.toml")
    assert not load({}, {}, config_env=None, config_toml=gone).errors
    (problem,) = load({"SMTP_CONFIG_FILE": gone}, {}, config_env=None, config_toml=None).errors
    assert (problem.name, problem.value) == ("SMTP_CONFIG_FILE", gone)


def test_a_named_toml_file_is_read_instead_of_the_usual_one(
    files: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    where = files(toml="[server]\nport = 1\n")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nsmtp_port = 2\nport = 3\n")
    assert load({}, {"SMTP_CONFIG_FILE": str(other)}, **where).settings.port == 3


def test_a_world_readable_file_with_a_secret_warns(files: Callable[..., dict[str, str]]) -> None:
    where = files(env="SMTP_DATABASE_URL=postgres://mail:secret@db/mail\n")
    os.chmod(where["config_env"], 0o644)
    assert any("everybody on this machine can read it" in text for text in load({}, {}, **where).warnings)
    os.chmod(where["config_env"], 0o640)
    assert not any("everybody" in text for text in load({}, {}, **where).warnings)


def test_of_gives_defaults_with_changes_and_refuses_unknown_names() -> None:
    settings = Settings.of("testing", port=12, db_path=Path("/var/mail/x.db"))
    assert (settings.port, settings.max_connections) == (12, 10)
    assert settings.runtime_dir == Path("/var/mail")
    assert settings.source("SMTP_PORT") == "code"
    with pytest.raises(TypeError, match="prot"):
        Settings.of("testing", prot=12)
    with pytest.raises(AttributeError, match="replace"):
        settings.port = 13


def test_debug_and_formats_follow_from_each_other() -> None:
    assert alone({"SMTP_DEBUG": "1"}).settings.log_level == "debug"
    assert alone({"SMTP_DEBUG": "1", "SMTP_LOG_LEVEL": "error"}).settings.log_level == "error"
    assert alone({"SMTP_PROFILE": "prod"}).settings.log_format == "json"
    assert alone({"SMTP_PROFILE": "prod", "SMTP_LOG_FORMAT": "text"}).settings.log_format == "text"
    assert alone({"SMTP_ENABLE_JSON_LOGGING": "on"}).settings.log_format == "json"
