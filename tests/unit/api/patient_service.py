"""The application as a server's worker runs it, over a catalog in a folder, patient with a busy machine."""

import os

from fastapi import FastAPI
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.latest import events, reader

WAREHOUSE = "WAREHOUSE_OF_THE_TEST"
"""Variable of the environment with the folder."""


def create_worker() -> FastAPI:
    """Make the application."""
    events.LAST_WORD_S = reader.ANSWER_WITHIN_S = 60.0
    folder = os.environ.get(WAREHOUSE)
    return create_app(
        catalog_factory=lambda _: SqlCatalog(
            "lakehouse", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}"
        )
    )
