"""One module per family of sensors; each declares ``FAMILY``."""
