"""How a long-running service of ours begins and ends."""

import ctypes
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable

from settings import Settings, load_settings

PR_SET_PDEATHSIG = 1
"""``prctl(2)``: the signal that a process gets when its parent ends."""


def run_until_terminated(serve: Callable[[Settings, threading.Event], None], *, quiet: str | None = None) -> None:
    """Run ``serve``, whose event SIGTERM or SIGINT sets, with its log on stderr.

    Args:
        serve: the service; it returns soon after the event is set.
        quiet: logger of a library whose information is noise here; its errors are shown.

    Raises:
        SettingsError: a setting is missing or invalid.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if quiet is not None:
        logging.getLogger(quiet).setLevel(logging.ERROR)
    stopping = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopping.set())
    # what is loaded is there to stay: a tenth of a busy service went into looking for garbage in it
    gc.freeze()
    serve(load_settings(), stopping)


def end_with_parent() -> None:
    """Have Linux end this process when the one that started it is killed; does nothing on other systems.

    For workers of a server: one that outlives the server's main process would go on answering beside those of the
    next one, as both listen on the same port.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
