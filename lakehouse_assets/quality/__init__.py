"""What the checks of all tables said: kept as a table, shown as a report."""
