"""What SIGHUP changes: loading the settings again, and telling apart what applies at once from what cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from pillarbox.config import Loaded, Settings, load
from pillarbox.config.setting import Setting
from pillarbox.config.sources import CONFIG_ENV, FileError, read_environment_file
from pillarbox.config.table import SETTINGS

# A name for the set of values and no more: what it changes shows in the other settings.
_NO_EFFECT_ITSELF = frozenset({"profile", "config_file"})
# Those that a server keeps while it runs, also over an upgrade: old and new workers must not differ in them.
FIXED = frozenset(
    setting.attribute
    for setting in SETTINGS
    if setting.reload == "restart" and setting.attribute not in _NO_EFFECT_ITSELF
)


def loader(
    overrides: Mapping[str, str], environ: Mapping[str, str], config_env: str = CONFIG_ENV
) -> Callable[[], Loaded]:
    """A function that loads the settings again, as they were loaded at start.

    systemd hands config.env over as our environment (EnvironmentFile=), where it stays as it was at the start. A
    variable that the file gave just so is therefore read from the file from now on.
    """
    own = own_environment(environ, config_env)
    return lambda: load(overrides, own, config_env=config_env)


def own_environment(environ: Mapping[str, str], config_env: str = CONFIG_ENV) -> dict[str, str]:
    """The environment without what config.env says just so."""
    from_file: dict[str, object] = {}
    with suppress(FileNotFoundError, FileError):
        from_file = {given.name: given.raw for given in read_environment_file(config_env)}
    return {name: value for name, value in environ.items() if from_file.get(name) != value}


class Change:
    """A setting that is different now."""

    def __init__(self, setting: Setting, old: object, new: object) -> None:
        self.setting, self.old, self.new = setting, old, new
        self.too_late = setting.attribute in FIXED

    def __str__(self) -> str:
        old, new = ("***", "***") if self.setting.secret else (_shown(self.old), _shown(self.new))
        late = " (requires restart)" if self.too_late else ""
        return f"Config change: {self.setting.attribute} {old} -> {new}{late}"


def changes(old: Settings, new: Settings) -> list[Change]:
    """What is different, in the order of the documentation."""
    found = []
    for setting in SETTINGS:
        before, after = getattr(old, setting.attribute), getattr(new, setting.attribute)
        if before != after:
            found.append(Change(setting, before, after))
    return found


def fixed(settings: Settings) -> dict[str, str]:
    """Values of `FIXED` as text, by SMTP_ name, for the next program to compare."""
    return {f"SMTP_{name.upper()}": _shown(getattr(settings, name)) for name in sorted(FIXED)}


def changed_too_late(before: Mapping[str, str], settings: Settings) -> list[str]:
    """The SMTP_ names that are no longer what `fixed` said of the running server; names it did not know are none."""
    now = fixed(settings)
    return [name for name, value in before.items() if now.get(name, value) != value]


def effective(old: Settings, new: Settings, found: list[Change]) -> Settings:
    """The new settings, without what only a restart can apply."""
    kept = {change.setting.attribute: change.old for change in found if change.too_late}
    return new.replace(**kept) if kept else new  # type: ignore[arg-type]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
