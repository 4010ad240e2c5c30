"""A full disk: 4xx, nothing half done, and it goes on when there is room. On a small tmpfs; needs root to mount it."""

import os
import smtplib
import subprocess
import time
from collections.abc import Callable

import pytest

from running import Running, without_trace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount the small disk")
MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """A disk of 400 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def send(server: Running, name: str, size: int) -> int:
    """The code of the last reply, over a connection of its own."""
    noise = os.urandom(size // 2).hex()
    lines = "\r\n".join(noise[i : i + 900] for i in range(0, len(noise), 900))
    body = f"Subject: {name}\r\n\r\n{lines}\r\n"
    with server.smtp() as client:
        try:
            client.sendmail("a@elsewhere.test", server.accounts[0][0], body.encode())
        except smtplib.SMTPResponseException as refused:
            return refused.smtp_code
        except smtplib.SMTPRecipientsRefused as refused:
            return next(iter(refused.recipients.values()))[0]
    return 250


def fill(disk, leave: int) -> None:
    """Other files take all room but `leave` octets. In steps, since the server takes room too meanwhile."""
    with open(disk / "filler", "ab", buffering=0) as filler:
        while (spare := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave) > 0:
            filler.write(bytes(min(spare, max(MIB // 4, spare // 2))))


def names(server: Running) -> set[str]:
    return {without_trace(m).split(b"\r\n")[0].decode().removeprefix("Subject: ") for m in server.messages().values()}


def test_with_little_room_mail_is_put_off_before_the_disk_is_full(disk):
    server = Running(disk / "data").start()
    try:
        assert send(server, "first", 1000) == 250
        fill(disk, 100 * MIB)
        assert eventually(lambda: send(server, "early", 1000), 452) == 452  # the gauge may be seconds old
        assert send(server, "refused", 1000) == 452
        (disk / "filler").unlink()
        assert eventually(lambda: send(server, "second", 1000), 250) == 250
        assert names(server) - {"early"} == {"first", "second"}
        server.check()
    finally:
        assert server.stop() == 0


def test_when_the_disk_is_really_full_nothing_is_half_done(disk):
    server = Running(disk / "data", env={"SMTP_DISK_RESERVE": "0"}).start()
    try:
        accepted = set()
        fill(disk, 3 * MIB)
        codes = []
        for number in range(60):
            code = send(server, f"m{number}", 200_000 if number % 3 else 2_000_000)
            codes.append(code)
            if code == 250:
                accepted.add(f"m{number}")
        assert set(codes) <= {250, 451, 452}
        assert 452 in codes
        assert names(server) == accepted
        (disk / "filler").unlink()
        assert eventually(lambda: send(server, "after", 300_000), 250) == 250
        assert names(server) == accepted | {"after"}
        server.check()
    finally:
        assert server.stop() == 0
    server.check()


def eventually(attempt: Callable[[], int], wanted: int, seconds: float = 15) -> int:
    """The free space is looked at every few seconds, not for every message: ask until the answer is the one."""
    end = time.monotonic() + seconds
    while (code := attempt()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    return code
