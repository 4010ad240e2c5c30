"""Settings, profiles, validation: the only reader of the environment and of configuration files.

Must not know: what the settings are used for.
"""
