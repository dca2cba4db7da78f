"""What is claimed about speed, runnable: ``./lakehouse bench``."""
