"""Proxies that break what passes through them: one speaks HTTP to the catalog, one relays bytes to S3."""
