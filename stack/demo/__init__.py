"""``./lakehouse demo``: sensors to API in one command, every count held against the ledger."""
