"""What is wrong with the databases of a data folder: gone, damaged, locked, too new, or of the future."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from opq_cloud.core.service_conditions import CONDITIONS
from opq_cloud.store import open_store
from opq_cloud.store.embedded.embedded_accounts import (
    ACCOUNTS_APPLICATION_ID,
    ACCOUNTS_FILE,
    ACCOUNTS_MIGRATIONS,
)
from opq_cloud.store.embedded.measurement_log import NEWEST_MS
from opq_cloud.store.embedded.schema import APPLICATION_ID, MIGRATIONS
from opq_gateway.uplink.queue_file import QueueReader
from opq_proto.errors import OtherFormError, StoreError
from opq_proto.kit.sqlite_file import reading_address
from opq_proto.kit.system_record import UnfinishedRestoreError
from opq_tools.shared.opened_store import SHOWN_ANSWER_S, passed_over, store_place
from opq_tools.system.doctor.problem import Problem

CHECKED_BYTES = 200 << 20
"""A larger database is not read whole here: that would take longer than the rest."""
LARGE_LOG = 1 << 30
HEAD = b"SQLite format 3\0"
VERSION_AT = 60
"""Place of a file's schema number in its header. Source: sqlite.org/fileformat2.html, 1.3."""
FORM_AT = 68
"""Place of the application id, the mark of the form."""
HEADER_BYTES = 100
"""Length of the header."""
SCHEMAS = {
    "opq.db": (APPLICATION_ID, len(MIGRATIONS)),
    ACCOUNTS_FILE: (ACCOUNTS_APPLICATION_ID, len(ACCOUNTS_MIGRATIONS)),
}
"""File -> the mark of its form, and the newest schema that this version reads."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
QUEUE = "gateway/queue.sqlite"
RESTORE = "opq-tools restore ARCHIVE into an empty folder (docs/operating.md, Copies)"
REPAIR = "opq-tools store repair saves what can be read, or opq-tools restore ARCHIVE into an empty folder"


def check_stores(data_dir: Path) -> Iterator[Problem]:
    """Yields what is wrong with the databases, and with the clock by what they have."""
    for name, (form, newest_schema) in SCHEMAS.items():
        path = data_dir / name
        if not path.exists():
            if name == "opq.db" and (data_dir / ACCOUNTS_FILE).exists() and (data_dir / "mauka").exists():
                yield Problem("store", f"{path} is gone", RESTORE)
            continue
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        if not head.startswith(HEAD):
            what = "is empty" if not head else "is not an SQLite file"
            yield Problem("store", f"{path} {what}", REPAIR if head else RESTORE)
            continue
        schema = int.from_bytes(head[VERSION_AT : VERSION_AT + 4], "big")
        with contextlib.suppress(sqlite3.Error), _opened(path) as opened:  # it may be in the log still
            (schema,) = opened.execute("PRAGMA user_version").fetchone()
        if int.from_bytes(head[FORM_AT : FORM_AT + 4], "big") not in (form, 0):
            yield Problem("store", str(OtherFormError(path)), "move it away")
        elif schema > newest_schema:
            text = f"{path} has schema {schema}, and this version reads schemas up to {newest_schema}"
            fix = "install the opq-toolkit that wrote it, or restore an archive of before into another folder"
            yield Problem("store", text, fix)
        log = path.with_name(f"{name}-wal")
        if log.exists() and log.stat().st_size > LARGE_LOG:
            text = f"{log} has {log.stat().st_size / 1e9:.1f} GB: a program reads {name} and does not end"
            yield Problem("store", text, f"end what holds it (fuser {path}), such as a forgotten sqlite3")
        if path.stat().st_size <= CHECKED_BYTES:
            yield from _read_whole(path)
    yield from check_clock(data_dir)
    yield from _check_mongo(data_dir)
    if (unused := passed_over(data_dir)) is not None:
        yield Problem("store", f"{unused.text}: {unused.fix}", unused.fix, is_note=True)


def _check_mongo(data_dir: Path) -> Iterator[Problem]:
    """Yields that the MongoDB of the cloud's configuration is out of reach, and a clock that is before it."""
    try:
        mongo_uri, folder = store_place(None, data_dir)
    except UnfinishedRestoreError as error:
        yield Problem("store", str(error), RESTORE)
        return
    if mongo_uri is None:
        return
    try:
        with contextlib.closing(open_store(mongo_uri, folder, True, SHOWN_ANSWER_S)) as store:
            newest_ms, lost = store.newest_ms(), store.lost_incidents()
    except StoreError as error:
        yield Problem("store", str(error), "start it, or correct [store] mongo_uri of the cloud")
        return
    yield from _compared(newest_ms, "the MongoDB of the configuration")
    if lost:
        text = f"the original has lost {lost} incidents, because two services number those of this store"
        yield Problem("store", text, "let one service number them (docs/boxes.md, Incident numbers)")


def _read_whole(path: Path) -> Iterator[Problem]:
    try:
        with _opened(path) as opened:
            (first, *_) = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in LOCKED:
            text, fix = f"{path} is locked by another program", f"end what holds it: fuser {path}"
        elif code in DAMAGED:
            text, fix = f"{path} is damaged: {error}", REPAIR
        else:  # a full disk, rights: each is named by itself
            text, fix = f"{path} cannot be read now: {error}", "what helps with its disk and its owner"
        yield Problem("store", text, fix)
        return
    if first != "ok":
        yield Problem("store", f"{path} is damaged: {first}", REPAIR)


def check_clock(data_dir: Path) -> Iterator[Problem]:
    """Yields a clock that is before what was measured: what comes now would be older than what is stored."""
    for name, read in (("opq.db", _newest_stored_ms), (QUEUE, _newest_queued_ms)):
        path = data_dir / name
        if path.is_file():
            newest_ms = None
            with contextlib.suppress(sqlite3.Error):  # another form, or named above
                newest_ms = read(path)
            yield from _compared(newest_ms, str(path))


def _newest_stored_ms(path: Path) -> int | None:
    with _opened(path) as opened:
        newest_ms: int | None = opened.execute(NEWEST_MS).fetchone()[0]
    return newest_ms


def _newest_queued_ms(path: Path) -> int | None:
    end_ns = QueueReader(path).last_end_ns()
    return None if end_ns is None else end_ns // 1_000_000


def _compared(newest_ms: int | None, where: str) -> Iterator[Problem]:
    ahead_s = 0.0 if newest_ms is None else newest_ms / 1000 - time.time()
    if newest_ms is not None and ahead_s > CONDITIONS["clock"].limit:
        at = datetime.fromtimestamp(newest_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        text = f"this machine's clock is {ahead_s:.0f} s behind the newest Measurement in {where}, of {at}"
        yield Problem("clock", text, "set the clock (timedatectl), and let a daemon keep it: chrony")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(reading_address(path), uri=True)) as opened:
        yield opened
