"""Run with the streaming environment: writes the same rows with Flink's own JSON and with ``event-json``.

Arguments: a folder, and the rows as JSON, each a list of SQL literals. Flink writes a folder for each format, in
any order: the first column is the number of the row.
"""

import json
import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

COLUMNS = {
    "number": "INT",
    "text": "STRING",
    "flag": "BOOLEAN",
    "small": "INT",
    "large": "BIGINT",
    "measure": "DOUBLE",
    "micro_time": "TIMESTAMP_LTZ(6)",
    "milli_time": "TIMESTAMP_LTZ(3)",
}
FORMATS = {
    "json": "'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'",
    "event-json": "'format' = 'event-json'",
}


def main(folder: str, rows: list[list[str]]) -> None:
    environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    environment.get_config().set("table.local-time-zone", "UTC")
    environment.get_config().set("parallelism.default", "1")
    columns = ", ".join(f"`{name}` {type_}" for name, type_ in COLUMNS.items())
    values = ", ".join(
        "("
        + ", ".join(f"CAST({literal} AS {type_})" for literal, type_ in zip(row, COLUMNS.values(), strict=True))
        + ")"
        for row in rows
    )
    for name, options in FORMATS.items():
        environment.execute_sql(
            f"CREATE TEMPORARY TABLE `{name}` ({columns}) "
            f"WITH ('connector' = 'filesystem', 'path' = '{folder}/{name}', {options})"
        )
        environment.execute_sql(f"INSERT INTO `{name}` VALUES {values}").wait()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
