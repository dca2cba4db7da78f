"""The one settings class: everything that differs between a laptop and a cluster, read from the environment."""

from settings.access import UNLIMITED, Rate, TokenSettings, parse_rate
from settings.model import Settings, SettingsError, load_settings
from settings.spark import SparkMode

__all__ = [
    "UNLIMITED",
    "Rate",
    "Settings",
    "SettingsError",
    "SparkMode",
    "TokenSettings",
    "load_settings",
    "parse_rate",
]
