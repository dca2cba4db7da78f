"""Generates ``<home>/local.env``: the secrets of a local stack and the ports that it listens on."""

import os
import random
import secrets
import socket
from pathlib import Path

from settings import Settings, load_settings
from settings.model import LocalPorts

SECRETS = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_PASSWORD", "API_KEY")
FREE_PORT_RANGE = (20_000, 32_000)
"""Below the ports that the kernel hands to outgoing connections."""


def load_local_settings(home: Path, *, choose_ports: bool = False) -> Settings:
    """Return the settings, generating secrets (and, if asked, free ports) on the first start.

    Args:
        home: the folder that holds all state.
        choose_ports: take ports that are free now instead of the well-known ones.
    """
    path = home / "local.env"
    if not path.exists():
        _write(path, choose_ports=choose_ports)
    return load_settings()


def is_free(port: int) -> bool:
    """Whether a service could listen on the port of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _write(path: Path, *, choose_ports: bool) -> None:
    lines = ["# Generated on the first start; edit it while the stack is down."]
    lines += [f"LAKEHOUSE_{name}={secrets.token_hex(20)}" for name in SECRETS]
    names = list(LocalPorts.model_fields)
    ports = free_ports(len(names)) if choose_ports else [getattr(LocalPorts(), name) for name in names]
    lines += [f"LAKEHOUSE_PORTS__{name.upper()}={port}" for name, port in zip(names, ports, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    partial.rename(path)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, of a range that no connection takes one from meanwhile."""
    candidates = random.sample(range(*FREE_PORT_RANGE), FREE_PORT_RANGE[1] - FREE_PORT_RANGE[0])
    free = (port for port in candidates if is_free(port))
    return [next(free) for _ in range(count)]
