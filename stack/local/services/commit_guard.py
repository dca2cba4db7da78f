"""The commit guard between Flink and the catalog."""

from settings import Settings
from stack.local.http_probe import answers
from stack.local.service import Service, Stage


def service(settings: Settings) -> Service:
    """The guard on Granian; ready when the catalog answers through it."""
    return Service(
        name="commit-guard",
        stage=Stage.INFRASTRUCTURE,
        command=(
            str(settings.toolchain / "main" / "bin" / "granian"),
            "--interface",
            "asgi",
            "--factory",
            "--http",
            "1",
            "--no-ws",
            "--host",
            settings.guard_host,
            "--port",
            str(settings.guard_port),
            "commit_guard.app:create_worker",
        ),
        address=f"{settings.guard_url} (Iceberg REST for Flink)",
        ports=(settings.guard_port,),
        is_ready=lambda: answers(f"{settings.guard_url}/-/ready"),
    )
