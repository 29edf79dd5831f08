"""Saves the readable part of a damaged embedded store into a new one.

First the rows of all pages that can be read go into a store of the same schema (`sqlite_pages.py`); then that
is copied, which leaves out what its sums show to be damaged, and makes counters and indexes again.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path

from opq_cloud.store.embedded.embedded_accounts import (
    ACCOUNTS_APPLICATION_ID,
    ACCOUNTS_FILE,
    ACCOUNTS_MIGRATIONS,
)
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.embedded.schema import APPLICATION_ID, BOXES_PER_SEGMENT, MIGRATIONS
from opq_cloud.store.upkeep.checking import broken_references, lost_measurements
from opq_cloud.store.upkeep.copying import FILES, MEASUREMENTS, TRENDS, CopyReport, Shown, copy_store
from opq_cloud.store.upkeep.sqlite_pages import Row, SqlitePages
from opq_proto.errors import OtherFormError, StoreError
from opq_proto.kit.sqlite_file import run_migration

HOLDS = {"blocks": MEASUREMENTS, "parcels": MEASUREMENTS, "trends_new": TRENDS, "chunks": FILES}
"""Table of a file -> what its rows are part of, as the report names it."""
VERSION_AT = 60
"""Where a file's schema number stands in its header."""
FORM_AT = 68
"""Where the mark of its form stands there."""


@dataclass
class RepairReport(CopyReport):
    """The saved and the lost parts."""

    lost: set[str] = field(default_factory=set)
    """Tables of which not all could be read."""


def repair_store(
    folder: Path, into: Path, name: str, shown: Shown = lambda name, count: None
) -> RepairReport:
    """Makes a new store in `into` of what can be read of the one in `folder`, which is not changed.

    Args:
        name: of the store's file in both folders.
    Raises:
        StoreError: the new folder has a store, nothing can be read, or the disk is full.
        OtherFormError: the store is in the form of before 0.2.0.
    """
    if (into / name).exists():
        raise StoreError(f"{into / name}: is there already; give an empty folder")
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines: list[str] = []
    lost: set[str] = set()
    with tempfile.TemporaryDirectory(dir=into, prefix=".salvage-") as beside:
        saved = Path(beside) / "saved"
        saved.mkdir()
        for file, scripts, owner in (
            (name, MIGRATIONS, APPLICATION_ID),
            (ACCOUNTS_FILE, ACCOUNTS_MIGRATIONS, ACCOUNTS_APPLICATION_ID),
        ):
            if (folder / file).exists():
                for table, line in salvage(
                    _with_log(folder / file, Path(beside)), saved / file, scripts, owner
                ):
                    lost.add(HOLDS.get(table, table))
                    lines.append(line)
        with closing(EmbeddedStore(saved / name)) as source, closing(EmbeddedStore(into / name)) as target:
            report = copy_store(source, target, str(folder), shown)
            with target.driver.read() as documents:
                lines += broken_references(documents)
    return RepairReport(report.copied, [*lines, *report.problems], lost)


def _with_log(path: Path, beside: Path) -> Path:
    """Returns a copy of a file into which its log is written back, as far as SQLite can."""
    copy = beside / path.name
    shutil.copyfile(path, copy)
    with suppress(FileNotFoundError):
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy


def salvage(path: Path, to: Path, scripts: Sequence[str], owner: int) -> Iterator[tuple[str, str]]:
    """Copies all rows that can be read into a new file; yields each table that lost some, with a line.

    Raises:
        StoreError: the page with the schema cannot be read.
        OtherFormError: the file is in the form of before 0.2.0, whose columns have another order.
    """
    with path.open("rb") as file:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    if data[FORM_AT : FORM_AT + 4] == owner.to_bytes(4).upper():  # that mark had the same letters as capitals
        raise OtherFormError(path.name)
    pages = SqlitePages(data)
    roots = pages.roots()
    if not roots:
        raise StoreError(f"{path.name}: not even its tables can be found; restore a back-up")
    version = int.from_bytes(data[VERSION_AT : VERSION_AT + 4], "big")
    version = version if 0 < version <= len(scripts) else len(scripts)
    with closing(sqlite3.connect(to)) as made, made:
        made.execute("PRAGMA synchronous = OFF")  # it is copied once more
        for each in scripts[:version]:
            run_migration(made, each)
        made.execute(f"PRAGMA application_id = {owner}")
        made.execute(f"PRAGMA user_version = {version}")
        tables = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for table, sql in made.execute(tables).fetchall():
            pages.lost_pages = pages.lost_rows = 0
            if table not in roots:
                yield table, f"{path.name}: table {table} cannot be found"
                continue
            _insert(made, table, "WITHOUT ROWID" in sql, pages.rows(roots[table]))
            lost = pages.lost_pages, pages.lost_rows
            if "document TEXT" in sql:
                gone = made.execute(f"DELETE FROM {table} WHERE NOT json_valid(document)").rowcount
                lost = lost[0], lost[1] + gone
            if any(lost):
                text = f"{lost[0]} pages and {lost[1]} more rows cannot be read"
                yield table, f"{path.name}: table {table}: {text}"
        yield from ((MEASUREMENTS, f"{path.name}: {line}") for line in lost_measurements(made))
        if owner == APPLICATION_ID:  # blocks whose segment was lost
            made.execute(
                "INSERT OR IGNORE INTO segments "
                f"SELECT block / {BOXES_PER_SEGMENT}, min(start_ms), max(end_ms), sum(rows), 0 "
                "FROM blocks GROUP BY 1"
            )


def _insert(made: sqlite3.Connection, table: str, without_rowid: bool, rows: Iterator[Row]) -> None:
    columns = [
        (name, key)
        for _, name, _, _, _, key, hidden in made.execute(f"PRAGMA table_xinfo({table})")
        if not hidden
    ]
    if without_rowid:  # the key is stored first
        columns = sorted((each for each in columns if each[1]), key=lambda each: each[1]) + [
            each for each in columns if not each[1]
        ]
    for rowid, values in rows:
        if len(values) > len(columns):
            continue  # a row of another table
        given = dict(zip((name for name, _ in columns), values, strict=False))
        for name, key in columns:
            if key and given.get(name) is None and rowid is not None:
                given[name] = rowid
        names, marks = ", ".join(given), ", ".join("?" * len(given))
        with suppress(sqlite3.Error):  # a value that the column does not take
            made.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", [*given.values()])
