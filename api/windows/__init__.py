"""Windows of zones: the finished ones from Iceberg, the running ones from Redis."""
