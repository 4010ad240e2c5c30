"""Thunderbird without a screen, driven by Marionette: Firefox's remote protocol, JSON with a length in front.

What is run inside are the calls that Thunderbird's own windows make. Its log of IMAP tells what the server refused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

SECONDS = 60.0

_BEFORE = """
const args = arguments, done = arguments[arguments.length - 1];
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
const server = () => MailServices.accounts.accounts.find(a => a.incomingServer.type == "imap").incomingServer;
const folders = () => server().rootFolder.descendants;
const folder = name => folders().find(f => decodeURIComponent(f.URI).endsWith("/" + name));
const subjects = name => [...folder(name).messages].map(m => m.mime2DecodedSubject);
const message = (name, subject) => [...folder(name).messages].find(m => m.mime2DecodedSubject == subject);
const until = async what => {
  for (const end = Date.now() + 40000; Date.now() < end; ) {
    const found = await what();
    if (found) return found;
    await new Promise(ok => setTimeout(ok, 20));
  }
  throw new Error("not in time: " + what);
};
const ended = (ok, bad, status) => status ? bad(new Error("status " + status.toString(16))) : ok();
const update = name => new Promise((ok, bad) => {
  setTimeout(ok, 2000);  // of an update that is already under way it tells only the first who asked
  folder(name).QueryInterface(Ci.nsIMsgImapMailFolder).updateFolderWithListener(null, {
    OnStartRunningUrl() {}, OnStopRunningUrl(url, status) { ended(ok, bad, status) },
    QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"])});
});
const copied = order => new Promise((ok, bad) => order({
  onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() { return null },
  onStopCopy(status) { ended(ok, bad, status) },
  QueryInterface: ChromeUtils.generateQI(["nsIMsgCopyServiceListener"])}));
(async () => {"""
_AFTER = """})().then(r => done({ value: r ?? null })).catch(e => done({ error: e + " " + (e.stack || "") }));"""

_TRUST = """
const [authority, name, password] = args;
Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(authority, "CT,,");
for (const origin of ["imap://localhost", "smtp://localhost"]) {
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init(origin, null, origin, name, password, "", "");
  await Services.logins.addLoginAsync(login);
}
server().performExpand(null);
await until(() => folder("INBOX"));
await update("INBOX");"""


def missing() -> str | None:
    return None if shutil.which("thunderbird") else "not installed: thunderbird"


class Thunderbird:
    """One Thunderbird with one account, its profile in `folder`; it has seen the INBOX when it has started."""

    def __init__(self, folder: Path, port: int, account: Any) -> None:
        """`port` is free on loopback, for Marionette."""
        self._folder, self._count = folder, 0
        self._socket: socket.socket | None = None
        folder.mkdir(parents=True)
        ready = account.server.ready
        preferences = {"marionette.port": port, **_preferences(account.name, ready["ports"])}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (folder / "user.js").write_text("".join(lines))
        environment = {**os.environ, "HOME": str(folder), "MOZ_HEADLESS": "1", "MOZ_LOG": "IMAP:4"}
        with (folder / "thunderbird.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["thunderbird", "--headless", "--marionette", "--remote-allow-system-access", "--profile", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, "MOZ_LOG_FILE": str(folder / "imap")},
            )
        try:
            self._connect(port)
            self._do("WebDriver:NewSession", capabilities={})
            self._do("Marionette:SetContext", value="chrome")
            self._do("WebDriver:SetTimeouts", script=int(SECONDS * 1000))
            authority = "".join(Path(ready["ca"]).read_text().split("-----")[2].split())
            self.run(_TRUST, authority, account.name, account.password)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Thunderbird:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._input.close()
            self._socket.close()
        self._process.terminate()
        self._process.wait(30)

    def _connect(self, port: int) -> None:
        end = time.monotonic() + SECONDS
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), SECONDS)
                break
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
        self._socket.settimeout(SECONDS * 2)
        self._input = self._socket.makefile("rb")
        self._read()  # its greeting

    def _read(self) -> Any:
        size = b""
        while (octet := self._input.read(1)) != b":":
            if not octet:
                raise OSError(f"Thunderbird has ended: {self._folder}/thunderbird.log")
            size += octet
        return json.loads(self._input.read(int(size)))

    def _do(self, command: str, **parameters: Any) -> Any:
        self._count += 1
        text = json.dumps([0, self._count, command, parameters]).encode()
        assert self._socket is not None
        self._socket.sendall(b"%d:" % len(text) + text)
        _, _, error, value = self._read()
        assert error is None, f"{command}: {error}"
        return value

    def run(self, code: str, *arguments: Any) -> Any:
        """What the body `code` of an asynchronous function returns; see `_BEFORE` for what it has at hand."""
        answer = self._do(
            "WebDriver:ExecuteAsyncScript",
            script=_BEFORE + code + _AFTER,
            args=list(arguments),
            newSandbox=True,
            sandbox="system",
        )["value"]
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def refusals(self) -> list[str]:
        """Every NO and BAD of the server so far."""
        log = (self._folder / "imap.moz_log").read_text(errors="replace")
        assert "CreateNewLineFromSocket: " in log, "the log has no conversation"
        return re.findall(r"CreateNewLineFromSocket: (\w+ (?:NO|BAD)\b.*)", log)


def _preferences(name: str, ports: dict[str, int]) -> dict[str, object]:
    incoming, outgoing, identity = "mail.server.server1.", "mail.smtpserver.smtp1.", "mail.identity.id1."
    return {
        "mail.accountmanager.accounts": "account1",
        "mail.accountmanager.defaultaccount": "account1",
        "mail.account.account1.server": "server1",
        "mail.account.account1.identities": "id1",
        incoming + "type": "imap",
        incoming + "hostname": "localhost",
        incoming + "port": ports["imaps"],
        incoming + "socketType": 3,  # TLS from the first octet
        incoming + "authMethod": 3,  # a password
        incoming + "userName": name,
        incoming + "name": name,
        incoming + "login_at_startup": False,  # only when it knows the authority and the password
        incoming + "check_new_mail": False,
        identity + "useremail": name,
        identity + "fullName": "Somebody",
        identity + "smtpServer": "smtp1",
        identity + "valid": True,
        "mail.smtpservers": "smtp1",
        "mail.smtp.defaultserver": "smtp1",
        outgoing + "hostname": "localhost",
        outgoing + "port": ports["submissions"],
        outgoing + "try_ssl": 3,
        outgoing + "authMethod": 3,
        outgoing + "username": name,
        "app.update.enabled": False,
        "app.donation.eoy.version.viewed": 999,
        "datareporting.policy.dataSubmissionEnabled": False,
        "mail.biff.show_alert": False,
        "mail.provider.suppress_dialog_on_startup": True,
        "mail.shell.checkDefaultClient": False,
        "mail.spotlight.firstRunDone": True,
        "mailnews.start_page.enabled": False,
        "network.proxy.type": 0,
    }
