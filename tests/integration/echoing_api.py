"""In place of the API behind nginx: it answers with what it was asked, and one of its answers breaks."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from tests.unit.api.broken_stream import application as streams


def _seen(connection: Any) -> dict[str, Any]:
    headers = [[name.decode(), value.decode()] for name, value in connection.scope["headers"]]
    return {"path": connection.url.path, "query": connection.url.query, "headers": headers}


async def _echo(request: Request) -> JSONResponse:
    answered = {"X-Content-Type-Options": "nosniff", "Strict-Transport-Security": "max-age=1"}
    return JSONResponse(_seen(request), headers=answered)


async def _elsewhere(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("echo"))


async def _live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(json.dumps(_seen(socket)))
    async for text in socket.iter_text():
        await socket.send_text(text)


def application() -> ASGIApp:
    """Make the application."""
    streamed = streams()
    others = Starlette(
        routes=[
            Route("/echo", _echo, name="echo", methods=["GET", "POST"]),
            Route("/elsewhere", _elsewhere),
            WebSocketRoute("/live", _live),
        ]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answering = streamed if scope.get("path") in {"/whole", "/broken"} else others
        await answering(scope, receive, send)

    return app
