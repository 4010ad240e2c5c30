"""One value for each setting out of all sources, in order of precedence, and what was wrong with any of them.

Every value that was given is checked, also one that another source overrides: a wrong line in a file is a trap for the
day on which the environment no longer covers it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pillarbox.config.kinds import Value
from pillarbox.config.problem import Problem
from pillarbox.config.setting import PROFILE_ALIASES, PROFILES, Setting
from pillarbox.config.sources import FileError, Given, read_environment_file, read_toml
from pillarbox.config.table import BY_ALIAS, BY_NAME, KNOWN_LATER, SETTINGS

COMMAND_LINE = "command line"
ENVIRONMENT = "environment"

BY_TOML: dict[str, Setting] = {
    **{f"{setting.toml.partition('.')[0]}.{setting.attribute}": setting for setting in SETTINGS},
    **{setting.toml: setting for setting in SETTINGS},
    "profile": BY_NAME["SMTP_PROFILE"],
}
# Kubernetes gives every pod SMTP_PORT=tcp://10.0.0.7:25 when a service is called "smtp".
_SERVICE_LINK_FIX = "a Kubernetes service link sets it; use `enableServiceLinks: false` or another service name"


class Gathered:
    """`given`: the winning value of each SMTP_ name; `values`: parsed, by name; `all_given`: losers too."""

    def __init__(self) -> None:
        self.given: dict[str, Given] = {}
        self.values: dict[str, Value] = {}
        self.all_given: list[Given] = []
        self.errors: list[Problem] = []
        self.warnings: list[str] = []

    @property
    def profile(self) -> str:
        return str(self.values.get("SMTP_PROFILE", BY_NAME["SMTP_PROFILE"].default))

    def value(self, setting: Setting) -> Value:
        return self.values[setting.name] if setting.name in self.values else setting.default_for(self.profile)

    def take(self, entries: Iterable[Given]) -> None:
        """Add a source of lower precedence than those before."""
        from_here: dict[str, tuple[Given, Value]] = {}
        for entry in entries:
            setting = self._setting(entry)
            if setting is None:
                continue
            self.all_given.append(Given(setting.name, entry.raw, entry.source, entry.line))
            if (parsed := self._parse(setting, entry)) is not None:
                from_here[setting.name] = parsed
        for name, (entry, value) in from_here.items():
            if name not in self.given:
                self.given[name], self.values[name] = entry, value

    def take_file(self, path: str, entries: Iterable[Given] | FileError) -> None:
        if isinstance(entries, FileError):
            wanted = f"usable, but it {entries.wrong}"
            self.errors.append(Problem("InvalidConfigFile", path, "", wanted, path, entries.line, entries.fix))
        else:
            self.take(entries)

    def _setting(self, entry: Given) -> Setting | None:
        """The declaration behind a name; None, with a warning, when there is none."""
        if "." in entry.name or not entry.name.isupper():
            if entry.name in BY_TOML:
                return BY_TOML[entry.name]
            self._unknown(entry, BY_TOML)
            return None
        if entry.name in BY_NAME:
            return BY_NAME[entry.name]
        if entry.name in BY_ALIAS:
            setting = BY_ALIAS[entry.name]
            self.warnings.append(f"{entry.name} ({_where(entry)}) is another name of {setting.name}; use that")
            return setting
        if entry.name in KNOWN_LATER:
            self.warnings.append(f"{entry.name} ({_where(entry)}) has no effect yet")
        else:
            self._unknown(entry, BY_NAME)
        return None

    def _unknown(self, entry: Given, names: Iterable[str]) -> None:
        # What many of them begin with tells nothing, and would make any two of them alike.
        by_rest = {name.removeprefix("SMTP_"): name for name in names}
        near = difflib.get_close_matches(entry.name.removeprefix("SMTP_"), list(by_rest), n=3, cutoff=0.5)
        key = entry.name.rpartition(".")[2]
        near = [name for name in near if difflib.get_close_matches(key, [name.rpartition(".")[2]], cutoff=0.5)]
        hint = f"; did you mean {by_rest[near[0]]}?" if near else ""
        self.warnings.append(f"{entry.name} ({_where(entry)}) is no setting and is ignored{hint}")

    def _parse(self, setting: Setting, entry: Given) -> tuple[Given, Value] | None:
        text = _as_text(entry.raw)
        try:
            if text is None:
                raise ValueError("a table or another value that no setting has")
            value = setting.kind.parse(text)
            if value is None and setting.default is not None:
                if setting.kind.name == "port or off":
                    return entry, None
                raise ValueError("empty")
            return entry, value
        except ValueError:
            shown = "***" if setting.secret else str(entry.raw)
            fix = _fix(setting, shown)
            self.errors.append(
                Problem(setting.error, setting.name, shown, setting.kind.allowed, entry.source, entry.line, fix)
            )
            return None


def _where(entry: Given) -> str:
    return f"{entry.source} line {entry.line}" if entry.line else entry.source


def _as_text(raw: object) -> str | None:
    """A TOML value as the text that the environment would have; None for tables, dates and the like."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int | str):
        return str(raw)
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return ",".join(raw)
    return None


def _fix(setting: Setting, shown: str) -> str:
    if shown.startswith("tcp://"):
        return _SERVICE_LINK_FIX
    if setting.kind.name == "choice":
        words = [*PROFILES, *PROFILE_ALIASES] if setting.name == "SMTP_PROFILE" else setting.kind.allowed.split()
        if near := difflib.get_close_matches(shown.lower(), words, n=1):
            return f"did you mean `{near[0].strip(',')}`?"
    if setting.kind.name == "host name":
        return f"write one name, such as {setting.name}=mail.example.com"
    default = setting.default_for("production")
    example = "true" if default is True else "false" if default is False else default
    if example in (None, ()):
        return f"correct it or remove {setting.name}"
    return f"use an allowed value, such as {setting.name}={example}"


def gather(
    overrides: Mapping[str, str], environ: Mapping[str, str], config_env: str | None, config_toml: str | None
) -> Gathered:
    """Read all sources; see `settings.load` for the arguments."""
    gathered = Gathered()
    gathered.take(Given(name, value, COMMAND_LINE) for name, value in overrides.items())
    in_file = _environment_file(config_env) if config_env is not None else []
    # What systemd handed over just as it stands in the file is said once, with its line, which is where to mend it.
    by_file = {given.name: given.raw for given in in_file} if isinstance(in_file, list) else {}
    own = sorted(name for name in environ if name.startswith("SMTP_") and by_file.get(name) != environ[name])
    gathered.take(Given(name, environ[name], ENVIRONMENT) for name in own)
    if config_env is not None:
        if isinstance(in_file, FileError) and in_file.line is None and _from_systemd(environ):
            gathered.warnings.append(f"{in_file}; only what systemd read from it counts")
        else:
            gathered.take_file(config_env, in_file)
    named = gathered.given.get("SMTP_CONFIG_FILE")
    toml = str(gathered.values["SMTP_CONFIG_FILE"]) if named and gathered.values["SMTP_CONFIG_FILE"] else config_toml
    if toml is not None:
        try:
            gathered.take_file(toml, read_toml(toml))
        except FileError as error:
            gathered.take_file(toml, error)
        except FileNotFoundError:
            if named:
                fix = "write that file or remove the setting"
                problem = Problem(
                    "InvalidConfigFile", named.name, toml, "a file that exists", named.source, named.line, fix
                )
                gathered.errors.append(problem)
    for name, entry in gathered.given.items():
        _say_effect(gathered, BY_NAME[name], entry)
    return gathered


def _from_systemd(environ: Mapping[str, str]) -> bool:
    """Whether this is a unit that was given settings: systemd, as root, may have read a file that we must not."""
    return "INVOCATION_ID" in environ and any(name.startswith("SMTP_") for name in environ)


def _environment_file(path: str) -> list[Given] | FileError:
    """Only SMTP_ names: the file is systemd's too and may set anything else."""
    try:
        return [given for given in read_environment_file(path) if given.name.startswith("SMTP_")]
    except FileNotFoundError:
        return []
    except FileError as error:
        return error


def _say_effect(gathered: Gathered, setting: Setting, entry: Given) -> None:
    if setting.effect == "later" and gathered.values[setting.name] not in (False, None):
        gathered.warnings.append(f"{setting.name} ({_where(entry)}) has no effect yet")
    elif setting.effect == "none":
        gathered.warnings.append(f"{setting.name} ({_where(entry)}) has no effect: {setting.help}")
