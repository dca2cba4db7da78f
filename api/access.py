"""The way in: who sends a request below ``/v1`` is known before anything else looks at it."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.callers import sent_key
from api.headers import has_begun, sent_headers
from api.prepared import PreparedRequests
from api.problems import ProblemError, problem_of
from api.security import authenticate, permit

PROTECTED = "/v1/"


class Access:
    """Middleware that lets in requests with a valid key or token only, and answers others with a problem.

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
        try:
            answer = await self._answer(request)
            await answer(scope, receive, send)
        except ProblemError as error:
            # what is sent in pieces may fail before the first one, or later, and has no status left to say so
            if has_begun(scope):
                raise
            await problem_of(request, error)(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        """What answers ``request``.

        Raises:
            ProblemError: nothing does.
        """
        caller = await authenticate(request, *sent_key(sent_headers(request.scope)))
        prepared = self._prepared.find(request.scope)
        if prepared is None:
            return self._app
        request.scope["route"] = prepared.route
        permit(request, caller, prepared.action, prepared.table)
        return await prepared.answer(request)
