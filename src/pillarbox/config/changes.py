"""What is different between two loads of the settings, for the reload by SIGHUP."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.config.kinds import Value
from pillarbox.config.setting import Setting
from pillarbox.config.settings import Settings
from pillarbox.config.table import SETTINGS


@dataclass(frozen=True, slots=True)
class Change:
    """One setting with another value; `live` says that running workers take it."""

    setting: Setting
    old: Value
    new: Value

    @property
    def live(self) -> bool:
        return self.setting.reload == "live"

    def __str__(self) -> str:
        old, new = ("***", "***") if self.setting.secret else (_shown(self.old), _shown(self.new))
        restart = "" if self.live else " (requires restart)"
        return f"Config change: {self.setting.attribute} {old} -> {new}{restart}"


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def changes(old: Settings, new: Settings) -> list[Change]:
    """The settings that differ, in the order of the table."""
    pairs = ((setting, getattr(old, setting.attribute), getattr(new, setting.attribute)) for setting in SETTINGS)
    return [Change(setting, before, after) for setting, before, after in pairs if before != after]
