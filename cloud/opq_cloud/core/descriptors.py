"""Files and sockets that this process may open: how many are there, and which part connections of Boxes get.

The rest is kept for pages, health, the store and other services, whatever connects to the Boxes' addresses.
"""

import resource
from pathlib import Path

from opq_proto.errors import OpqError

KEPT = 512
"""Kept from connections of Boxes; all services in one process have some 380 open without any."""
BOX_SOCKETS = 3
"""Addresses of Boxes, which have equal shares: a Box connects to each."""
LEAST_CONNECTIONS = 16
"""To one address; with fewer there is no start."""


def descriptors() -> dict[str, float]:
    """Returns how many files and sockets this process has open, and how many it may have."""
    try:
        open_now = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return {}
    return {"open_descriptors": open_now, "most_descriptors": _most()}


def raise_descriptor_limit() -> None:
    """Raises the limit to the allowed maximum: one for each Box and socket (docs/reference/limits.md 1).

    Raises OpqError where it is too low for a start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    least = KEPT + BOX_SOCKETS * LEAST_CONNECTIONS
    if _most() < least:
        raise OpqError(
            f"this process may open {_most()} files and sockets; want {least} or more: raise `ulimit -n`, or "
            "LimitNOFILE= of its unit"
        )


def box_connections() -> int:
    """Returns the limit of connections to one address of Boxes."""
    return max(LEAST_CONNECTIONS, (_most() - KEPT) // BOX_SOCKETS)


def _most() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
