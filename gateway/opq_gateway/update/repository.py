"""The repository of releases: python-tuf checks it; this module fetches its files and says why one is
refused.

Roles, signatures, thresholds, versions, expiry, lengths and hashes are the library's
(theupdateframework.github.io/specification). Ours is the transport: no redirects, no answer without an end.
"""

import http.client
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from errno import ENOSPC
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import urlsplit

from tuf.api import exceptions as tuf
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from opq_gateway.update.journal import UpdateFolder, sync_tree
from opq_proto.release.plan import NoReleaseError, Plan, ReleaseError, plan_from, target_name

SILENT_S = 10.0
GRACE_S = 20.0
"""Time for the head of an answer; after it the body has to come at LEAST_BYTES_PER_S."""
LEAST_BYTES_PER_S = 1000
WATCH_S = 0.5
MOST_BYTES = 1_000_000_000
"""Largest size of a bundle."""
ROOM_FACTOR = 6
"""A bundle, its wheels and the tree made of them need this many times the bundle's bytes."""
WORDS: tuple[tuple[type[Exception], str], ...] = (
    (tuf.ExpiredMetadataError, "it is out of date (frozen or not signed again, or this clock is wrong)"),
    (tuf.BadVersionNumberError, "it is older than an earlier state (rolled back), or mixed"),
    (tuf.UnsignedMetadataError, "it is not signed by enough trusted keys"),
    (tuf.LengthOrHashMismatchError, "a file differs from the signed one"),
    (tuf.DownloadLengthMismatchError, "a file is longer than it may be"),
    (tuf.SlowRetrievalError, "it is too slow"),
    (tuf.DownloadHTTPError, "it lacks a file, or redirects"),
    (tuf.DownloadError, "fetching a file failed"),
    (tuf.RepositoryError, "a file is not valid"),
)
"""Exception -> words; the first match counts."""


class Repository:
    """One look at a repository: `refresh`, then plans and releases as of then."""

    def __init__(self, url: str, folder: UpdateFolder) -> None:
        """Raises ReleaseError: root.json, the root of trust, is missing."""
        folder.metadata.mkdir(exist_ok=True)
        self._folder, self._url = folder, url.rstrip("/")
        self._fetcher = CarefulFetcher()
        try:
            self._updater = Updater(
                str(folder.metadata),
                f"{self._url}/metadata",
                str(folder.path),
                f"{self._url}/targets",
                self._fetcher,
                bootstrap=folder.root.read_bytes(),
            )
        except OSError as error:
            raise ReleaseError(f"{folder.root}: {error.strerror}; it names the trusted keys") from error
        except tuf.RepositoryError as error:
            raise ReleaseError(f"{folder.root} is not a root of trust: {error}") from error

    def refresh(self) -> None:
        """Fetches, checks and keeps the metadata. Raises ReleaseError: refused, or not reached."""
        self._checked(self._updater.refresh)
        sync_tree(self._folder.metadata)

    def plan(self, kind: str) -> Plan | None:
        """The plan for gateways or for firmware; None: nothing is rolled out."""
        target = self._checked(self._updater.get_targetinfo, f"rollout-{kind}")
        return None if target is None else plan_from(kind, dict(target.custom or {}))

    def release(self, kind: str, version: str, tag: str) -> TargetFile:
        """A signed release. Raises NoReleaseError, and ReleaseError where it does not fit its name."""
        name = target_name(kind, version, tag)
        target: TargetFile | None = self._checked(self._updater.get_targetinfo, name)
        if target is None:
            raise NoReleaseError(f"there is no {name} among the signed releases")
        if target.length > MOST_BYTES:
            raise ReleaseError(f"{name} has {target.length} bytes; want {MOST_BYTES} at most")
        if (found := dict(target.custom or {}).get("kind")) != kind:
            raise ReleaseError(f"{name} is signed as {found!r:.40}, not as {kind}")
        return target

    def fetch(self, target: TargetFile, to: Path) -> None:
        """Fetches a release into a file, not flushed to the disk. Raises ReleaseError, OSError."""
        free = shutil.disk_usage(to.parent).free
        if free < (needed := ROOM_FACTOR * target.length):
            raise OSError(ENOSPC, f"{target.path} needs {needed} bytes of disk; {free} are free")
        try:
            self._checked(self._updater.download_target, target, str(to))
        except BaseException:
            to.unlink(missing_ok=True)  # on a full disk the samples need the room
            raise

    def _checked(self, call: Any, *arguments: object) -> Any:
        try:
            return call(*arguments)
        except (tuf.RepositoryError, tuf.DownloadError) as caught:
            error: Exception = caught
            words = next(text for kind, text in WORDS if isinstance(error, kind))
        except (ValueError, KeyError, RecursionError) as caught:  # an unexpected name or number
            words, error = "a file is not valid", caught
        cause = "" if error.__cause__ is None else f": {error.__cause__}"
        detail = " ".join(f"{error}{cause}".split())[:200]
        raise ReleaseError(f"the repository is refused: {words}: {self._fetcher.name}: {detail}") from error


class CarefulFetcher(FetcherInterface):
    """HTTP without redirects, without proxies and with limits of time. `name` is the file that was fetched
    last."""

    name = ""

    def _fetch(self, url: str) -> Iterator[bytes]:
        place = urlsplit(url)
        self.name = place.path.rpartition("/")[2]
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=SILENT_S)  # https: checked, by default
        with closing(connection):
            pace = None
            try:
                connection.connect()
                with Pace(connection.sock) as pace:
                    connection.request("GET", place.path, headers={"Accept-Encoding": "identity"})
                    answer = connection.getresponse()
                    if answer.status != http.HTTPStatus.OK:
                        raise tuf.DownloadHTTPError(f"{answer.status} for {place.path}", answer.status)
                    while chunk := answer.read1(1 << 16):
                        pace.count += len(chunk)
                        yield chunk
                    if pace.cut_off or answer.length:
                        raise ConnectionError(f"the answer ends {answer.length} bytes too early")
            except (OSError, http.client.HTTPException) as error:
                if pace is not None and pace.cut_off:
                    words = f"only {pace.count} bytes of {place.path} in more than {GRACE_S:g} s"
                    raise tuf.SlowRetrievalError(words) from error
                raise tuf.DownloadError(f"{place.netloc}{place.path}: {error}") from error


class Pace:
    """Cuts off a peer that sends too slowly, in the body, in the head or in the length of a chunk."""

    def __init__(self, line: socket) -> None:
        self.count, self.cut_off = 0, False
        """Number of received bytes of the body, and whether the peer was cut off."""
        self._line, self._ended = line, threading.Event()

    def __enter__(self) -> "Pace":
        threading.Thread(target=self._watch, name="pace", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        began_s = time.monotonic()
        while not self._ended.wait(min(WATCH_S, GRACE_S)):
            spent_s = time.monotonic() - began_s
            if spent_s > GRACE_S and self.count < spent_s * LEAST_BYTES_PER_S:
                self.cut_off = True
                with suppress(OSError):
                    self._line.shutdown(SHUT_RDWR)
                return
