"""The stack on one machine: what runs, how it is configured, started, watched and stopped."""
