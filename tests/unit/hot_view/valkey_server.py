"""A real server of the tests' own: the local stack's, on a free port."""

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import Settings
from stack.local.local_env import FREE_PORT_RANGE, is_free
from stack.local.services import redis as redis_service

PATIENCE_S = 30


def valkey_settings(home: Path, **others: str) -> Settings:
    """Settings that name a server that is not running yet."""
    unused = "not-used-by-these-tests"
    secrets = dict.fromkeys(("s3_access_key", "s3_secret_key", "api_key", "redis_password"), unused)
    port = next(port for port in random.sample(range(*FREE_PORT_RANGE), 1000) if is_free(port))
    return Settings(home=home, toolchain=home, redis_port=port, _env_file=None, **{**secrets, **others})


@contextmanager
def running_valkey(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server and wait until it answers; ended at last."""
    redis_service.prepare(settings)
    service = redis_service.service(settings)
    with subprocess.Popen(service.command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not service.is_ready():
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)
            yield process
        finally:
            process.kill()
