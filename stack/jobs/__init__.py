"""Flink jobs as deployments: submitted, kept running, stopped with a savepoint, continued from it."""
