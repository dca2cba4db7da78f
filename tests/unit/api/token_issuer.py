"""An issuer of tokens of the tests' own: its keys over HTTP, and tokens put together by hand from the RFCs."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from settings import TokenSettings

ISSUER = "https://issuer.example.org/realms/city"
AUDIENCE = "https://lakehouse.example.org"
DAY_S = 86_400
"""How long a token is good: some are made when tests are collected, and used half a session later."""


def encoded(content: bytes | dict[str, Any]) -> str:
    """Base64url without padding (RFC 7515, section 2), of JSON where it is not bytes."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return encoded(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class RsaKey:
    """A key for RS256 (RFC 7518, section 3.3)."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.algorithm = "RS256"
        self._key = rsa.generate_private_key(65537, 2048)

    @property
    def published(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "kid": self.identifier,
            "use": "sig",
            "alg": self.algorithm,
            "n": number(numbers.n),
            "e": number(numbers.e),
        }

    def sign(self, text: bytes) -> bytes:
        return self._key.sign(text, padding.PKCS1v15(), hashes.SHA256())


class EcKey:
    """A key for ES256 (RFC 7518, section 3.4)."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.algorithm = "ES256"
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def published(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "EC",
            "kid": self.identifier,
            "crv": "P-256",
            "x": number(numbers.x, 32),
            "y": number(numbers.y, 32),
        }

    def sign(self, text: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


Key = RsaKey | EcKey


def claims(**others: Any) -> dict[str, Any]:
    """Those of a good token; one that is given as ``None`` is left out."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "dashboard", "iat": now, "exp": now + DAY_S, "scope": "read:*"}
    return {name: value for name, value in {**usual, **others}.items() if value is not None}


def token(key: Key, *, header: dict[str, Any] | None = None, **others: Any) -> str:
    """A token that ``key`` signs; ``header`` and ``others`` replace what is usual."""
    head = {"alg": key.algorithm, "kid": key.identifier, "typ": "at+jwt", **(header or {})}
    signed = f"{encoded(head)}.{encoded(claims(**others))}"
    return f"{signed}.{encoded(key.sign(signed.encode()))}"


class Issuer:
    """Publishes the keys that it is told to, and counts how often it is asked."""

    def __init__(self, *keys: Key) -> None:
        self.keys: list[Key] = list(keys)
        self.status = 200
        self.asked = 0
        self.answering = threading.Event()
        self.answering.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                issuer.answering.wait()
                body = json.dumps({"keys": [key.published for key in issuer.keys]}).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def settings(self) -> TokenSettings:
        url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        return TokenSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url=url)

    @contextmanager
    def running(self) -> Iterator["Issuer"]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.answering.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
