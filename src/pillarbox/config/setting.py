"""What a setting is: one row of the table in `table.py`, from which everything else about it follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pillarbox.config.kinds import Kind, Value

PROFILES = ("development", "testing", "staging", "production")
PROFILE_ALIASES = {"dev": "development", "test": "testing", "stage": "staging", "prod": "production"}

Effect = Literal["now", "later", "none"]
Reload = Literal["live", "workers", "restart"]


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting.

    `default` holds one value for every profile, or a tuple of four in the order of `PROFILES`. `toml` is `section.key`
    in a TOML file. `effect` says what setting it does today: `now` it works, `later` its feature is not there yet (the
    value is checked all the same), `none` Pillarbox needs no such knob and the name is only accepted. `reload` says
    what SIGHUP does with a change: `live` the running workers take it, `workers` new ones are started for it, `restart`
    nothing, it waits for the next start of the server. `error` is the kind printed when the value is wrong.
    """

    name: str
    toml: str
    kind: Kind
    default: Value | tuple[Value, Value, Value, Value]
    help: str
    error: str
    effect: Effect = "now"
    reload: Reload = "live"
    secret: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """The name on `Settings`: lower case without `SMTP_`."""
        return self.name.removeprefix("SMTP_").lower()

    def default_for(self, profile: str) -> Value:
        if isinstance(self.default, tuple) and len(self.default) == len(PROFILES):
            return self.default[PROFILES.index(profile)]  # type: ignore[return-value]  # a tuple of four is by profile
        return self.default  # type: ignore[return-value]
