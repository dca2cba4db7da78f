"""The collector of records that Flink has left out."""

from settings import Settings
from stack.local.priority import BACKGROUND
from stack.local.service import Service, Stage


def service(settings: Settings) -> Service:
    """The collector; it waits by itself for what it needs, and is ready as soon as it runs."""
    return Service(
        name="dead-letters",
        stage=Stage.APPLICATION,
        command=(str(settings.toolchain / "main" / "bin" / "python"), "-m", "dead_letters.collector"),
        address="collects into bronze.dead_letters",
        nice=BACKGROUND,
        is_ready=lambda: True,
    )
