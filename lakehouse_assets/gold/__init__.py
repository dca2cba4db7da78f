"""Tables that Spark recomputes a day at a time."""
