"""Settings, profiles, validation: the only reader of the environment and of configuration files.

Must not know: what the settings are used for.
"""

from pillarbox.config.problem import Problem
from pillarbox.config.settings import Loaded, Settings, load

__all__ = ["Loaded", "Problem", "Settings", "load"]
