"""Settings of the Airflow that tests run: a savepoint on SQLite takes the lock of the writer with it.

A savepoint alone begins a transaction that only reads. If another process writes between what it reads and its own
first write, SQLite refuses that write at once, without waiting (https://sqlite.org/lang_transaction.html, 2.1).
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

__all__ = ()


@event.listens_for(Engine, "savepoint")
def begin_to_write(connection: Any, _: str) -> None:
    """Wait for other writers before anything is read."""
    if connection.dialect.driver == "pysqlite" and not connection.connection.dbapi_connection.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
