"""Debian's Postfix and Dovecot, each in a folder of its own on loopback, as tests and benchmarks start them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

DOVECOT = "/usr/sbin/dovecot"


def configure_postfix(home: Path, owner: str, settings: str, *, smtp: str = "smtp") -> Path:
    """Folders below `home`, a main.cf that ends in `settings`, and Debian's master.cf with nothing in a chroot.

    Mail lies below `home/mail`, which is `owner`'s. `smtp`: where smtpd listens, as master.cf says it. Returns the
    folder for `-c`. Raises CalledProcessError when Postfix does not like it.
    """
    etc, account = home / "etc", pwd.getpwnam(owner)
    for name in ("etc", "data", "mail", "spool"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for name in ("postfix-files", "postfix-files.d", "dynamicmaps.cf", "dynamicmaps.cf.d"):
        source = Path("/etc/postfix") / name
        if source.is_dir():
            shutil.copytree(source, etc / name, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, etc / name)
    shutil.chown(home / "data", "postfix")
    os.chown(home / "mail", account.pw_uid, account.pw_gid)
    (etc / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {home}/spool
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
mydestination =
alias_maps =
local_recipient_maps =
maillog_file = {home}/maillog
maillog_file_prefixes = /var, /dev/stdout, /tmp, {home}
virtual_mailbox_base = {home}/mail
virtual_uid_maps = static:{account.pw_uid}
virtual_gid_maps = static:{account.pw_gid}
virtual_minimum_uid = 100
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
{settings}""")
    (etc / "master.cf").write_text(_master_cf(smtp))
    subprocess.run(["postfix", "-c", str(etc), "check"], check=True, capture_output=True)
    return etc


def _master_cf(smtp: str) -> str:
    lines = []
    for line in Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
        words = line.split()
        if words[:2] == ["smtp", "inet"]:
            words[0] = smtp
        if len(words) == 8 and words[1] in ("unix", "fifo", "inet", "unix-dgram"):
            words[4] = "n"  # nothing in a chroot: it would need the machine's files
            line = " ".join(words)
        lines.append(line)
    if not any(line.startswith("postlog") for line in lines):
        lines.append("postlog unix-dgram n - n - 1 postlogd")
    return "\n".join(lines) + "\n"


def configure_dovecot(home: Path, owner: str, settings: str, *, users: str = "") -> Path:
    """A dovecot.conf that ends in `settings`, mail below `home/mail`, which is `owner`'s.

    `users`: lines of a passwd-file (`user_line`). Without any, `settings` says who there is. Returns what `-c` wants.
    """
    account = pwd.getpwnam(owner)
    for name in ("run", "mail"):
        (home / name).mkdir(parents=True, exist_ok=True)
    os.chown(home / "mail", account.pw_uid, account.pw_gid)
    blocks = ""
    if users:
        (home / "users").write_text(users)
        block = f"{{\n  driver = passwd-file\n  args = username_format=%u {home}/users\n}}\n"
        blocks = f"passdb {block}userdb {block}"
    (home / "dovecot.conf").write_text(f"""\
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
listen = 127.0.0.1
disable_plaintext_auth = no
first_valid_uid = 100
first_valid_gid = 1
{settings}{blocks}""")
    return home / "dovecot.conf"


def user_line(owner: str, name: str, password: str, home: Path, extra: str = "") -> str:
    """A line of Dovecot's passwd-file. `password` with its scheme, `extra` such as `userdb_mail=…`."""
    account = pwd.getpwnam(owner)
    return f"{name}:{password}:{account.pw_uid}:{account.pw_gid}::{home}::{extra}\n"
