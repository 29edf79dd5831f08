"""Fetches a plug-in's zip by http, https or file, within limits of size, time, redirects and addresses.

It connects to the address that was checked, even if the name resolves to another one meanwhile.
"""

import http.client
import os
import shutil
import socket
import ssl
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from opq_plugins.policy import Policy
from opq_proto.errors import PluginError
from opq_proto.kit.address_guard import AddressGuard, networks_of
from opq_proto.kit.file_roots import FileRoots

ADVICE = "; upload the file, or allow such a network by private_networks"
EVERYWHERE = networks_of(["0.0.0.0/0", "::/0"])
LOOPBACK = networks_of(["127.0.0.0/8", "::1/128"])
CHUNK_BYTES = 1 << 16
CONNECT_S = 10.0
REDIRECTS = (301, 302, 303, 307, 308)


def fetch(url: str, target: Path, policy: Policy, roots: Sequence[Path]) -> None:
    """Fetches `url` into the new file `target`, or raises PluginError. `roots`: folders for file://."""
    download = _Download(target, policy)
    for _ in range(policy.max_redirects + 1):
        parts = _split(url)
        if parts.scheme == "file":
            _copy(parts, target, policy, roots)
            return
        further = download.get(parts, url)
        if further is None:
            return
        if urlsplit(further).scheme not in ("http", "https"):
            raise PluginError(f"{url} redirects to {further[:120]!r}; want http or https")
        url = further
    raise PluginError(f"{url}: more than {policy.max_redirects} redirects")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise PluginError(f"{url[:120]!r} is not a URL") from None
    if parts.scheme not in ("http", "https", "file") or (parts.scheme != "file" and not parts.hostname):
        raise PluginError(f"{url[:120]!r}; want http://…, https://… or file:///…")
    if not url.isascii():
        raise PluginError(f"{url[:120]!r}: want ASCII only, others as %XX")
    if parts.username is not None or port == 0:
        raise PluginError("a URL with a user name or port 0 is refused; write the host alone")
    return parts


def _copy(parts: SplitResult, target: Path, policy: Policy, roots: Sequence[Path]) -> None:
    if parts.netloc not in ("", "localhost"):
        raise PluginError(f"file://{parts.netloc}…: want file:/// and a path of this machine")
    files, text = FileRoots(roots), unquote(parts.path)
    try:
        handle = files.open(files.checked(text), os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        # the same answer in all cases, because it must not reveal which files exist
        allowed = ", ".join(map(str, roots)) or "any allowed folder"
        raise PluginError(f"{text[:200]!r}: not there, or not below {allowed}") from None
    with open(handle, "rb") as file:  # noqa: PTH123
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > policy.max_zip_bytes:
            raise PluginError(f"{text}: no file of at most {policy.max_zip_bytes} bytes")
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy)


class _Download:
    """A download by http or https; all its redirects together have one time limit."""

    def __init__(self, target: Path, policy: Policy) -> None:
        self._target, self._policy = target, policy
        self._end_s = time.monotonic() + policy.download_s

    def get(self, parts: SplitResult, url: str) -> str | None:
        """Downloads the file, or returns the URL that the answer redirects to."""
        host = parts.hostname or ""
        plain = self._connected(parts, host)
        connection = http.client.HTTPConnection(host, _port(parts))
        connection.sock = plain
        with plain.dup() as handle:
            ending = threading.Timer(max(0.0, self._end_s - time.monotonic()), _end, (handle,))
            ending.daemon = True
            ending.start()  # limits a handshake or headers byte by byte, and endless 100 Continue
            try:
                if parts.scheme == "https":
                    connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", path, headers={"Host": parts.netloc, "Accept": "*/*"})
                return self._received(connection.getresponse(), url)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise PluginError(f"{url}: {error or type(error).__name__}") from None
            finally:
                ending.cancel()
                connection.close()

    def _received(self, answer: http.client.HTTPResponse, url: str) -> str | None:
        most_bytes, total = self._policy.max_zip_bytes, 0
        if answer.status in REDIRECTS:
            return urljoin(url, answer.headers.get("Location", ""))
        if answer.status != http.HTTPStatus.OK:
            raise PluginError(f"{url}: {answer.status} {answer.reason}")
        if (answer.length or 0) > most_bytes:
            raise PluginError(f"{url}: {answer.length} bytes; the limit is {most_bytes}")
        with self._target.open("wb") as file:
            while chunk := answer.read1(CHUNK_BYTES):
                total += len(chunk)
                if total > most_bytes:
                    raise PluginError(f"{url}: more than {most_bytes} bytes")
                if time.monotonic() > self._end_s:
                    raise PluginError(f"{url}: not done within {self._policy.download_s:g} s")
                file.write(chunk)
        if answer.length:
            raise PluginError(f"{url}: ended {answer.length} bytes early")
        return None

    def _connected(self, parts: SplitResult, host: str) -> socket.socket:
        guard = guard_of(self._policy)
        wait_s = max(0.1, min(CONNECT_S, self._end_s - time.monotonic()))
        try:
            return guard.connected(host, _port(parts), wait_s)
        except OSError as error:
            raise PluginError(f"{parts.scheme}://{parts.netloc}: {error}") from None


def guard_of(policy: Policy) -> AddressGuard:
    """The addresses from which this server may download."""
    own = LOOPBACK if policy.server_on_loopback else ()
    allowed = EVERYWHERE if policy.allow_private_addresses else (*own, *policy.private_networks)
    return AddressGuard(networks=allowed, advice=ADVICE)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
