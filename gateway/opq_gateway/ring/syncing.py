"""Syncing: makes the disk itself store what was appended to all rings, in one thread.

The disk stores the samples every `every_s`, so a power cut loses that much, and a little more where the disk
is slow. It runs in a separate thread, because a card may take a second. Many rings are synced by one call for
their file system: 64 took 4 ms this way and 200 ms one by one, because each commits the journal and flushes
the disk's cache. The call also waits for what others write on the same file system.
"""

import ctypes
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from opq_gateway.counters import BoxCounters
from opq_gateway.ring.ring import Ring
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog

RINGS_SYNCED_SINGLY = 4
"""Up to this many rings of one file system are synced one by one."""


class Syncing:
    """Syncs all rings; `run` in one thread."""

    def __init__(
        self, rings: Mapping[str, Ring], counters: Mapping[str, BoxCounters], every_s: float
    ) -> None:
        self._rings = rings
        self._counters = counters
        self._every_s = every_s
        self._logged_unreadable: set[str] = set()
        self._by_disk: dict[int, list[str]] = {}
        self._log = log.get(service="gateway")
        self._lines = RateLimitedLog(self._log)

    def run(self, stop: threading.Event) -> None:
        """Syncs every `every_s` until `stop`, and once at the end."""
        while not stop.wait(self._every_s):
            self.sync()
        self.sync()

    def sync(self) -> None:
        """Syncs all rings once; counts and logs a disk that fails, and continues with the others."""
        if not self._by_disk:
            for box_id, ring in self._rings.items():
                self._by_disk.setdefault(ring.folder.stat().st_dev, []).append(box_id)
        for box_ids in self._by_disk.values():
            if len(box_ids) <= RINGS_SYNCED_SINGLY or not sync_file_system(self._rings[box_ids[0]].folder):
                for box_id in box_ids:
                    self._sync_one(box_id)
        for box_id, ring in self._rings.items():
            counters = self._counters[box_id]
            counters.set("ring_bad_records", ring.bad_records)
            counters.set("ring_deleted_segments", ring.deleted_segments)
            counters.set("ring_lost_records", ring.lost_records)
            counters.set("ring_unreadable_files", ring.unreadable_files)
            if ring.unreadable_files and box_id not in self._logged_unreadable:
                self._logged_unreadable.add(box_id)
                self._log.warning("ring.unreadable_files", box_id=box_id, files=ring.unreadable_files)

    def _sync_one(self, box_id: str) -> None:
        try:
            self._rings[box_id].sync()
        except OSError as error:
            self._counters[box_id].add("ring_sync_failed")
            self._lines.error("ring.not_synced", box_id=box_id, reason=error.strerror or str(error))


def sync_file_system(folder: Path) -> bool:
    """Makes the disk store everything written to the file system of `folder`; False on failure.

    Linux' syncfs(2), which Python does not offer; it reports errors since Linux 5.8.
    """
    syncfs = getattr(ctypes.CDLL(None), "syncfs", None)
    if syncfs is None:
        return False
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return bool(syncfs(fd) == 0)
    finally:
        os.close(fd)
