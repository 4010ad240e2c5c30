"""One booted machine for all tests of a run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from boot.machine import CONFIG, HOSTS, INSTALL, PACKAGES, PLAIN, ROOT, ROOTFS, UNIT, Machine


@pytest.fixture(scope="session")
def machine():
    if not ROOTFS:
        pytest.skip("PILLARBOX_ROOTFS is not set: no Debian to boot")
    if os.geteuid() != 0:
        pytest.skip("only root can boot a container")
    base = Path(ROOTFS)
    if not (base / "etc/debian_version").exists():
        argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    root = base.parent / f"{base.name}-run"
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", str(base), str(root)], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    subprocess.run(["cp", "-a", "/etc/ssl/certs/.", str(root / "etc/ssl/certs/")], check=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root / "opt/pillarbox")], check=True)
    # Another version beside it, for the upgrade: made now, for the booted machine has no network.
    new = root / "opt/pillarbox-new"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(new)], check=True)
    (new / "src/pillarbox/__init__.py").write_text('"""A later version."""\n\n__version__ = "9.9.9"\n')
    for name in ("pillarbox", "pillarbox-new"):
        subprocess.run(["chroot", str(root), f"/opt/{name}/pillarbox", "--version"], check=True, env=PLAIN)
    (root / "etc/smtp-server").mkdir()
    (root / "etc/smtp-server/config.env").write_text(CONFIG)
    (root / "etc/hosts").write_text(HOSTS)
    (root / "etc/systemd/system/smtp-server.service").write_text(UNIT)
    booted = Machine(root)
    try:
        booted.run("ip link set lo up 2>/dev/null || true")
        booted.run(INSTALL)
        yield booted
    finally:
        booted.off()
        shutil.rmtree(root, ignore_errors=True)
