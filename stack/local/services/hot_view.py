"""The loader of the hot view."""

import redis

from resources.hot_view import ALIVE_KEY, connect
from settings import Settings
from stack.local.service import Service, Stage


def service(settings: Settings) -> Service:
    """The loader; ready when it has read the topics and written to Redis."""
    return Service(
        name="hot-view",
        stage=Stage.APPLICATION,
        command=(str(settings.toolchain / "main" / "bin" / "python"), "-m", "hot_view.loader"),
        address="reads the hot topics into Redis",
        ports=(settings.hot_view_metrics_port,) if settings.hot_view_metrics_port else (),
        is_ready=lambda: _is_alive(settings),
    )


def _is_alive(settings: Settings) -> bool:
    with connect(settings) as client:
        try:
            return bool(client.exists(ALIVE_KEY))
        except redis.RedisError:
            return False
