"""A worker of the server: ``granian --interface asgi --factory api.worker:create_worker``."""

import gc
from typing import TYPE_CHECKING, Any

from api.memory import share_arenas
from resources.service import end_with_parent

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_worker() -> "FastAPI":
    """The application in a worker, which ends with the server: with a log of JSON lines, and metrics.

    Raises:
        SettingsError: the environment does not give the settings.
    """
    return start()


def start(**options: Any) -> "FastAPI":  # noqa: ANN401  those of create_app
    """The same with options of :func:`api.app.create_app`."""
    end_with_parent()
    share_arenas()
    # all that is made until the first request is there to stay: to look for garbage in it took a tenth of the time
    # that a start takes, and would do so again with each full collection
    gc.disable()
    try:
        from api.app import create_app
        from api.logs import write_json_lines

        write_json_lines()
        return create_app(serve_metrics=True, **options)
    finally:
        gc.freeze()
        gc.enable()
