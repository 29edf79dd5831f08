"""SQLite files: schema and owner, transactions, group commit, errors that say what to do."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from opq_proto.errors import READING_COMMIT, StoreError
from opq_proto.kit.sqlite_database import IDLE_READERS, SqliteDatabase
from opq_proto.kit.sqlite_file import SqliteFile, store_error

NUMBERS = "CREATE TABLE numbers (n INTEGER PRIMARY KEY)"
MORE = "ALTER TABLE numbers ADD COLUMN name TEXT; CREATE INDEX by_name ON numbers (name)"


def pragma(file: SqliteFile, name: str) -> object:
    return file.query(f"PRAGMA {name}")[0][0]


def test_a_new_file_has_wal_and_schema(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "deep" / "a.sqlite", (NUMBERS, MORE), application_id=77)
    assert (pragma(file, "journal_mode"), pragma(file, "user_version")) == ("wal", 2)
    assert (pragma(file, "application_id"), pragma(file, "synchronous")) == (77, 2)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.close()


def test_a_readable_file_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    held = SqliteFile(path, (NUMBERS,), application_id=77)
    files = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    for file in files:
        file.chmod(0o664)
    SqliteFile(path, (NUMBERS,), application_id=77).close()
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    held.close()


def test_what_is_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SqliteFile(Path(":memory:"), (NUMBERS,), application_id=77).close()
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_gets_missing_migrations(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    before = SqliteFile(path, (NUMBERS,), application_id=77)
    before.execute("INSERT INTO numbers VALUES (7)")
    before.close()
    file = SqliteFile(path, (NUMBERS, MORE), application_id=77)
    assert file.query("SELECT * FROM numbers") == [(7, None)]
    file.close()
    SqliteFile(path, (NUMBERS, MORE), application_id=77).close()  # ALTER again would fail


def test_a_newer_or_foreign_file_is_refused(tmp_path: Path) -> None:
    newer, foreign = tmp_path / "newer", tmp_path / "foreign"
    SqliteFile(newer, (NUMBERS, MORE), application_id=77).close()
    with pytest.raises(StoreError, match="has schema 2, this program knows up to 1"):
        SqliteFile(newer, (NUMBERS,), application_id=77)
    with sqlite3.connect(foreign) as theirs:
        theirs.execute("CREATE TABLE t (a)")
    with pytest.raises(StoreError, match=f"of another program, or .* commit {READING_COMMIT} reads"):
        SqliteFile(foreign, (NUMBERS,), application_id=77)
    with sqlite3.connect(foreign) as theirs:
        assert theirs.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    SqliteFile(path, (NUMBERS,), application_id=77).close()
    with pytest.raises(sqlite3.OperationalError):
        SqliteFile(path, (NUMBERS, "CREATE TABLE second (a); CREATE TABLE nonsense"), application_id=77)
    file = SqliteFile(path, (NUMBERS,), application_id=77)
    assert file.query("SELECT name FROM sqlite_master WHERE name = 'second'") == []
    file.close()


def test_a_non_database_is_an_sqlite_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        SqliteFile(tmp_path / "a", (NUMBERS,), application_id=77)


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "a.sqlite", (NUMBERS,), application_id=77, synchronous="NORMAL")
    with pytest.raises(KeyboardInterrupt), file.transaction() as db:
        db.execute("INSERT INTO numbers VALUES (1)")
        raise KeyboardInterrupt
    with pytest.raises(sqlite3.IntegrityError):
        file.execute_many("INSERT INTO numbers VALUES (?)", [(1,), (1,)])
    assert file.query("SELECT * FROM numbers") == []
    with file.transaction(synced=True) as db:
        db.execute("INSERT INTO numbers VALUES (2)")
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert pragma(file, "synchronous") == 1
    assert (file.query_row("SELECT n FROM numbers"), file.query_row("SELECT 1 WHERE 0")) == ((2,), None)
    file.close()


def test_threads_share_a_file_without_mixing_their_transactions(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "a.sqlite", (NUMBERS,), application_id=77, synchronous="NORMAL")

    def insert(first: int) -> None:
        for n in range(first, first + 50):
            file.execute_many("INSERT INTO numbers VALUES (?)", [(n,)])

    threads = [threading.Thread(target=insert, args=(50 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.query("SELECT count(*) FROM numbers") == [(200,)]
    file.close()


def test_failed_jobs_of_a_commit_run_alone(tmp_path: Path) -> None:
    """Each is run again by itself."""
    database = SqliteDatabase(tmp_path / "a.sqlite", (NUMBERS,), application_id=77)
    undone: list[str] = []
    database.on_rollback(lambda: undone.append("undone"))
    hold, begun = threading.Event(), threading.Event()

    def wait(connection: sqlite3.Connection) -> None:
        begun.set()
        hold.wait(240)

    first = database.submit(wait)
    assert begun.wait(240)
    answers = [
        database.submit(lambda c, n=n: c.execute("INSERT INTO numbers VALUES (?)", (n,)).rowcount)
        for n in (1, 2, 2, 3)
    ]
    hold.set()
    assert first.result(60) is None
    assert [answer.exception(60) is None for answer in answers] == [True, True, False, True]
    assert "UNIQUE" in str(answers[2].exception())
    with database.read() as reader:
        assert [n for (n,) in reader.execute("SELECT n FROM numbers")] == [1, 2, 3]
    assert undone
    database.close()
    database.close()
    with pytest.raises(StoreError, match="the store is closed"):
        database.write(wait)
    with pytest.raises(StoreError, match="the store is closed"), database.read():
        pass


def test_a_reader_sees_one_state_while_others_write(tmp_path: Path) -> None:
    database = SqliteDatabase(
        tmp_path / "a.sqlite", (NUMBERS,), application_id=77, pragmas=("cache_size=-1000",)
    )
    with database.read() as reader:
        before = reader.execute("SELECT count(*) FROM numbers").fetchone()
        database.write(lambda connection: connection.execute("INSERT INTO numbers VALUES (1)"))
        assert reader.execute("SELECT count(*) FROM numbers").fetchone() == before
        assert reader.execute("PRAGMA cache_size").fetchone() == (-1000,)
    with pytest.raises(StoreError, match="no such table"), database.read() as reader:
        reader.execute("SELECT * FROM strangers")
    database.close()


def test_few_readers_stay_open(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "a.sqlite", (NUMBERS,), application_id=77)

    def is_open(connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            return False
        return True

    with ExitStack() as reading:
        readers = [reading.enter_context(database.read()) for _ in range(3 * IDLE_READERS)]
        assert all(map(is_open, readers))
    assert sum(map(is_open, readers)) == IDLE_READERS
    database.close()
    assert not any(map(is_open, readers))


def test_anothers_commit_changes_the_version(tmp_path: Path) -> None:
    """Our own commit does not."""
    first, second = (SqliteDatabase(tmp_path / "a.sqlite", (NUMBERS,), application_id=77) for _ in range(2))
    before = first.foreign_version()
    first.write(lambda connection: connection.execute("INSERT INTO numbers VALUES (1)"))
    assert first.foreign_version() == before
    second.write(lambda connection: connection.execute("INSERT INTO numbers VALUES (2)"))
    assert first.foreign_version() != before
    begun, hold = threading.Event(), threading.Event()

    def wait(connection: sqlite3.Connection) -> bool:
        begun.set()
        return hold.wait(240)

    writing = first.submit(wait)
    assert begun.wait(240) and first.foreign_version() is None  # it does not wait for the writer
    hold.set()
    assert writing.result(60) and first.foreign_version() is not None
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (sqlite3.OperationalError("database is locked"), "another process holds it"),
        (sqlite3.OperationalError("database or disk is full"), "free space"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "owner and mode"),
        (sqlite3.DatabaseError("file is not a database"), "restore a copy"),
        (sqlite3.OperationalError("something else"), "nothing of this call was stored"),
        (PermissionError(13, "Permission denied"), "cannot be opened: Permission denied"),
    ],
)
def test_errors_say_what_to_do(error: Exception, advice: str) -> None:
    text = str(store_error(Path("/data/a"), error))
    assert text.startswith("/data/a: ") and advice in text


def test_an_unopenable_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="--data-dir"):
        SqliteDatabase(tmp_path / "file" / "a.sqlite", (NUMBERS,), application_id=77)


READ = """
import sys
from pathlib import Path
from opq_proto.errors import StoreError
from opq_proto.kit.sqlite_database import SqliteDatabase
try:
    database = SqliteDatabase(Path(sys.argv[1]), ("NUMBERS", "MORE")[:int(sys.argv[2])], application_id=77)
    with database.read() as connection:
        print(connection.execute("SELECT n FROM numbers").fetchall())
    database.write(lambda connection: connection.execute("INSERT INTO numbers VALUES (2)"))
except StoreError as error:
    print(error)
"""


def read_where_nobody_can_write(path: Path, migrations: int = 1) -> list[str]:
    """The rows of the file, and why it cannot be written, on a mount that is read-only."""
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$4" "$5"'
    words = (path.parent, sys.executable, READ, path, migrations)
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", *map(str, words)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"this machine lets us mount nothing: {told.stderr.strip()}")
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


def test_a_read_only_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "with space" / "a.sqlite"
    writer = SqliteFile(path, (NUMBERS,), application_id=77)
    writer.execute("INSERT INTO numbers VALUES (7)")
    copy = tmp_path / "copy" / "a.sqlite"
    copy.parent.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{copy}{end}")
    rows, why = read_where_nobody_can_write(path)
    assert rows == "[(7,)]", "of a log that its writer still holds"
    assert "its file system is read-only; mount it for writing" in why
    writer.close()
    assert not Path(f"{path}-wal").exists()
    assert read_where_nobody_can_write(path)[0] == "[(7,)]", "of a file alone"
    (why,) = read_where_nobody_can_write(path, migrations=2)
    assert "has schema 1, this program makes 2 of it" in why and "copy the data folder" in why
    (why,) = read_where_nobody_can_write(copy)
    assert "its write-ahead log cannot be read" in why and "copy the data folder" in why
