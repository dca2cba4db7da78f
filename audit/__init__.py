"""Proof of exactly-once: arithmetic on the offsets that travel with the rows; and the repair of doubled rows."""
