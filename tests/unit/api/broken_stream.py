"""A server's application whose answer at ``/broken`` fails in the middle, for the test of that."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from api.catalog import CatalogReader
from api.rows.streaming import StreamedAnswer
from settings import Settings

WHOLE = b"0123456789" * 10_000


def _pieces(*, broken: bool) -> Generator[bytes, None, None]:
    yield WHOLE[:50_000]
    if broken:
        raise OSError("the store is gone")
    yield WHOLE[50_000:]


def _no_catalog(_: Settings) -> Any:
    raise AssertionError


def application() -> ASGIApp:
    """Make the application."""
    unused = "not-used-by-these-tests"
    secrets = dict.fromkeys(("s3_access_key", "s3_secret_key", "redis_password", "api_key"), unused)
    here = Path(__file__).parent
    reader = CatalogReader(Settings(home=here, toolchain=here, _env_file=None, **secrets), _no_catalog, [])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            pieces = _pieces(broken=scope["path"] == "/broken")
            await StreamedAnswer(reader, pieces, media_type="text/plain", fields=[])(scope, receive, send)

    return app
