"""`docs/configuration.md`, written from the declarations.

`python -m pillarbox.config.document > docs/configuration.md`
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from pillarbox.config.kinds import Value
from pillarbox.config.setting import PROFILES, Setting
from pillarbox.config.table import KNOWN_LATER, SETTINGS

_HEAD = """\
# Configuration

<!-- Written by `make docs` from src/pillarbox/config/table.py; a test keeps it so. Change the table, not this file. -->

Everything has a default that works; a profile picks the set of them. `smtp-server --validate-only` tells whether a
configuration is good, all errors at once, each with its source, line, value, allowed range and a fix, and starts
nothing.

## Where a setting comes from

The first of these that gives it wins:

1. the command line (`smtp-server --help`; any setting by `--set SMTP_NAME=VALUE`),
2. the environment,
3. `/etc/smtp-server/config.env`, in the syntax of systemd's `EnvironmentFile` (so that a command run by hand sees what
   the service sees),
4. a TOML file: the one named by `--config` or `SMTP_CONFIG_FILE`, else `/etc/smtp-server/config.toml` if it is there,
5. the profile: `SMTP_PROFILE=development` (short `dev`), `testing` (`test`), `staging` (`stage`) or `production`
   (`prod`).

Every value that is given is checked, also one that a higher source overrides. Booleans are `true`, `1`, `yes`, `on` or
`false`, `0`, `no`, `off`; anything else is an error, as is a number that is not one. An unknown `SMTP_` name is a
warning with the nearest known one. A file that holds a secret and that everybody may read is a warning.

In TOML a setting stands in its section under the name given in the tables below, or under its own in lower case without
`SMTP_`:

```toml
profile = "production"

[server]
hostname = "mail.example.com"
port = 2525

[timeouts]
data = 600

[tls]
cert_path = "/etc/letsencrypt/live/mail.example.com/fullchain.pem"
key_path = "/etc/letsencrypt/live/mail.example.com/privkey.pem"
```

`kill -HUP` applies what is marked *live*, certificates included, inside the running workers, and starts new workers
for what is marked *workers* while the old ones finish what they have; no connection is dropped. *restart* settings take
a new start of the server. The environment of a running server does not change; what systemd took into it from
`config.env` is read from that file again.

## Three things that surprise

- **IMAP and LMTP are off until they have a port.** A mail server that starts beside others must not take ports nobody
  gave it, and the usual service unit may not bind those below 1024. `SMTP_IMAPS_PORT=993` (with
  `CAP_NET_BIND_SERVICE`) or `SMTP_IMAPS_PORT=1993` opens IMAP. SMTP, the API (8080) and health (8081) are on in every
  profile, the two HTTP ports on 127.0.0.1 only.
- **`SMTP_REQUIRE_TLS` from a profile does not refuse strangers.** Staging and production require TLS for passwords and
  for relaying; a public mail exchanger takes mail without TLS (RFC 3207 section 4). Set by you it holds for everybody.
- **TLS without a certificate works.** The server makes one of its own and warns; clients will not trust it.
"""


def document() -> str:
    """The whole page as Markdown."""
    return "\n".join([_HEAD, *_sections(), *_tail()])


def _sections() -> Iterator[str]:
    for section, settings in groupby(SETTINGS, key=lambda setting: setting.toml.partition(".")[0]):
        yield f"## [{section}]\n"
        for setting in settings:
            yield from _setting(setting)


def _setting(setting: Setting) -> Iterator[str]:
    yield f"### {setting.name}\n"
    note = {"now": "", "later": " **Checked, but has no effect yet.**", "none": " **Accepted without effect.**"}
    yield f"{setting.help}{note[setting.effect]}\n"
    yield f"- TOML: `{setting.toml.partition('.')[2]}`"
    yield f"- Allowed: {setting.kind.allowed}"
    defaults = [setting.default_for(profile) for profile in PROFILES]
    if len(set(map(repr, defaults))) == 1:
        yield f"- Default: {_shown(defaults[0])}"
    else:
        by_profile = ", ".join(f"{profile} {_shown(value)}" for profile, value in zip(PROFILES, defaults, strict=True))
        yield f"- Default: {by_profile}"
    if setting.aliases:
        yield f"- Also known as: {', '.join(f'`{alias}`' for alias in setting.aliases)}"
    yield f"- Change: {setting.reload}\n"


def _shown(value: Value) -> str:
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _tail() -> Iterator[str]:
    yield "## Names of features that come later\n"
    yield "They are known, so they do not count as misspelt. Their values are not looked at and have no effect yet.\n"
    yield ", ".join(f"`{name}`" for name in sorted(KNOWN_LATER)) + ".\n"


if __name__ == "__main__":
    print(document(), end="")
