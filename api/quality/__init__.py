"""What the checks of the tables said, and the report over it."""
