"""What tests of a real server share."""

import pytest
from hypothesis import settings

from own_postgres import postgres_server
from running import Running

__all__ = ["postgres_server"]

# How long an example takes says more of what else the machine does than of the code: time is measured in bench/.
settings.register_profile("pillarbox", deadline=None)
settings.load_profile("pillarbox")


@pytest.fixture
def own(tmp_path):
    """A running server of the test's own, that may be stopped, killed and started again."""
    running = Running(tmp_path / "data").start()
    yield running
    if running.process.poll() is None:
        running.stop()
