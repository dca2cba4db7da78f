"""Answers about health."""

from typing import Literal

from pydantic import BaseModel, Field


class Live(BaseModel):
    """The process runs."""

    status: Literal["live"] = "live"


class Ready(BaseModel):
    """The service can answer."""

    status: Literal["ready"] = "ready"
    tables: int = Field(description="Number of tables that are there to be read")
