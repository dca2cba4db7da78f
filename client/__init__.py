"""A typed client of the API.

from client import Lakehouse

with Lakehouse("http://127.0.0.1:8000", key) as lakehouse:
    rows = lakehouse.rows("gold.traffic_hourly", where={"zone": "harbour"}, order=["-window_start"])
    frame = rows.to_pandas()  # or polars.from_arrow(rows), or duckdb.sql("FROM rows")
"""

from client.errors import ApiError, NotReachableError
from client.lakehouse import Change, Lakehouse, Page
from client.models import Check, Column, Table, TableQuality, TableState, Windows

__all__ = [
    "ApiError",
    "Change",
    "Check",
    "Column",
    "Lakehouse",
    "NotReachableError",
    "Page",
    "Table",
    "TableQuality",
    "TableState",
    "Windows",
]
