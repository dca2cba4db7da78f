"""Constants of any size: what the server itself, and the framework, cost an answer.

``granian --interface asgi benchmarks.bare:app``; ``/<bytes>`` is answered without a framework,
``/framework/<bytes>`` by a route of FastAPI that does nothing.
"""

from functools import cache

from fastapi import FastAPI, Response
from starlette.types import Receive, Scope, Send

JSON = "application/json"

framework = FastAPI(openapi_url=None)


@framework.get("/framework/{size}")
async def constant(size: int) -> Response:
    """Answer with ``size`` bytes."""
    return Response(_body(size), media_type=JSON)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    path: str = scope.get("path", "")
    if scope["type"] != "http" or path.startswith("/framework"):
        await framework(scope, receive, send)
        return
    body = _body(int(path[1:]))
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@cache
def _body(size: int) -> bytes:
    return b"0" * size
