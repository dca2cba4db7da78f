"""Fault scenarios: streams with a ledger, breaks something, and proves that no event was lost or doubled."""
