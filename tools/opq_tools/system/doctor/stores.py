"""What is wrong with the databases of a data folder: gone, damaged, locked, too new, or of the future."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from opq_cloud.core.conditions import CONDITIONS
from opq_cloud.store import open_store
from opq_cloud.store.embedded.accounts import ACCOUNTS_FILE, ACCOUNTS_MIGRATIONS
from opq_cloud.store.embedded.measurement_log import NEWEST_MS
from opq_cloud.store.embedded.schema import MIGRATIONS
from opq_proto.errors import StoreError
from opq_tools.shared.opened_store import store_place
from opq_tools.system.doctor.problem import Problem

CHECKED_BYTES = 200 << 20
"""A larger database is not read whole here: that would take longer than the rest."""
LARGE_LOG = 1 << 30
HEAD = b"SQLite format 3\0"
VERSION_AT = 60
"""Place of a file's schema number in its header. Source: sqlite.org/fileformat2.html, 1.3."""
HEADER_BYTES = 100
"""Length of the header."""
SCHEMAS = {"opq.db": len(MIGRATIONS), ACCOUNTS_FILE: len(ACCOUNTS_MIGRATIONS)}
"""File -> the newest schema that this version reads."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NEWEST_QUERIES = {
    "opq.db": NEWEST_MS,
    "gateway/queue.sqlite": "SELECT max(last_end_ns) / 1000000 FROM boxes",
}
"""File -> the time of its newest Measurement, ms."""
RESTORE = "opq-tools restore ARCHIVE into an empty folder (docs/operating.md, Copies)"
REPAIR = "opq-tools store repair saves what can be read, or opq-tools restore ARCHIVE into an empty folder"


def check_stores(data_dir: Path) -> Iterator[Problem]:
    """Yields what is wrong with the databases, and with the clock by what they have."""
    for name, newest_schema in SCHEMAS.items():
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
        if schema > newest_schema:
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


def _check_mongo(data_dir: Path) -> Iterator[Problem]:
    """Yields that the MongoDB of the cloud's configuration is out of reach, and a clock that is before it."""
    mongo_uri, folder = store_place(None, data_dir)
    if mongo_uri is None:
        return
    try:
        with contextlib.closing(open_store(mongo_uri, folder, untouched=True)) as store:
            newest_ms = store.newest_ms()
    except StoreError as error:
        yield Problem("store", str(error), "start it, or correct [store] mongo_uri of the cloud")
        return
    yield from _compared(newest_ms, "the MongoDB of the configuration")


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
    for name, question in NEWEST_QUERIES.items():
        path, newest_ms = data_dir / name, None
        if path.is_file():
            with (
                contextlib.suppress(sqlite3.Error),
                _opened(path) as opened,
            ):  # an older schema, or named above
                (newest_ms,) = opened.execute(question).fetchone()
        yield from _compared(newest_ms, str(path))


def _compared(newest_ms: int | None, where: str) -> Iterator[Problem]:
    ahead_s = 0.0 if newest_ms is None else newest_ms / 1000 - time.time()
    if newest_ms is not None and ahead_s > CONDITIONS["clock"].limit:
        at = datetime.fromtimestamp(newest_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        text = f"this machine's clock is {ahead_s:.0f} s behind the newest Measurement in {where}, of {at}"
        yield Problem("clock", text, "set the clock (timedatectl), and let a daemon keep it: chrony")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as opened:
        yield opened
