"""The repository of releases: python-tuf checks it, this fetches its files, and says why one is refused.

Roles, signatures, thresholds, versions, expiry, lengths and hashes are the library's
(theupdateframework.github.io/specification). Ours is the transport: no redirects, no answer without an end.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import urlsplit

from tuf.api import exceptions as tuf
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from opq_gateway.update.journal import UpdateFolder, sync_tree
from opq_proto.release.plan import Plan, ReleaseError, plan_from, target_name

SILENT_S = 10.0
ANSWER_S = 20.0
"""For the head of an answer."""
GRACE_S = 20.0
LEAST_BYTES_PER_S = 1000
MOST_BYTES = 1_000_000_000
"""Of one bundle."""
WORDS: tuple[tuple[type[Exception], str], ...] = (
    (tuf.ExpiredMetadataError, "it is out of date (frozen, or nobody signs it again)"),
    (tuf.BadVersionNumberError, "it is older than what was seen before (rolled back), or mixed"),
    (tuf.UnsignedMetadataError, "it is not signed by enough of the keys that are trusted"),
    (tuf.LengthOrHashMismatchError, "a file is not the one that was signed"),
    (tuf.DownloadLengthMismatchError, "a file is longer than it may be"),
    (tuf.SlowRetrievalError, "it sends too slowly"),
    (tuf.DownloadHTTPError, "it does not have a file, or sends elsewhere"),
    (tuf.DownloadError, "a file cannot be fetched"),
    (tuf.RepositoryError, "a file is not valid"),
)
"""The first that fits."""


class Repository:
    """One look at a repository: `refresh`, then plans and releases as of then."""

    def __init__(self, url: str, folder: UpdateFolder) -> None:
        """Raises ReleaseError: there is no root.json to trust."""
        folder.metadata.mkdir(exist_ok=True)
        self._folder, self._url = folder, url.rstrip("/")
        self._fetcher = CarefulFetcher()
        try:
            self._updater = Updater(
                str(folder.metadata), f"{self._url}/metadata", str(folder.path), f"{self._url}/targets",
                self._fetcher, bootstrap=folder.root.read_bytes(),
            )  # fmt: skip
        except OSError as error:
            raise ReleaseError(f"{folder.root}: {error.strerror}; it says whom to trust") from error
        except tuf.RepositoryError as error:
            raise ReleaseError(f"{folder.root} is not a root of trust: {error}") from error

    def refresh(self) -> None:
        """Fetches and checks the metadata, and keeps it. Raises ReleaseError: refused, or not reached."""
        self._checked(self._updater.refresh)
        sync_tree(self._folder.metadata)

    def plan(self, kind: str) -> Plan | None:
        """The plan for gateways or for firmware; None: nothing is rolled out."""
        target = self._checked(self._updater.get_targetinfo, f"rollout-{kind}")
        return None if target is None else plan_from(kind, dict(target.custom or {}))

    def fetch(self, kind: str, version: str, tag: str, to: Path) -> None:
        """Fetches a release into a file, flushed to the disk by nobody. Raises ReleaseError."""
        name = target_name(kind, version, tag)
        target: TargetFile | None = self._checked(self._updater.get_targetinfo, name)
        if target is None:
            raise ReleaseError(f"there is no {name} among the signed releases")
        if target.length > MOST_BYTES:
            raise ReleaseError(f"{name} has {target.length} bytes; want {MOST_BYTES} at most")
        if (found := dict(target.custom or {}).get("kind")) != kind:
            raise ReleaseError(f"{name} is signed as {found!r:.40}, not as {kind}")
        self._checked(self._updater.download_target, target, str(to))

    def _checked(self, call: Any, *arguments: object) -> Any:
        try:
            return call(*arguments)
        except (tuf.RepositoryError, tuf.DownloadError) as caught:
            error: Exception = caught
            words = next(text for kind, text in WORDS if isinstance(error, kind))
        except (ValueError, KeyError, RecursionError) as caught:  # a name or a number nobody thought of
            words, error = "a file is not valid", caught
        cause = "" if error.__cause__ is None else f": {error.__cause__}"
        detail = " ".join(f"{error}{cause}".split())[:200]
        raise ReleaseError(f"the repository is refused: {words}: {self._fetcher.name}: {detail}") from error


class CarefulFetcher(FetcherInterface):
    """HTTP without redirects, proxies or patience. `name` is the file that was fetched last."""

    name = ""

    def _fetch(self, url: str) -> Iterator[bytes]:
        place = urlsplit(url)
        self.name = place.path.rpartition("/")[2]
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=SILENT_S)  # https: checked, by default
        with closing(connection):
            try:
                answer = _answer(connection, place.path)
                if answer.status != http.HTTPStatus.OK:
                    raise tuf.DownloadHTTPError(f"{answer.status} for {place.path}", answer.status)
                yield from _body(answer, place.path)
            except (OSError, http.client.HTTPException) as error:
                raise tuf.DownloadError(f"{place.netloc}{place.path}: {error}") from error


def _answer(connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
    """The head of an answer, within ANSWER_S; a peer that sends it byte by byte is cut off."""
    connection.connect()

    def cut_off() -> None:
        with suppress(OSError):
            connection.sock.shutdown(SHUT_RDWR)

    late = threading.Timer(ANSWER_S, cut_off)
    late.daemon = True
    late.start()
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "identity"})
        return connection.getresponse()
    finally:
        late.cancel()


def _body(answer: http.client.HTTPResponse, path: str) -> Iterator[bytes]:
    began_s, count = time.monotonic(), 0
    while chunk := answer.read1(1 << 16):
        count += len(chunk)
        yield chunk
        spent_s = time.monotonic() - began_s
        if spent_s > GRACE_S and count < spent_s * LEAST_BYTES_PER_S:
            raise tuf.SlowRetrievalError(f"{count} bytes of {path} in {spent_s:.0f} s")
    if answer.length:
        raise tuf.DownloadError(f"{path} ends {answer.length} bytes too early")
