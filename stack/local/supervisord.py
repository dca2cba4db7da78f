"""supervisord, with sessions of their own for services in the background.

Linux deals out the cores to sessions first, and to what runs in each only then (autogroups, sched(7)). So in a
session of its own, batch work gives way as one, however many of its threads want to run.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from supervisor import supervisord
from supervisor.options import ServerOptions
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

SESSION_NICE = "LAKEHOUSE_SESSION_NICE"
"""Environment variable of a service that has a session of its own: the session's nice value."""
AUTOGROUP = Path("/proc/self/autogroup")
TRIES = 20
PAUSE_S = 0.1
"""The kernel takes one change in that time from users without privileges."""


class SessionOptions(ServerOptions):  # type: ignore[misc] # supervisor has no types
    """What supervisord asks of the system, where a service becomes a session if its environment says so."""

    def setpgrp(self) -> None:
        """Leave it to :meth:`execve`, which knows the service: the leader of a group can not begin a session."""

    def execve(self, filename: str, argv: list[str], env: Mapping[str, str]) -> None:
        """Become the service, as the leader of a process group."""
        if SESSION_NICE in env:
            os.setsid()
            lower_session(int(env[SESSION_NICE]))
        else:
            os.setpgrp()
        os.execve(filename, argv, env)  # noqa: S606 - the command is ours


def lower_session(nice: int) -> None:
    """Give this process' session a nice value; where the kernel does not take it, the service runs without."""
    with suppress(OSError):
        again = retry_if_exception_type(BlockingIOError)
        retrying = Retrying(retry=again, stop=stop_after_attempt(TRIES), wait=wait_fixed(PAUSE_S), reraise=True)
        retrying(AUTOGROUP.write_text, str(nice))


def main() -> None:
    """Run supervisord with the arguments of the command line."""
    # its own main makes its options by this name, and makes them anew after each SIGHUP
    supervisord.ServerOptions = SessionOptions
    supervisord.main()


if __name__ == "__main__":
    main()
