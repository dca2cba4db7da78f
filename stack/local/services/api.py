"""The serving API."""

from settings import Settings
from stack.local.http_probe import answers
from stack.local.service import Service, Stage


def service(settings: Settings) -> Service:
    """The API on Granian; ready when it can reach the catalog."""
    return Service(
        name="api",
        stage=Stage.APPLICATION,
        command=(
            str(settings.toolchain / "main" / "bin" / "granian"),
            "--interface",
            "asgi",
            "--factory",
            "--host",
            settings.api_host,
            "--port",
            str(settings.api_port),
            "--workers",
            str(settings.api_workers),
            "api.worker:create_worker",
        ),
        address=settings.api_url,
        ports=(settings.api_port, *settings.api_metrics_ports),
        is_ready=lambda: answers(f"{settings.api_url}/health/ready"),
    )
