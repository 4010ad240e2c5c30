"""A small Internet's DNS on loopback: a signed root and zones below it on nsd, behind a validating unbound.

    with DnsServers(tmp_path, ZONES) as dns:
        dns.settings()          # SMTP_DNS_SERVERS and SMTP_DNS_TRUST_ANCHOR for a server under test
        dns.resolver            # "127.0.0.1@53211", what to give as `servers`

It runs in the caller's network namespace. Inside one of your own, `DnsServers(path, zones, port=53)` makes it the
system's resolver for whoever reads `nameserver 127.0.0.1`. Zones are plain zone files without SOA and NS, which are
added; `$` names are relative to the zone. Everything outside the zones is NXDOMAIN, with proof.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {"nsd": "nsd", "unbound": "unbound", "ldns-signzone": "ldnsutils", "ldns-keygen": "ldnsutils"}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Zone:
    """`records` as lines of a zone file. `tampered` (old, new) is replaced after signing: what was signed is no longer
    what is served. `minimum` is the lifetime of denials in seconds."""

    name: str
    records: str
    signed: bool = False
    tampered: tuple[str, str] = ("", "")
    minimum: int = 300

    def text(self, serial: int) -> str:
        """The zone file."""
        apex = self.name.rstrip(".") + "."
        return (
            f"$ORIGIN {apex}\n$TTL 300\n@ IN SOA ns.invalid. admin.invalid. {serial} 3600 600 86400 {self.minimum}\n"
            f"@ IN NS ns.invalid.\n{self.records}\n"
        )


# Both have the same content, so that a test can be run on either.
_MAIL = """
@ 300 IN MX 10 mx1
@ 300 IN MX 20 mx2
@ 300 IN TXT "v=spf1 -all" " and more"
mx1 300 IN A 127.0.0.11
mx1 300 IN AAAA ::1
mx2 300 IN A 127.0.0.12
alias 300 IN CNAME mx1
_25._tcp.mx1 300 IN TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
_submission._tcp 300 IN SRV 5 7 587 mx1
only-a 300 IN A 127.0.0.13
null 300 IN MX 0 .
loop1 300 IN CNAME loop2
loop2 300 IN CNAME loop1
short 1 IN A 127.0.0.14
via-alias 300 IN MX 10 alias
moved 300 IN CNAME @
homeless 300 IN MX 10 nowhere
"""
SIGNED, UNSIGNED, BOGUS = "signed.example", "unsigned.example", "bogus.example"
ZONES = (
    Zone(SIGNED, _MAIL, signed=True),
    Zone(UNSIGNED, _MAIL),
    Zone(BOGUS, "@ IN MX 10 mx\nmx IN A 127.0.0.66\n", signed=True, tampered=("127.0.0.66", "127.0.0.67")),
    Zone("10.in-addr.arpa", "1.0.0 IN PTR mx1.unsigned.example.\n"),
)


def missing() -> str:
    """Why the servers cannot be run here; "" when they can."""
    packages = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name, path=_PATH)})
    return f"not installed: {', '.join(packages)}" if packages else ""


def free_port(address: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((address, 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind((address, port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


class DnsServers:
    """nsd and unbound, started by `with` or `start`; `folder` is made. `validate`: unbound refuses what is bogus."""

    def __init__(
        self,
        folder: Path,
        zones: tuple[Zone, ...] = ZONES,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        validate: bool = True,
    ) -> None:
        self.folder, self.zones, self.address = folder, zones, address
        self.port = port or free_port(address)  # of unbound, which is to be asked
        self.nsd_port = free_port(address)
        self.anchor = folder / "root.ds"
        self.resolver = f"{address}@{self.port}"
        self._modules = "validator iterator" if validate else "iterator"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._serial = 1

    def settings(self) -> dict[str, str]:
        """For the environment of a server that is to ask these."""
        return {"SMTP_DNS_SERVERS": self.resolver, "SMTP_DNS_TRUST_ANCHOR": str(self.anchor)}

    def __enter__(self) -> DnsServers:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> DnsServers:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_zones()
        self._configure()
        try:
            self.start_nsd()
            self.start_unbound()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        for name in tuple(self._processes):
            self._end(name, signal.SIGTERM)

    def start_nsd(self) -> None:
        self._run("nsd", "-d", "-c", str(self.folder / "nsd.conf"))
        self._wait("nsd", self.nsd_port)

    def start_unbound(self) -> None:
        self._run("unbound", "-d", "-p", "-c", str(self.folder / "unbound.conf"))
        self._wait("unbound", self.port)

    def kill_nsd(self) -> None:
        self._end("nsd", signal.SIGTERM)  # its children end with it only when it is asked

    def kill_unbound(self) -> None:
        """The resolver is gone at once, as if the machine had lost it."""
        self._end("unbound", signal.SIGKILL)

    def stall_unbound(self) -> None:
        """The resolver is there and says nothing."""
        self._processes["unbound"].send_signal(signal.SIGSTOP)

    def resume_unbound(self) -> None:
        self._processes["unbound"].send_signal(signal.SIGCONT)

    def serve(self, zones: tuple[Zone, ...]) -> None:
        """Other contents from now on; what unbound has cached is forgotten."""
        self.kill_unbound()
        self.kill_nsd()
        self.zones = zones
        self._serial += 1
        self._write_zones()
        self._configure()
        self.start_nsd()
        self.start_unbound()

    def _write_zones(self) -> None:
        delegations = ["ns.invalid. IN A 127.0.0.1"]
        for zone in self.zones:
            delegations.append(f"{zone.name}. IN NS ns.invalid.")
            keys = self._write(zone)
            if keys:
                delegations.append(keys)
        # `invalid` is not delegated; the name server's address stands in the root itself.
        root = Zone("", "\n".join(delegations) + "\n", signed=True)
        self.anchor.write_text(self._write(root))

    def _write(self, zone: Zone) -> str:
        """Write a zone's file and sign it if it is to be; its DS record, "" for an unsigned one."""
        file = self._file(zone)
        file.write_text(zone.text(self._serial))
        if not zone.signed:
            return ""
        apex = zone.name.rstrip(".") + "."
        key = self.folder / f"{file.name}.key-name"
        if not key.exists():
            made = self._tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", apex)
            key.write_text(made.strip())
        name = key.read_text()
        self._tool("ldns-signzone", "-f", f"{file.name}.signed", "-o", apex, file.name, name)
        signed = self.folder / f"{file.name}.signed"
        text = signed.read_text()
        if zone.tampered[0]:
            assert zone.tampered[0] in text
            text = text.replace(*zone.tampered)
        file.write_text(text)
        return (self.folder / f"{name}.ds").read_text()

    def _file(self, zone: Zone) -> Path:
        return self.folder / f"zone-{zone.name.rstrip('.') or 'root'}"

    def _configure(self) -> None:
        folder = self.folder
        nsd = [
            "server:",
            f"  ip-address: {self.address}@{self.nsd_port}",
            f'  zonesdir: "{folder}"',
            f'  pidfile: "{folder}/nsd.pid"',
            f'  xfrdfile: "{folder}/xfrd.state"',
            f'  zonelistfile: "{folder}/zone.list"',
            '  username: ""',
            "  server-count: 1",
            "  rrl-ratelimit: 0",
            "  hide-version: yes",
            "remote-control:",
            "  control-enable: no",
        ]
        for zone in (*self.zones, Zone("", "")):
            nsd += ["zone:", f'  name: "{zone.name.rstrip(".")}."', f'  zonefile: "{self._file(zone).name}"']
        (folder / "nsd.conf").write_text("\n".join(nsd) + "\n")
        unbound = [
            "server:",
            f"  interface: {self.address}@{self.port}",
            "  access-control: 0.0.0.0/0 allow",
            f'  directory: "{folder}"',
            f'  pidfile: "{folder}/unbound.pid"',
            '  username: ""',
            '  chroot: ""',
            "  use-syslog: no",
            "  verbosity: 1",
            "  val-log-level: 1",
            "  num-threads: 1",
            "  do-not-query-localhost: no",
            "  do-ip6: no",
            f'  module-config: "{self._modules}"',
            f'  trust-anchor-file: "{self.anchor}"',
            '  root-hints: ""',
            "  infra-host-ttl: 1",
            "  unblock-lan-zones: yes",
            '  local-zone: "test." nodefault',
            '  local-zone: "home.arpa." nodefault',
            "stub-zone:",
            '  name: "."',
            f"  stub-addr: {self.address}@{self.nsd_port}",
            "remote-control:",
            "  control-enable: no",
        ]
        (folder / "unbound.conf").write_text("\n".join(unbound) + "\n")

    def _tool(self, *argv: str) -> str:
        done = subprocess.run(
            argv, cwd=self.folder, capture_output=True, text=True, timeout=60, check=False, env={"PATH": _PATH}
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=_PATH)
        assert program is not None, missing()
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [program, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def _wait(self, name: str, port: int, seconds: float = 20) -> None:
        """Until the server answers for the root."""
        question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack(">HH", 6, 1)
        end = time.monotonic() + seconds
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            while time.monotonic() < end:
                if self._processes[name].poll() is not None:
                    break
                try:
                    probe.sendto(question, (self.address, port))
                    reply = probe.recv(4096)
                except OSError:
                    time.sleep(0.02)
                    continue
                if reply[3] & 0xF == 0 and reply[7]:
                    return
        log = (self.folder / f"{name}.log").read_text()[-2000:]
        raise OSError(f"{name} does not answer: {log}")
