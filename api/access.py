"""The way in: who sends a request below ``/v1`` is known before anything else looks at it."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.prepared import PreparedRequests
from api.security import authenticate, permit, sent_key

PROTECTED = "/v1/"


class Access:
    """Middleware that lets in requests with a valid key or token only, and raises a ProblemError for others.

    Those that were prepared are answered here, if their sender may have the answer; the routes see to others. A
    WebSocket asks for the key itself: it may come as the first message.
    """

    def __init__(self, app: ASGIApp, prepared: PreparedRequests) -> None:
        self._app = app
        self._prepared = prepared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        caller = await authenticate(request, *sent_key(request.headers))
        prepared = self._prepared.find(scope)
        if prepared is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = prepared.route
        permit(request, caller, prepared.action, prepared.table)
        answer = await prepared.answer(request)
        await answer(scope, receive, send)
