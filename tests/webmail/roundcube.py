"""Debian's Roundcube on nginx and php-fpm, all of it in a folder and on ports of the test's own.

Nothing of the machine's configuration is written, and its services need not run: the packages give programs, these
files say how they are started. `imap.log` has every line of the conversations with the server.
"""

from __future__ import annotations

import getpass
import grp
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

HOME = Path("/var/lib/roundcube")
SETTINGS = Path("/etc/roundcube")
SCHEMA = Path("/usr/share/roundcube/SQL/sqlite.initial.sql")
PLUGINS = ("acl", "archive", "markasjunk", "subscriptions_option")
_COMMAND = re.compile(r"\[(\w+)\] C: (A\d+) (.*)")
_ANSWER = re.compile(r"\[(\w+)\] S: (A\d+|\*) ((?:NO|BAD|BYE)\b.*)")


def _fpm() -> str | None:
    return next((str(path) for path in sorted(Path("/usr/sbin").glob("php-fpm*"), reverse=True)), None)


def missing() -> str | None:
    """What is not installed; None when all is there."""
    absent = [] if shutil.which("nginx", path="/usr/sbin:" + os.environ.get("PATH", "")) else ["nginx"]
    absent += [] if _fpm() else ["php-fpm"]
    absent += [] if SCHEMA.exists() else ["roundcube-core, roundcube-sqlite3"]
    absent += [] if all((HOME / "plugins" / name).exists() for name in PLUGINS) else ["roundcube-plugins"]
    return f"not installed: {', '.join(absent)}" if absent else None


class Roundcube:
    """The web site of a running mail server, `url` when it has started."""

    def __init__(self, folder: Path, port: int, mail: dict[str, object], **settings: object) -> None:
        """`mail` is what `pillarbox try --json` prints; `settings` go over Roundcube's."""
        self.folder, self._port = folder, port
        self.url = f"http://127.0.0.1:{port}/"
        self._children: list[subprocess.Popen[bytes]] = []
        self._seen: dict[str, int] = {}
        self._commands: dict[tuple[str, str], str] = {}  # by connection and tag
        self._leaving: set[str] = set()  # connections that said LOGOUT
        for name in ("config", "temp", "logs", "nginx"):
            (folder / name).mkdir(parents=True)
        with closing(sqlite3.connect(folder / "roundcube.db")) as database:
            database.executescript(SCHEMA.read_text())
        for name in ("defaults.inc.php", "mimetypes.php"):
            shutil.copy(SETTINGS / name, folder / "config")
        (folder / "config" / "config.inc.php").write_text(_config(folder, mail, settings))
        (folder / "php-fpm.conf").write_text(_php(folder))
        (folder / "nginx.conf").write_text(_nginx(folder, port))

    def __enter__(self) -> Roundcube:
        as_root = ["-R"] if os.geteuid() == 0 else []
        self._start([_fpm() or "", "-F", "-y", str(self.folder / "php-fpm.conf"), *as_root])
        self._start(["/usr/sbin/nginx", "-p", str(self.folder), "-c", "nginx.conf", "-e", "logs/nginx.log"])
        end = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > end or any(child.poll() is not None for child in self._children):
                self.__exit__()
                raise OSError(f"nginx and php-fpm did not start: see {self.folder}/logs")
            time.sleep(0.05)
        return self

    def _start(self, argv: list[str]) -> None:
        with (self.folder / "logs" / "start.log").open("ab") as log:
            self._children.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return (self.folder / "fpm.sock").exists()

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.terminate()
            child.wait(20)

    def _fresh(self, name: str) -> str:
        """What a log has got since the last time."""
        log = self.folder / "logs" / name
        text = log.read_text(errors="replace") if log.exists() else ""
        begin, self._seen[name] = self._seen.get(name, 0), len(text)
        return text[begin:]

    def refusals(self) -> list[str]:
        """Every NO, BAD and BYE of the mail server since the last time, with the command before it."""
        found = []
        for line in self._fresh("imap.log").splitlines():
            if said := _COMMAND.search(line):
                connection, tag, command = said.groups()
                self._commands[connection, tag] = command
                if command == "LOGOUT":
                    self._leaving.add(connection)
            elif (said := _ANSWER.search(line)) and not (said[2] == "*" and said[1] in self._leaving):
                found.append(f"{self._commands.get((said[1], said[2]), '')} -> {said[2]} {said[3]}")
        return found

    def errors(self) -> str:
        """What Roundcube and PHP complained of since the last time.

        Two of Roundcube's own requests at once may race for a row of its cache, which it then leaves as it is.
        """
        lines = (self._fresh("errors.log") + self._fresh("php.log")).splitlines(keepends=True)
        return "".join(line for line in lines if "UNIQUE constraint failed: cache." not in line)


def _php_value(value: object) -> str:
    """A PHP literal: JSON's notation within single quotes, decoded by PHP."""
    text = json.dumps(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"json_decode('{text}', true)"


def _config(folder: Path, mail: dict[str, object], settings: dict[str, object]) -> str:
    ports: dict[str, int] = mail["ports"]  # type: ignore[assignment]
    trust = {"ssl": {"verify_peer": True, "verify_peer_name": True, "cafile": str(mail["ca"])}}
    values = {
        "db_dsnw": f"sqlite:///{folder}/roundcube.db?mode=0600",
        "log_dir": f"{folder}/logs/",
        "temp_dir": f"{folder}/temp/",
        "imap_host": f"ssl://localhost:{ports['imaps']}",
        "imap_conn_options": trust,
        "smtp_host": f"tls://localhost:{ports['submission']}",
        "smtp_conn_options": trust,
        "smtp_user": "%u",
        "smtp_pass": "%p",
        "des_key": "not a secret at all: ",
        "plugins": PLUGINS,
        "skin": "elastic",
        "language": "en_US",
        "timezone": "UTC",
        "imap_cache": "db",  # with the cache it resynchronizes by CONDSTORE and QRESYNC (RFC 7162)
        "messages_cache": "db",
        "imap_debug": True,
        "smtp_debug": True,
        "htmleditor": 0,
        "enable_spellcheck": False,
        "archive_mbox": "Archive",
        **settings,
    }
    lines = [f"$config['{name}'] = {_php_value(value)};" for name, value in values.items()]
    return "<?php\n" + "\n".join(lines) + "\n"


def _php(folder: Path) -> str:
    group = grp.getgrgid(os.getgid()).gr_name
    return f"""\
[global]
daemonize = no
error_log = {folder}/logs/php-fpm.log
[www]
user = {getpass.getuser()}
group = {group}
listen = {folder}/fpm.sock
pm = static
pm.max_children = 4
env[ROUNDCUBE_CONFIG_DIR] = {folder}/config
php_admin_value[error_log] = {folder}/logs/php.log
php_admin_value[upload_tmp_dir] = {folder}/temp
php_admin_value[sys_temp_dir] = {folder}/temp
php_admin_value[upload_max_filesize] = 64M
php_admin_value[post_max_size] = 64M
"""


def _nginx(folder: Path, port: int) -> str:
    here = f"{folder}/nginx"
    return f"""\
daemon off;
{f"user {getpass.getuser()};" if os.geteuid() == 0 else ""}
worker_processes 1;
pid {here}/pid;
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types;
  access_log {folder}/logs/access.log;
  client_max_body_size 64m;
  client_body_temp_path {here}/body;
  fastcgi_temp_path {here}/fastcgi;
  proxy_temp_path {here}/proxy;
  uwsgi_temp_path {here}/uwsgi;
  scgi_temp_path {here}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {HOME}/public_html;
    index index.php;
    location ~ \\.php$ {{
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_pass unix:{folder}/fpm.sock;
      fastcgi_read_timeout 120s;
    }}
  }}
}}
"""
