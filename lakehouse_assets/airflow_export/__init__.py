"""The schedules and jobs of the code location as Airflow DAGs, whose tasks call a running Dagster."""
