"""The admitted peers by key, read from a folder that is watched, and the key in a handshake's request (ZAP).

Brokers check Boxes against it, and every service whose back-end addresses require keys checks its clients.
Source: ZeroMQ RFC 27 (ZAP 1.0).
"""

import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from zmq.utils import z85

from opq_cloud.core.backend.waits import PollableEvent
from opq_cloud.core.service import ServiceCounters
from opq_proto.keys.backend_keys import CLEAR_DOMAIN
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.rate_limit import RateLimitedLog

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
CREDENTIALS_AT = 6  # version, request id, domain, address, identity, mechanism, then the key
CHECK_S = 0.3
"""Interval of looking at the folder's time stamp, which a new, removed or renamed file changes."""
FILES_S = 3.0
"""Interval of looking at the time stamps of all files, for one that is written in place or is a link."""
YOUNG_NS = 10_000_000_000
"""A file that changed so lately may still be being written: all are looked at as often as the folder."""
SHARE = 0.02
"""Of a processor, spent on the time stamps of files at most, also while keys come and go."""
IDLE_SHARE = 0.002
"""Of a processor, spent on them at most while nothing changes: 10,000 files are looked at less often."""
TICK_NS = 100_000_000
"""File systems stamp by a clock with ticks of some milliseconds."""
SETTLE_S = 0.15
"""A file that is just being written is read again after this time, before its Box is refused."""


def requested_key(request: list[bytes], domain: str) -> tuple[str, str]:
    """Returns the key (Z85) in a ZAP request, and the problem of the request; empty: none."""
    if len(request) <= CREDENTIALS_AT or request[5] != b"CURVE" or len(request[6]) != 32:
        return "", "no CURVE key"
    key = z85.encode(request[CREDENTIALS_AT]).decode("ascii")
    return key, "" if request[2].partition(b"/")[0] == domain.encode() else "wrong domain"


def is_in_clear(request: list[bytes]) -> bool:
    """Whether a ZAP request is for an address without keys in the same context, which admits everyone."""
    return len(request) >= CREDENTIALS_AT and request[5] == b"NULL" and request[2] == CLEAR_DOMAIN.encode()


class FurtherKeys(Protocol):
    """Keys in addition to those of the folder, e.g. of the store."""

    @property
    def keys(self) -> Mapping[bytes, tuple[str, ...]]:
        """Key -> ids; another object when it has changed."""

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Keys (Z85) that a Box has now, with that Box, and those that a Box has no longer."""

    admitted: dict[str, str]
    revoked: dict[str, str]


class FileStamp(NamedTuple):
    """What differs after a change of a file."""

    name: str
    inode: int
    size: int
    changed_ns: int


class AllowList(OwnThread):
    """Z85 public key -> box id, from `public_keys/opqbox<ID>.key`, and from the store if configured.

    Where the folder has a file for a Box, also of a revoked key, only the folder counts, and the store's key
    is not admitted. A thread looks at time stamps and reads the folder where they differ; the broker's thread
    collects the result with `changes`. A change of a file that comes, goes or changed lately is noticed after
    CHECK_S, another after FILES_S; with 10,000 files after some seconds and a minute. Not `alive` when the
    thread has ended, because no key would be revoked any more.
    """

    _join_s = 2.0

    def __init__(
        self,
        folder: KeyFolder,
        counters: ServiceCounters,
        log: BoundLogger,
        registered: FurtherKeys | None = None,
        counted_as: str = "admitted_now",
    ) -> None:
        super().__init__("allow-list")
        self.boxes: dict[str, str] = {}
        """With the first Box of a key that several have."""
        self.sharers: dict[str, tuple[str, ...]] = {}
        """Key -> its Boxes, of those that several have."""
        self.ids: frozenset[str] = frozenset()
        """All Boxes; a new object when they change."""
        self.incoming: dict[str, str] = {}
        """New keys of `boxes`: each is admitted, in addition to the Box's present key, until it is used."""
        self.news = PollableEvent()
        """Set while `changes` may have any."""
        self.folder = folder
        self._counters = counters
        self._log = log
        self._limited = RateLimitedLog(log)
        self._registered = registered
        self._counted_as = counted_as
        self._used: object = None
        """The store's keys that `_read` was made of."""
        self._owners: dict[str, tuple[str, ...]] = {}
        self._read: dict[str, tuple[str, ...]] = {}
        self._read_incoming: dict[str, str] = {}
        self._of_folder: frozenset[str] = frozenset()
        """Boxes of `_read` by the folder, not by the store."""
        self._problems: list[str] = []
        self._read_at: frozenset[FileStamp] | None = None
        """The result of `_stamps` before the folder was last read."""

    def start(self) -> None:
        """Reads the folder once, then watches it."""
        if self._registered is not None:
            self._registered.start()
        self._reload(self._stamps())
        self._use()
        super().start()

    def close(self) -> None:
        super().close()
        if self._registered is not None:
            self._registered.close()

    @property
    def changed(self) -> bool:
        """Whether `changes` has any."""
        return self._read is not self._owners

    def changes(self) -> KeyChange | None:
        """Returns the changes since the last call; from then on `boxes` is the new list."""
        self.news.clear()  # first: what is read from now on sets it again
        if self._read is self._owners:
            return None
        before = self._owners
        now = self._use()
        return KeyChange(_more(now, before), _more(before, now))

    def _use(self) -> dict[str, tuple[str, ...]]:
        """Makes the read list the present one."""
        self._owners = read = self._read
        self.boxes = {key: boxes[0] for key, boxes in read.items()}
        self.sharers = {key: boxes for key, boxes in read.items() if len(boxes) > 1}
        self.ids = frozenset(box_id for boxes in read.values() for box_id in boxes)
        self.incoming = {key: box_id for key, box_id in self._read_incoming.items() if key in read}
        self._counters.set(self._counted_as, len(read))
        for key, boxes in self.sharers.items():
            self._limited.warning("keys.shared", key=(key, boxes), public_key=key, boxes=boxes)
        return read

    def _run(self) -> None:
        looked_at, changed_s, files_s = None, 0.0, 0.0
        while not self._stop.wait(CHECK_S):
            folder = self._folder_stamp()
            registered_changed = self._registered is not None and self._registered.keys is not self._used
            same = folder is not None and folder == looked_at and not registered_changed
            if time.monotonic() < (files_s if same else changed_s):
                continue
            begin_s = time.thread_time()
            try:
                found = self._stamps()
            except OSError as error:  # no descriptor is free: the keys stay as they are
                self._limited.warning("keys.not_looked_at", key=error.errno, error=str(error))
                continue
            cost_s, end_s = time.thread_time() - begin_s, time.monotonic()
            changed_s, files_s = end_s + cost_s / SHARE, end_s + max(FILES_S, cost_s / IDLE_SHARE)
            looked_at = None if found is None or _is_fresh(_newest_ns(found), YOUNG_NS) else folder
            if registered_changed or found is None or found != self._read_at:
                self._reload(found)

    def _revoke_missing(self) -> None:
        """Takes out Boxes without a file before all files are looked at, which takes long with 10,000."""
        if missing := self._of_folder - self.folder.listed_boxes():
            left = {
                key: tuple(each for each in boxes if each not in missing) for key, boxes in self._read.items()
            }
            self._read = {key: boxes for key, boxes in left.items() if boxes}
            self.news.set()

    def _reload(self, stamps: frozenset[FileStamp] | None) -> None:
        """`stamps`: of before, so that a key that arrives meanwhile is read again."""
        self._read_at = stamps
        self._revoke_missing()
        owners, problems = self.folder.owners()
        if problems and not self._stop.wait(SETTLE_S):
            owners, problems = self.folder.owners()
        for problem in problems:
            if problem not in self._problems:
                self._counters.add("key_files_refused")
                self._log.warning("keys.file_refused", problem=problem)
        self._problems = problems
        self._of_folder = frozenset(box_id for boxes in owners.values() for box_id in boxes)
        self._add_registered(owners)
        read = {key.decode("ascii"): boxes for key, boxes in owners.items()}
        if read != self._read:
            self._read_incoming = {
                key.decode("ascii"): box_id for key, box_id in self.folder.incoming().items()
            }
            self._read = read
            self.news.set()

    def _add_registered(self, owners: dict[bytes, tuple[str, ...]]) -> None:
        if self._registered is None:
            return
        self._used = keys = self._registered.keys
        of_folder = self.folder.known_boxes()
        for key, boxes in keys.items():
            more = tuple(box_id for box_id in boxes if box_id not in of_folder)
            if more and (self.folder.shared_keys or key not in owners):
                owners[key] = (*owners.get(key, ()), *more)

    def _stamps(self) -> frozenset[FileStamp] | None:
        """Returns what differs after a change of the files; None where that is not certain.

        Two changes within TICK_NS may have the same time stamp. Raises OSError: no descriptor is free.
        """
        try:
            with os.scandir(self.folder.public_keys) as entries:
                found = frozenset(map(_entry_stamp, entries))
        except FileNotFoundError:  # no folder yet, or a file that went meanwhile
            return frozenset()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return None
        return None if _is_fresh(_newest_ns(found)) else found

    def _folder_stamp(self) -> FileStamp | None:
        """Returns what differs after a file came, went or got another name; None where it is not certain."""
        try:
            status = self.folder.public_keys.stat()
        except OSError:
            return None
        return None if _is_fresh(status.st_mtime_ns) else _stamp("", status)


def _is_fresh(changed_ns: int, within_ns: int = TICK_NS) -> bool:
    """Whether something changed lately: within TICK_NS, a later change may have the same time stamp."""
    return abs(time.time_ns() - changed_ns) < within_ns


def _newest_ns(stamps: frozenset[FileStamp]) -> int:
    return max((each.changed_ns for each in stamps), default=0)


def _entry_stamp(entry: "os.DirEntry[str]") -> FileStamp:
    try:
        return _stamp(entry.name, entry.stat())
    except FileNotFoundError:
        return _stamp(entry.name, entry.stat(follow_symlinks=False))  # a link to nothing


def _stamp(name: str, status: os.stat_result) -> FileStamp:
    return FileStamp(name, status.st_ino, status.st_size, status.st_ctime_ns)


def _more(these: Mapping[str, tuple[str, ...]], those: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Returns each key with the Boxes that it has in `these` alone."""
    other = {key: boxes for key, boxes in these.items() if those.get(key) != boxes}  # few of 10,000
    more = {key: [each for each in boxes if each not in those.get(key, ())] for key, boxes in other.items()}
    return {key: ", ".join(boxes) for key, boxes in more.items() if boxes}
