"""What tests of a real server share."""

import pytest

from running import Running


@pytest.fixture
def own(tmp_path):
    """A running server of the test's own, that may be stopped, killed and started again."""
    running = Running(tmp_path / "data").start()
    yield running
    if running.process.poll() is None:
        running.stop()
