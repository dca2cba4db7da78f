"""How the C library gives memory to the threads of a worker."""

import ctypes

ARENAS = 2

_M_ARENA_MAX = -8


def share_arenas() -> None:
    """Let all threads allocate from :data:`ARENAS` arenas, as ``MALLOC_ARENA_MAX`` would (mallopt(3)).

    glibc gives up to eight for each core, and what one thread frees in its arena is of no use to the others: the
    memory of a worker that answers with ever other threads grows for hours. Another C library stays as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
