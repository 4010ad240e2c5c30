"""`./pillarbox`: makes its environment once, makes a half made or moved one anew, and becomes the program.

The lock file here is empty, so nothing is fetched; the environment itself is a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
    for name in ("pillarbox", "smtp_server", "user_cli", "sendmail", "mailq"):
        (package / f"{name}.py").write_text(PROGRAM)
    shutil.copy(SCRIPT, place / "pillarbox")
    return place


def environment() -> dict[str, str]:
    """Ours, without what tells a Python or its pip how to be."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}


def run(checkout: Path, *argv: str, **variables: str) -> tuple[int, list[str], str]:
    """Status, words on stdout after checking that the pid stayed the same, stderr."""
    process = subprocess.Popen(
        [checkout / "pillarbox", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | variables,
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


@pytest.mark.parametrize("command", ["pillarbox", "smtp-server", "user-cli", "sendmail", "mailq"])
def test_the_commands_are_in_bin_and_can_be_copied(checkout: Path, tmp_path: Path, command: str) -> None:
    copy = shutil.copy(checkout / ".venv" / "bin" / command, tmp_path / command)
    done = subprocess.run([copy, "x y"], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 7, done.stderr
    assert done.stdout.endswith(" x y\n")


def run_without_tools(checkout: Path) -> subprocess.CompletedProcess[str]:
    """A start with a PATH that is enough to look and too little to make anything."""
    hidden = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
    tools = checkout / "tools"
    tools.mkdir(exist_ok=True)
    for tool in ("dirname", "readlink", "cksum", "tr", "sed", "flock"):
        if (found := shutil.which(tool)) and not (tools / tool).exists():
            (tools / tool).symlink_to(found)
    environment = {**hidden, "PATH": str(tools)}
    argv = ["/bin/sh", checkout / "pillarbox", "x"]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)


def stamp_is_refused(checkout: Path) -> bool:
    """Whether the next start would make the environment anew, seen without letting it."""
    done = run_without_tools(checkout)
    assert (checkout / ".venv").exists()
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


def test_an_environment_whose_python_has_gone_is_refused(checkout: Path) -> None:
    """An upgrade of the system takes its old Python away; what is left in `.venv` is a link to nothing."""
    python = checkout / ".venv" / "bin" / "python"
    was = os.readlink(python)
    python.unlink()
    python.symlink_to("/usr/bin/python3.99")
    stamp = checkout / ".venv" / ".pillarbox-stamp"
    good = stamp.read_text()
    stamp.write_text(good.replace(str(Path(checkout / ".venv/bin" / was).resolve()), "/usr/bin/python3.99"))
    assert stamp.read_text() != good
    try:
        assert stamp_is_refused(checkout)
        assert "pillarbox: making" in run_without_tools(checkout).stderr
    finally:
        python.unlink()
        python.symlink_to(was)
        stamp.write_text(good)


def test_a_command_that_came_later_is_added(checkout: Path) -> None:
    (checkout / ".venv" / "bin" / "mailq").unlink()  # made by a checkout that had none
    status, words, err = run(checkout, "check")
    assert (status, words[-1], err) == (7, "check", "")
    mailq = checkout / ".venv" / "bin" / "mailq"
    done = subprocess.run([mailq], capture_output=True, check=False, env=environment())
    assert done.returncode == 7


def test_a_path_that_is_too_long_for_a_first_line_works(tmp_path: Path) -> None:
    place = make_checkout(tmp_path / ("long" * 30) / "checkout")
    status, words, err = run(place, "x")
    assert (status, words[-1]) == (7, "x"), err
    assert (place / ".venv/bin/smtp-server").read_text().startswith("#!/bin/sh\n")


def test_it_is_made_with_the_python_that_is_asked_for(tmp_path: Path) -> None:
    place = make_checkout(tmp_path / "checkout")
    status, words, err = run(place, "try", PILLARBOX_PYTHON="python0.1")
    assert (status, words) == (1, [])
    assert err == "pillarbox: PILLARBOX_PYTHON=python0.1 is no Python 3.11 or newer\n"
    asked = tmp_path / "python-of-mine"
    asked.symlink_to(os.path.realpath(sys.executable))
    status, words, err = run(place, "try", PILLARBOX_PYTHON=str(asked))
    assert (status, words[-1]) == (7, "try"), err
    assert (place / ".venv/bin/python").resolve() == Path(os.path.realpath(sys.executable))
