"""Live values: the newest reading of each sensor, and the last five minutes of each zone."""
