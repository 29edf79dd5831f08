"""Keys that the store's `opq_boxes` admits: the original's `white_list` (docs/reference/opq-interop.md A.2).

A separate thread reads them, so that a slow or absent store delays neither a handshake nor changes of the key
folder. The known keys stay valid until the store answers again. The original reads them once, at its start.
"""

import threading
import time
from collections.abc import Callable, Mapping

from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.store import CloudStore
from opq_proto.errors import KeyFileError, StoreError
from opq_proto.keys.key_files import checked_box_id, checked_public_key
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.rate_limit import RateLimitedLog

READ_S = 0.5
READING_SHARE = 0.02
"""Share of one core that reading may take: it takes long with 10,000 Boxes."""
FIRST_S = 2.0
"""Longest wait of the start for the first reading."""

StoreOfBoxes = Callable[[], CloudStore]
"""Returns the store when it is needed."""


class RegisteredKeys(OwnThread):
    """Public key (Z85) -> Boxes in the store that are in service, between `start` and `close`."""

    _join_s = 2.0

    def __init__(
        self, store: StoreOfBoxes, counters: ServiceCounters, log: BoundLogger, shared_keys: bool = False
    ) -> None:
        """`shared_keys`: a key may be that of several Boxes."""
        super().__init__("registered-keys")
        self.keys: Mapping[bytes, tuple[str, ...]] = {}
        """A new object when it changes."""
        self._store = store
        self._shared_keys = shared_keys
        self._counters = counters
        self._log = log
        self._limited = RateLimitedLog(log)
        self._problems: frozenset[str] = frozenset()
        self._was_read = threading.Event()

    def start(self) -> None:
        """Reads them once, then follows them. A slow or absent store does not fail the start."""
        super().start()
        self._was_read.wait(FIRST_S)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = max(READ_S, self._read() / READING_SHARE)
            self._was_read.set()

    def _read(self) -> float:
        """Reads the keys; returns the CPU time of this thread that it took, in seconds."""
        began_s = time.thread_time()
        try:
            found, problems = registered_keys(self._store(), self._shared_keys)
        except StoreError as error:
            self._counters.add("store_errors")
            self._limited.warning("registered_keys.not_read", error=str(error))
            return time.thread_time() - began_s
        for problem in problems - self._problems:
            self._counters.add("registered_keys_refused")
            self._log.warning("registered_keys.refused", problem=problem)
        self._problems = problems
        if found != self.keys:
            self.keys = found
            self._log.info("registered_keys.changed", boxes=len(found))
        return time.thread_time() - began_s


def registered_in(
    registry: StoreOfBoxes | None, counters: ServiceCounters, log: BoundLogger, shared_keys: bool
) -> RegisteredKeys | None:
    """Returns None where no store is used."""
    return None if registry is None else RegisteredKeys(registry, counters, log, shared_keys)


def registered_keys(
    store: CloudStore, shared_keys: bool = False
) -> tuple[dict[bytes, tuple[str, ...]], frozenset[str]]:
    """Returns key -> Boxes in service, and the invalid keys and, unless `shared_keys`, those of a second Box.

    Raises StoreError.
    """
    found: dict[bytes, tuple[str, ...]] = {}
    problems = set()
    for box in store.boxes():
        if not box.public_key or box.retired_ms is not None:
            continue
        try:
            box_id, key = checked_box_id(box.box_id), checked_public_key(box.public_key)
        except KeyFileError as error:
            problems.add(f"opq_boxes, Box {box.box_id}: {error}")
            continue
        if shared_keys or key not in found:
            found[key] = (*found.get(key, ()), box_id)
        else:
            problems.add(f"opq_boxes, Box {box_id}: its key is that of Box {found[key][0]}; not admitted")
    return found, frozenset(problems)
