"""The one settings class: everything that differs between a laptop and a cluster, read from the environment."""

from settings.model import Settings, SettingsError, load_settings
from settings.spark import SparkMode

__all__ = ["Settings", "SettingsError", "SparkMode", "load_settings"]
