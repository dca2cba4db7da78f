"""One connection: a request at a time, and its answer as far as it has come."""

import socket

import httptools

RECEIVE_BYTES = 1 << 18


class Answer:
    """What httptools has found in an answer; it calls these methods."""

    def __init__(self) -> None:
        self.body_bytes = 0
        self.is_whole = False

    def on_body(self, body: bytes) -> None:
        """Count a piece of the body, which is not kept."""
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Note that the answer has ended."""
        self.is_whole = True


class Connection:
    """A socket that does not block."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        """When the request under way was due."""
        self.answer = Answer()
        self._parser = httptools.HttpResponseParser(self.answer)

    @property
    def status(self) -> int:
        """Status of the answer that comes."""
        return self._parser.get_status_code()

    def send(self, request: bytes, due: float) -> None:
        """Send a request, which is small enough for the socket's buffer."""
        self.due = due
        self.answer = Answer()
        self._parser = httptools.HttpResponseParser(self.answer)
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; returns whether there is more to wait for.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        if not data:
            raise ConnectionError("closed by the server")
        self._parser.feed_data(data)
        return not self.answer.is_whole

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
