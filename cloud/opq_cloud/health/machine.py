"""Readings of this machine: disk, clock, key, certificate, back-ups."""

import math
import shutil
import socket
import ssl
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from opq_cloud.core.service_conditions import Reading
from opq_proto.kit.archive_time import SUFFIXES, archive_made_s
from opq_proto.kit.http_client import fetch
from opq_proto.kit.time_daemons import read_clock_state
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.time_units import DAY_S

BY_STORE = "clock of the cloud, by the store"
CONNECT_S = 5.0
PING_TIMEOUT_S = 4.0


def disk_reading(folder: Path) -> Reading:
    """The used share of the disk of a folder; space that is reserved for root counts as used."""
    try:
        space = shutil.disk_usage(folder)
    except OSError as error:
        return Reading("disk", "disk of the cloud", None, f"{folder}: {error.strerror}")
    share = 1 - space.free / space.total
    info = f"{share:.1%} of the disk of {folder} are used, {space.free / 1e9:.1f} GB are free"
    return Reading("disk", "disk of the cloud", share, info)


def newest_reading(newest_ms: int | None, other_clocks: Collection[str]) -> Reading:
    """Compares this machine's clock with the newest stored Measurement: by how many seconds it is behind.

    Args:
        newest_ms: time of that Measurement, UTC; None: nothing is stored.
        other_clocks: names of readings of other clocks, one of which may be wrong instead.
    """
    ahead_s = 0.0 if newest_ms is None else max(0.0, newest_ms / 1000 - time.time())
    info = f"this machine's clock is {ahead_s:.0f} s behind the newest Measurement in the store"
    return Reading("clock", BY_STORE, ahead_s, info, other_clocks)


def slow_readings(server_key: Path, backups: Path, public_url: str | None) -> Iterator[Reading]:
    """Yields the readings that change slowly or take long."""
    clock = read_clock_state()
    known = clock.source is not TimeSource.FREE and clock.uncertainty_ns < UNKNOWN_UNCERTAINTY_NS
    off_s = clock.uncertainty_ns / 1e9
    info = f"its time daemon reports that it may be off by {off_s:.3g} s"
    yield Reading("clock", "clock of the cloud, by its daemon", off_s if known else None, info)
    key_days = math.inf
    with suppress(OSError):
        key_days = (time.time() - server_key.stat().st_mtime) / DAY_S
        yield Reading("keys", "age of the server's key", key_days, f"it was made {key_days:.0f} days ago")
    if backups.is_dir():
        yield _backup(backups, key_days)
    if public_url is not None and public_url.startswith("https:"):
        yield _certificate(public_url)


def _backup(folder: Path, key_days: float) -> Reading:
    """Reads the time inside the archives, because a copied archive is a new file.

    Without any, the age is that of the server's key, in `key_days`: a new system is not ill at once.
    """
    newest_s, wrong = -math.inf, ""
    try:
        for path in folder.iterdir():
            if not path.name.endswith(SUFFIXES):
                continue
            try:
                newest_s = max(newest_s, archive_made_s(path))
            except ValueError:
                wrong = f"; {path.name} is not a whole archive"
    except OSError as error:
        return Reading("backup", "back-up", math.inf, f"{folder}: {error.strerror}")
    days = (time.time() - newest_s) / DAY_S
    if days == math.inf and not wrong:
        return Reading("backup", "back-up", key_days, f"{folder}: there is no archive")
    info = f"the newest archive is {days:.1f} days old" if days < math.inf else "there is no archive"
    return Reading("backup", "back-up", days, f"{folder}: {info}{wrong}")


def _certificate(public_url: str) -> Reading:
    """The remaining validity of the page's TLS certificate, as a browser sees it."""
    name, url = "certificate of the page", urlsplit(public_url)
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((url.hostname, url.port or 443), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=url.hostname) as secure,
        ):
            end_s = ssl.cert_time_to_seconds(str((secure.getpeercert() or {})["notAfter"]))
    except ssl.SSLCertVerificationError as error:
        return Reading("certificate", name, 0.0, f"{public_url}: {error.verify_message}")
    except (OSError, KeyError, ValueError) as error:
        return Reading("certificate", name, None, f"{public_url}: {error}")
    days = (end_s - time.time()) / DAY_S
    return Reading("certificate", name, -days, f"{public_url}: it ends in {days:.0f} days")


def send_ping(url: str) -> None:
    """Requests an address in the Internet. Raises OSError: no answer, or not one of success."""
    fetch(url, PING_TIMEOUT_S, by_proxy=True)
