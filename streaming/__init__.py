"""Always-on PyFlink jobs: one per family of sensors, from its Kafka topic to its Iceberg tables."""
