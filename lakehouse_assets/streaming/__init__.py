"""Topics and the tables that Flink writes: external assets, reported by a sensor and checked by a job."""
