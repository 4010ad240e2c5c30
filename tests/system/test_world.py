"""The suite `tests/world`, which needs a network of its own: Pillarbox between real servers and a real, signed DNS.

It runs inside a network and a mount namespace, so that everybody has port 25 and its own resolver, and nothing leaves
the machine. For one test of it: `WORLD="-k bounce" .venv/bin/pytest tests/system/test_world.py`.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import dns_servers
import peers

WORLD = Path(__file__).resolve().parent.parent / "world"
SCRIPT = """
ip link set lo up
ip address add fd00::1/128 dev lo 2>/dev/null
for n in 11 12 13 14 15; do ip address add 127.0.0.$n/32 dev lo; done
mount --bind "$1" /etc/resolv.conf
shift
exec "$@"
"""


def lacking() -> str:
    if os.geteuid() != 0:
        return "only root makes namespaces"
    lost = [name for name in ("ip", "unshare", "postfix", "smtp-sink", "swaks") if shutil.which(name) is None]
    return f"not installed: {', '.join(lost)}" if lost else dns_servers.missing()


@pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")
def test_the_world():
    # Not below pytest's own folder, which only this user enters: the peers run as users of their own.
    with tempfile.TemporaryDirectory(prefix="pillarbox-world-") as folder:
        play(Path(folder))


def play(folder: Path) -> None:
    try:
        exim = peers.unpack_exim(folder)
    except (OSError, subprocess.CalledProcessError):
        exim = None  # its tests are skipped, and say so
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1\n")
    pytest_argv = [
        sys.executable,
        "-m",
        "pytest",
        str(WORLD),
        "-p",
        "no:cacheprovider",
        "-rs",
        f"--basetemp={folder}/t",
    ]
    argv = ["unshare", "-n", "-m", "--", "sh", "-c", SCRIPT, "sh", str(folder / "resolv.conf"), *pytest_argv]
    argv += shlex.split(os.environ.get("WORLD", ""))
    env = {**os.environ, "PILLARBOX_WORLD": "1"} | ({peers.EXIM_ROOT: str(exim)} if exim else {})
    done = subprocess.run(
        argv, env=env, cwd=WORLD.parent.parent, capture_output=True, text=True, timeout=900, check=False
    )
    print(done.stdout[-20_000:])
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-4000:]
