"""Which keys are admitted: the key folder, read again whenever it changes.

A thread waits for changes (inotify through watchfiles, else polling) and reads the folder; the
broker's thread takes the outcome with `changes`. Half a second at most from file to list.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from watchfiles import watch

from opq_cloud.service import Counters
from opq_proto.keys import KeyFolder
from opq_proto.log import Log

DEBOUNCE_MS = 50
LOOK_MS = 500
"""Without any notice the folder's time stamp is looked at so often (a folder made anew, a lost notice)."""
SETTLE_S = 0.15
"""A file that is just being written is read again after this, before its Box is shut out."""


@dataclass(frozen=True, slots=True)
class Change:
    """Keys (Z85) that came, with their Box, and that went."""

    admitted: dict[str, str]
    revoked: dict[str, str]


class AllowList:
    """Z85 public key -> box id, of `public_keys/opqbox<ID>.key`."""

    def __init__(self, folder: KeyFolder, counters: Counters, log: Log) -> None:
        self.boxes: dict[str, str] = {}
        self._folder = folder
        self._counters = counters
        self._log = log
        self._stop = threading.Event()
        self._read: dict[str, str] = {}
        self._problems: list[str] = []
        self._thread = threading.Thread(target=self._watch, name="allow-list", daemon=True)

    def start(self) -> None:
        """Read the folder once, then watch it."""
        self._reload()
        self.boxes = self._read
        self._counters.set("admitted_now", len(self.boxes))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)

    @property
    def alive(self) -> bool:
        """False when the watcher has died: nothing would be revoked any more."""
        return self._thread.is_alive()

    def changes(self) -> Change | None:
        """What changed since the last call; from then on `boxes` is the new list."""
        read = self._read
        if read is self.boxes:
            return None
        before, self.boxes = self.boxes, read
        self._counters.set("admitted_now", len(read))
        return Change(
            {key: box_id for key, box_id in read.items() if before.get(key) != box_id},
            {key: box_id for key, box_id in before.items() if key not in read},
        )

    def _watch(self) -> None:
        seen = self._signature()
        while not self._stop.is_set():
            path = _existing(self._folder.public_keys)
            try:
                for changes in watch(
                    path,
                    stop_event=self._stop,
                    debounce=DEBOUNCE_MS,
                    step=10,
                    rust_timeout=LOOK_MS,
                    yield_on_timeout=True,
                    recursive=False,
                ):
                    now = self._signature()
                    if changes or now != seen:
                        seen = now
                        self._reload()
                    if path != _existing(self._folder.public_keys):
                        break
            except OSError as error:  # inotify's limits, or the folder went away meanwhile
                self._log.warning("keys.watch_failed", folder=str(path), error=str(error))
                self._stop.wait(LOOK_MS / 1000)
                self._reload()

    def _reload(self) -> None:
        admitted, problems = self._folder.admitted()
        if problems and not self._stop.wait(SETTLE_S):
            admitted, problems = self._folder.admitted()
        for problem in problems:
            if problem not in self._problems:
                self._counters.add("key_files_refused")
                self._log.warning("keys.file_refused", problem=problem)
        self._problems = problems
        read = {key.decode("ascii"): box_id for key, box_id in admitted.items()}
        if read != self._read:
            self._read = read

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            status = self._folder.public_keys.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path
