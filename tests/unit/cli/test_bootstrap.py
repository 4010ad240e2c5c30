"""`./pillarbox`: makes its environment once, makes a half made or moved one anew, and becomes the program.

The lock file here is empty, so nothing is fetched; the environment itself is a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "pillarbox"
PROGRAM = """
import os, sys

def main():
    print(os.getpid(), sys.prefix, *sys.argv[1:])
    return 7
"""


def make_checkout(place: Path) -> Path:
    package = place / "src" / "pillarbox" / "cli"
    package.mkdir(parents=True)
    (place / "requirements").mkdir()
    (place / "requirements" / "runtime.lock").write_text("# nothing\n")
    (place / "requirements" / "dev.lock").write_text("# nothing\n")
    for name in ("pillarbox", "smtp_server", "user_cli"):
        (package / f"{name}.py").write_text(PROGRAM)
    shutil.copy(SCRIPT, place / "pillarbox")
    return place


def run(checkout: Path, *argv: str) -> tuple[int, list[str], str]:
    """Status, words on stdout after checking that the pid stayed the same, stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    process = subprocess.Popen(
        [checkout / "pillarbox", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    out, err = process.communicate(timeout=120)
    words = out.split()
    assert not words or words[0] == str(process.pid), "it has become another process"
    return process.returncode, words[1:], err


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make_checkout(tmp_path_factory.mktemp("a place with blanks") / "checkout")
    status, words, err = run(place, "try", "--json")
    assert (status, words) == (7, [*f"{place}/.venv".split(), "try", "--json"]), err
    assert "pillarbox: ready" in err
    return place


def test_the_second_start_makes_nothing(checkout: Path) -> None:
    status, words, err = run(checkout, "check")
    assert (status, words[-1], err) == (7, "check", "")


@pytest.mark.parametrize("command", ["pillarbox", "smtp-server", "user-cli"])
def test_the_commands_are_in_bin_and_can_be_copied(checkout: Path, tmp_path: Path, command: str) -> None:
    copy = shutil.copy(checkout / ".venv" / "bin" / command, tmp_path / command)
    done = subprocess.run([copy, "x y"], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.endswith(" x y\n")


def stamp_is_refused(checkout: Path) -> bool:
    """Whether the next start would make the environment anew, seen without letting it."""
    venv = checkout / ".venv"
    hidden = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
    # Without tools in PATH it can look, and then not make anything.
    tools = checkout / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("dirname", "readlink", "cksum", "tr", "sed", "printf", "flock"):
        if (found := shutil.which(tool)) and not (tools / tool).exists():
            (tools / tool).symlink_to(found)
    done = subprocess.run(
        ["/bin/sh", checkout / "pillarbox", "x"],
        capture_output=True,
        text=True,
        env={**hidden, "PATH": str(tools)},
        check=False,
    )
    assert venv.exists()
    return done.returncode != 7


def test_half_made_moved_and_outdated_environments_are_refused(checkout: Path) -> None:
    assert not stamp_is_refused(checkout)
    stamp = checkout / ".venv" / ".pillarbox-stamp"
    good = stamp.read_text()
    stamp.unlink()  # killed before the end
    assert stamp_is_refused(checkout)
    stamp.write_text(good.replace(str(checkout), "/elsewhere"))
    assert stamp_is_refused(checkout)
    stamp.write_text(good)
    lock = checkout / "requirements" / "runtime.lock"
    lock.write_text("# something new\n")
    assert stamp_is_refused(checkout)
    lock.write_text("# nothing\n")
    assert not stamp_is_refused(checkout)
