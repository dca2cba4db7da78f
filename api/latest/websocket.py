"""The changes of a family over a WebSocket (RFC 6455): the events of the stream, for who cannot read that."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

import anyio
import orjson
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.exceptions import WebSocketRequestValidationError
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from api.callers import sent_key
from api.headers import sent_headers
from api.latest.changes import Change, ChangeFeed, StreamEnd, StreamEndedError, Subscriber
from api.latest.events import EVENT_KINDS, RESET, EventFilter, last_word, written
from api.problems import InvalidParameter, InvalidParametersError, ProblemError, problem_of
from api.security import Permission, authenticate, permit
from contracts import Family, bronze_events
from resources.api_keys import Action
from resources.hot_view import document

KEY_WITHIN_S = 10.0
"""How long a client that sent no key in a header may take to send it as its first message."""
LONGEST_KEY_MESSAGE = 16_384

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
UNAUTHORIZED, FORBIDDEN, TIMEOUT = 3000, 3003, 3008
"""Close codes, as registered with IANA ("WebSocket Close Code Number Registry")."""
SERVICE_RESTART = 1012
MOST_REASON_BYTES = 123
"""What fits into the frame beside the code (RFC 6455, section 5.5)."""
CUT_SHORT = b" ..."

CLOSE_CODES = {
    StreamEnd.SLOW: POLICY_VIOLATION,
    StreamEnd.AWAY: TRY_AGAIN_LATER,
    StreamEnd.CLOSING: SERVICE_RESTART,
    StreamEnd.REFUSED: UNAUTHORIZED,
}


CODES_OF_PROBLEMS = {HTTPStatus.UNAUTHORIZED: UNAUTHORIZED, HTTPStatus.FORBIDDEN: FORBIDDEN}

GONE = (WebSocketDisconnect, RuntimeError)
"""What sending raises when the client is gone: of servers, some the one and some the other."""

logger = logging.getLogger(__name__)


class NoKeyMessageError(ProblemError):
    """A client that sent no key in a header sends something else first."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.UNAUTHORIZED, 'send a key in the header X-API-Key, or {"key": "..."} as the first message'
        )


class KeyMessage(BaseModel):
    """The first message of a client that cannot send headers, as a browser."""

    model_config = ConfigDict(extra="forbid")

    key: SecretStr


class TextFrames:
    """Writes what a client is sent as JSON objects, each with the events since the one before."""

    def changes(self, changes: Sequence[Change]) -> bytes:
        """All changes in one."""
        return _frame(
            changes[-1].id,
            b",".join(
                b'{"id":"%b","event":"%b","data":%b}'
                % (change.id.encode(), EVENT_KINDS[change.subject].encode(), document(change.entry))
                for change in changes
            ),
        )

    def nothing_new(self, position: str) -> bytes:
        """One without events."""
        return _frame(position, b"")

    def reset(self, detail: str, position: str) -> bytes:
        """An event of its own kind."""
        return _frame(position, orjson.dumps({"id": position, "event": RESET, "data": {"detail": detail}}))


def _frame(position: str, events: bytes) -> bytes:
    return b'{"last_event_id":"%b","events":[%b]}' % (position.encode(), events)


async def follow(
    websocket: WebSocket, feed: ChangeFeed, family: Family, wanted: EventFilter, *, after: str | None
) -> None:
    """Serve one client until it goes away, is too slow or no longer permitted, or Redis is away.

    Where the key is in a header, what is wrong is answered as in any other request; what is wrong later closes the
    connection, with a code and a reason.
    """
    header, bearer = sent_key(sent_headers(websocket.scope))
    subscriber: Subscriber | None = None
    try:
        if header is not None or bearer is not None:
            try:
                permission = await _permit(websocket, header, bearer, family)
                subscriber = await feed.join(family.name, after=after)
            except ProblemError as problem:
                await deny(websocket, problem)
                return
        await websocket.accept()
        if subscriber is None:
            permission = await _permit(websocket, None, await _first_message(websocket), family)
            subscriber = await feed.join(family.name, after=after)
        await _send_changes(websocket, subscriber, wanted, permission)
    except ProblemError as problem:
        await _close(websocket, CODES_OF_PROBLEMS.get(problem.status, TRY_AGAIN_LATER), problem.detail)
    except TimeoutError:
        await _close(websocket, TIMEOUT, f"no key came within {KEY_WITHIN_S:g} s")
    except WebSocketDisconnect:
        return
    finally:
        if subscriber is not None:
            feed.leave(subscriber)


async def deny(websocket: WebSocket, problem: ProblemError) -> None:
    """Answer a connection that is not accepted with a problem document."""
    await websocket.send_denial_response(problem_of(websocket, problem))


def deny_invalid_parameters(app: FastAPI) -> None:
    """Make what is wrong with the parameters of a connection a problem document, as for other routes."""

    @app.exception_handler(WebSocketRequestValidationError)
    async def _validation(websocket: WebSocket, error: WebSocketRequestValidationError) -> None:
        errors = [InvalidParameter(parameter=str(each["loc"][-1]), detail=each["msg"]) for each in error.errors()]
        await deny(websocket, InvalidParametersError(errors))


async def _permit(websocket: WebSocket, header: str | None, bearer: str | None, family: Family) -> Permission:
    caller = await authenticate(websocket, header, bearer)
    table = bronze_events(family).identifier
    permit(websocket, caller, Action.LIVE, table)
    return Permission(websocket, header, bearer, Action.LIVE, table)


async def _first_message(websocket: WebSocket) -> str:
    """The key that a client sends which has sent none in a header.

    Raises:
        NoKeyMessageError: it sends something else.
        TimeoutError: it sends nothing.
        WebSocketDisconnect: it goes away.
    """
    async with asyncio.timeout(KEY_WITHIN_S):
        message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    text = message.get("text") or ""
    try:
        if len(text) > LONGEST_KEY_MESSAGE:
            raise NoKeyMessageError
        return KeyMessage.model_validate_json(text).key.get_secret_value()
    except ValidationError as error:
        raise NoKeyMessageError from error


async def _send_changes(
    websocket: WebSocket, subscriber: Subscriber, wanted: EventFilter, permission: Permission
) -> None:
    ended: StreamEndedError | None = None
    frames = TextFrames()
    with last_word(subscriber):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, websocket, tasks.cancel_scope)
            try:
                # says from when on nothing is missed
                await websocket.send_text(frames.nothing_new(subscriber.position).decode())
                async for piece in written(subscriber, wanted, frames, permission.holds):
                    await websocket.send_text(piece.decode())
            except StreamEndedError as error:
                ended = error
            except GONE:
                logger.debug("a client of the changes of %s is gone", subscriber.family)
            tasks.cancel_scope.cancel()
        # not before: Granian closes a connection only when nobody waits for a message
        if ended is not None:
            await _close(websocket, CLOSE_CODES[ended.end], str(ended))


async def _cancel_when_gone(websocket: WebSocket, scope: anyio.CancelScope) -> None:
    """Read, which is how a client that goes away is noticed; what it says is of no interest."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    written_reason = reason.encode()
    if len(written_reason) > MOST_REASON_BYTES:
        written_reason = written_reason[: MOST_REASON_BYTES - len(CUT_SHORT)] + CUT_SHORT
    with suppress(*GONE):
        await websocket.close(code, written_reason.decode(errors="ignore"))
