"""What only the embedded store does: sealed blocks, damage, full disks, schemas."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import CloudContext
from opq_cloud.core.service_conditions import Reading
from opq_cloud.health.readings import Answer, AnswerReader
from opq_cloud.store import open_store, opened_people
from opq_cloud.store.embedded import lost_store, schema
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.embedded.schema import MIGRATIONS
from opq_cloud.store.embedded.sequence_runs import RUN_LIMIT, SequenceRuns
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.view.web.links import make_ticket
from opq_proto.errors import READING_COMMIT, OtherFormError, StoreError
from opq_proto.kit.sqlite_database import SqliteDatabase
from opq_proto.kit.sqlite_file import LOST
from opq_proto.measurement.packed import pack_one
from opq_proto.messages import Measurement, Metric, TimeSource, Trend, Trigger, Waveform

NOW_MS = 1_765_792_486_013
TRIGGER = Trigger("t", 0, 10**9, ("1", "2"), "1", "x")
WAVE = Waveform("1", 0, 0, TimeSource.GPS, 12_000_000, 0.02, 0, np.arange(3000, dtype=np.int16))


def row(box_id: str, sequence: int | None, at_ms: int | None = None) -> Measurement:
    metrics = {"rms": Metric(118.5, 121.25, 120.125), "f": Metric(59.5, 60.5, 60.0)}
    timestamp_ms = NOW_MS + 1000 * (sequence or 0) if at_ms is None else at_ms
    return Measurement(box_id, timestamp_ms, metrics, sequence=sequence)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "opq.db"


@pytest.fixture
def sealing(path: Path) -> Iterator[EmbeddedStore]:
    """A store that seals after every 30 rows."""
    store = EmbeddedStore(path, seal_rows=30)
    yield store
    store.close()


def sealed_rows(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (rows,) = connection.execute("SELECT coalesce(sum(rows), 0) FROM segments").fetchone()
    connection.close()
    return int(rows)


def wait_for_sealing(path: Path, rows: int) -> None:
    """Also until the pass has ended: rows that come before its end wait for the next append to be sealed."""
    deadline = time.monotonic() + 240
    while sealed_rows(path) < rows or any(each.name == "store-sealer" for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Sealing


def test_rows_read_the_same_before_and_after_sealing(sealing: EmbeddedStore, path: Path) -> None:
    rows = [row(box_id, n) for n in range(25) for box_id in ("1", "2")]
    for start in range(0, len(rows), 10):
        sealing.append_measurements(rows[start : start + 10])
    wait_for_sealing(path, 30)
    assert sealing.measurements("1", 0, 2**52) == [r for r in rows if r.box_id == "1"]
    middle = sealing.measurements("2", NOW_MS + 5000, NOW_MS + 20_000)
    assert [r.sequence for r in middle] == list(range(5, 20))
    assert sealing.latest_measurements() == {"1": row("1", 24), "2": row("2", 24)}
    assert sealing.counts()["measurements"] == 50


def test_sealed_rows_are_still_known_as_stored(sealing: EmbeddedStore, path: Path) -> None:
    rows = [row("1", n) for n in range(40)] + [row("2", None, NOW_MS + n) for n in range(40)]
    assert sealing.append_measurements(rows) == 80
    wait_for_sealing(path, 80)
    assert sealing.append_measurements(rows) == 0
    late = [row("2", None, NOW_MS - 5), row("1", 50), row("1", 45)]
    assert sealing.append_measurements(late) == 3
    assert sealing.append_measurements(late) == 0
    assert sealing.sequences("1", 38, 60) == [38, 39, 45, 50]


def test_a_second_reader_sees_sealed_rows(sealing: EmbeddedStore, path: Path) -> None:
    other = EmbeddedStore(path, seal_rows=10**6)
    try:
        assert other.append_measurements([row("1", n) for n in range(10)]) == 10
        assert sealing.append_measurements([row("1", n) for n in range(40)]) == 30
        wait_for_sealing(path, 40)
        assert other.append_measurements([row("1", n) for n in range(45)]) == 5
        assert sealing.append_measurements([row("9", 1), row("1", 44)]) == 1
        assert other.append_measurements([row("9", 1)]) == 0
    finally:
        other.close()


def test_sealing_an_older_row_keeps_the_latest(sealing: EmbeddedStore, path: Path) -> None:
    sealing.append_measurements([row("1", n) for n in range(100, 130)])
    wait_for_sealing(path, 30)
    sealing.append_measurements([row("1", n) for n in range(30)])
    wait_for_sealing(path, 60)
    assert sealing.latest_measurements() == {"1": row("1", 129)}


def test_rows_that_nothing_follows_expire_too(path: Path) -> None:
    store = EmbeddedStore(path)
    store.append_measurements([row("1", n) for n in range(10)])
    assert store.expire(int(time.time()) + 3 * 86_400, slice_rows=4) == 10
    assert store.counts()["measurements"] == 0
    assert store.append_measurements([row("1", 3)]) == 0, "stored once, and acknowledged: it stays known"
    store.close()


@given(st.lists(st.integers(0, 60)))
def test_spans_are_a_set(numbers: list[int]) -> None:
    spans, known = SequenceRuns(), set()
    for number in numbers:
        assert spans.add(number) is (number not in known)
        known.add(number)
    assert list(spans.between(0, 100)) == sorted(known)
    assert list(SequenceRuns(spans.pack()).between(10, 20)) == sorted(known & set(range(10, 21)))
    assert spans.highest == max(known, default=None)
    assert spans.check()
    assert all((number in spans) == (number in known) for number in range(-1, 70))


def test_a_list_is_read_in_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the original's documents need a second one; in this file no other program writes."""
    began: list[None] = []
    read = SqliteDatabase.read
    with closing(EmbeddedStore(path)) as store:
        store.find_incidents(IncidentFilter(), 5)

        def counted(database: SqliteDatabase) -> AbstractContextManager[sqlite3.Connection]:
            began.append(None)
            return read(database)

        monkeypatch.setattr(SqliteDatabase, "read", counted)
        store.find_incidents(IncidentFilter(), 5)
    assert len(began) == 1


def test_spans_are_bounded() -> None:
    spans = SequenceRuns()
    for number in range(0, 2 * (RUN_LIMIT + 10), 2):
        spans.add(number)
    assert len(spans.pack()) == RUN_LIMIT * 16
    assert spans.highest == 2 * (RUN_LIMIT + 9)


# Trends


def test_a_roll_up_leaves_minutes_unchanged(path: Path) -> None:
    """Minutes settle when they are rolled up and read the same before and after."""
    store = EmbeddedStore(path)
    begin_ms = NOW_MS // 3_600_000 * 3_600_000

    def put(first: int, stop: int, volts: float) -> None:
        for minute in range(first, stop):  # all Boxes of one minute come together
            rms = {"rms": (volts + minute, volts + minute, volts + minute)}
            store.put_trends([Trend(box, begin_ms + minute * 60_000, rms) for box in ("1", "20", "3")])

    def rows(table: str) -> int:
        with store._database.read() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    put(0, 70, 100.0)
    before = store.trends("20", begin_ms, begin_ms + 7_200_000)
    assert [each.metrics["rms"][0] for each in before] == [100.0 + minute for minute in range(70)]
    now_ms = begin_ms + 65 * 60_000
    while store.roll_up(now_ms):  # an hour is over
        pass
    assert (rows("trends"), rows("trends_new")) == (180, 30), "ten of each Box have not settled"
    assert store.trends("20", begin_ms, begin_ms + 7_200_000) == before
    put(3, 4, 90.0)  # the other part of one that has settled
    assert store.trends("3", begin_ms, begin_ms + 600_000)[3].metrics["rms"][:2] == (93.0, 103.0)
    assert (rows("trends_new"), store.counts()["trends"]) == (33, 210)
    while store.roll_up(now_ms):
        pass
    assert (rows("trends"), rows("trends_new")) == (180, 30)
    while store.roll_up(now_ms + 3_600_000):
        pass
    assert (rows("trends"), rows("trends_new"), store.counts()["trends"]) == (210, 0, 210)
    lows = [each.metrics["rms"][0] for each in store.trends("1", begin_ms, begin_ms + 7_200_000)]
    assert lows == [93.0 if minute == 3 else 100.0 + minute for minute in range(70)]


def test_minutes_older_than_90_days_become_hours(path: Path) -> None:
    store = EmbeddedStore(path)
    hour_ms = NOW_MS // 3_600_000 * 3_600_000
    for minute in range(120):
        value = float(minute)
        store.put_trends(
            [Trend("1", hour_ms + minute * 60_000, {"rms": (value, value + 2, value + 1)})], "oahu"
        )
    while store.roll_up(hour_ms + 86_400_000):  # as the retention thread, before it deletes
        pass
    assert store.expire(hour_ms // 1000 + 80 * 86_400) == 0
    while store.expire(hour_ms // 1000 + 92 * 86_400):
        pass
    assert store.trends("1", hour_ms, hour_ms + 7_200_000) == [
        Trend("1", hour_ms, {"rms": (0.0, 61.0, 30.5)}, 3_600_000, 3_600_000),
        Trend("1", hour_ms + 3_600_000, {"rms": (60.0, 121.0, 90.5)}, 3_600_000, 3_600_000),
    ]
    store.close()


# Damage, full disks, other files


def test_a_damaged_waveform_is_named(path: Path) -> None:
    store = EmbeddedStore(path)
    event_id = store.open_event(TRIGGER, "x")
    store.put_waveform(event_id, WAVE)
    store.put_waveform(event_id, Waveform("2", 0, 0, TimeSource.GPS, 12_000_000, 0.02, 0, WAVE.counts))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE chunks SET data = zeroblob(length(data)) "
            "WHERE file = (SELECT file FROM files WHERE filename = 'event_1_1')"
        )
    connection.close()
    store = EmbeddedStore(path)
    event = store.event(event_id)
    assert event is not None
    assert [wave.box_id for wave in event.waveforms] == ["2"]
    assert "sha256 differs" in event.missing["1"]
    store.close()


def test_vacuum_copy_of_a_running_store_is_complete(sealing: EmbeddedStore, path: Path) -> None:
    """As `opq-tools backup` does (docs/operating.md, Copies)."""
    event_id = sealing.open_event(TRIGGER, "x")
    sealing.put_waveform(event_id, WAVE)
    sealing.append_measurements([row("1", number) for number in range(40)])
    with sqlite3.connect(path) as connection:
        connection.execute("VACUUM INTO ?", (str(path.with_name("copy.db")),))
    connection.close()
    sealing.append_measurements([row("1", 40)])
    copied = EmbeddedStore(path.with_name("copy.db"))
    event = copied.event(event_id)
    assert event is not None and np.array_equal(event.waveforms[0].counts, WAVE.counts)
    assert len(copied.measurements("1", 0, 2**52)) == 40
    copied.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    EmbeddedStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=f"schema 99, this program knows up to {len(MIGRATIONS)}") as caught:
        EmbeddedStore(path)
    assert "\n" not in str(caught.value)


def test_schema_1_goes_one_step_with_its_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the published schema, made from a copy of it, gets a further table and column."""
    published = (Path(__file__).parent / "data" / "schema_1.sql").read_text()
    with sqlite3.connect(path) as connection:
        connection.executescript(published)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute('INSERT INTO opq_boxes VALUES (\'1\', \'{"box_id": "1", "location": "hale"}\')')
    connection.close()
    further = (MIGRATIONS[0], "ALTER TABLE opq_boxes ADD COLUMN colour TEXT; CREATE TABLE more (x INTEGER)")
    monkeypatch.setattr(schema, "MIGRATIONS", further)
    store = EmbeddedStore(path)
    assert [(box.box_id, box.location) for box in store.boxes()] == [("1", "hale")]
    store.append_measurements([row("1", 1)])
    assert store.measurements("1", 0, 2**52) == [row("1", 1)]
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (0,)
    connection.close()
    assert "".join(MIGRATIONS[0].split()) == "".join(published.split()), "a published schema is never changed"


def test_a_file_of_another_form_names_its_reader(path: Path) -> None:
    """`opq.db` as programs before 0.2.0 marked it."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE opq_boxes (box_id TEXT PRIMARY KEY, document TEXT NOT NULL)")
        connection.execute("PRAGMA application_id = 0x4F505153")
        connection.execute("PRAGMA user_version = 24")
    connection.close()
    before = path.read_bytes()[100:]
    with pytest.raises(OtherFormError, match=f"opq.db: .* commit {READING_COMMIT} reads; move it away"):
        EmbeddedStore(path)
    assert path.read_bytes()[100:] == before, "only the journal's mode in its head may differ"


def test_a_migration_that_fails_leaves_the_old_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EmbeddedStore(path).close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (x); SELECT x FROM nowhere"))
    with pytest.raises(StoreError, match="nowhere"):
        EmbeddedStore(path)
    monkeypatch.undo()
    EmbeddedStore(path).close()


def test_many_may_open_a_new_file_at_once(path: Path) -> None:
    stores: list[EmbeddedStore] = []
    threads = [threading.Thread(target=lambda: stores.append(EmbeddedStore(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.next_event_id() for store in stores) == list(range(1, 9))
    for store in stores:
        store.close()


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        EmbeddedStore(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        EmbeddedStore(path)


def test_a_read_only_file_is_one_line(path: Path) -> None:
    store = EmbeddedStore(path)
    store._database.write(lambda connection: None)
    # root may write any file, so SQLite is asked to refuse
    store._database._file.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="check its owner and mode") as caught:
        store.next_event_id()
    assert "\n" not in str(caught.value)
    store.close()


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="choose another --data-dir") as caught:
        open_store(None, tmp_path / "file" / "data")
    assert "\n" not in str(caught.value)


FILL = """
import resource, sys
from pathlib import Path
import numpy as np
from opq_cloud.store.documents.findings import incident_document
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.errors import StoreError
from opq_proto.measurement.packed import pack_one
from opq_proto.messages import TimeSource, Trigger, Waveform
store = EmbeddedStore(Path(sys.argv[1]))
event_id = store.open_event(Trigger("t", 0, 1, ("1",), "1", "x"), "x")
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
wave = lambda n: Waveform(str(n), 0, 0, TimeSource.FREE, 12_000_000, 1.0, 0, np.zeros(200_000, np.int16))
stored = []
try:
    for n in range(20):
        store.put_waveform(event_id, wave(n))
        stored.append(str(n))
except StoreError as error:
    print(error)
print(",".join(stored))
print(store.event(event_id).waveforms[0].counts.size, flush=True)
store.close()
"""


def test_a_full_disk_loses_nothing_stored(path: Path) -> None:
    """A disk that takes no more is one line and loses nothing stored."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    error, stored, samples = done.stdout.splitlines()
    assert "nothing of this call was stored" in error
    assert samples == "200000"
    store = EmbeddedStore(path)
    event = store.event(1)
    assert event is not None
    assert [wave.box_id for wave in event.waveforms] == stored.split(",")
    assert event.missing == {}
    store.close()


def test_a_store_that_another_process_holds_says_so(path: Path) -> None:
    store = EmbeddedStore(path, busy_s=0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="another process holds it"):
            store.next_event_id()
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert store.next_event_id() == 1
    assert store.append_measurements([row("1", 1)]) == 1
    store.close()


def test_a_failed_job_leaves_its_neighbours(path: Path) -> None:
    store = EmbeddedStore(path)
    database = store._database
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")  # the writer waits, so that the next jobs make one group
    first = database.submit(lambda connection: None)
    good = database.submit(
        lambda connection: connection.execute("INSERT INTO counters VALUES ('x', 1)").rowcount
    )
    bad = database.submit(lambda connection: connection.execute("INSERT INTO nowhere VALUES (1)"))
    holder.execute("ROLLBACK")
    holder.close()
    assert first.result(10) is None
    assert good.result(10) == 1
    with pytest.raises(StoreError, match="nowhere"):
        bad.result(10)
    store.close()


def test_a_failed_append_is_not_remembered_as_stored(path: Path) -> None:
    store = EmbeddedStore(path)
    store.append_measurements([row("1", 1)])
    key: tuple[str, int, int | None] = "1", row("1", 2).timestamp_ms, 2
    wanted = [(key, pack_one(row("1", 2)))]

    def torn(connection: sqlite3.Connection) -> None:
        store._append(connection, wanted, [], None)
        raise StoreError("the power went")

    with pytest.raises(StoreError, match="power"):
        store._database.write(torn)
    assert store.append_measurements([row("1", 2)]) == 1
    store.close()


def test_a_closed_store_says_so(path: Path) -> None:
    store = EmbeddedStore(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.next_event_id()
    with pytest.raises(StoreError, match="closed"):
        store.boxes()


def test_an_empty_store_file_is_reported_and_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of 0 bytes is not replaced by a new one."""
    monkeypatch.setattr(lost_store, "BEING_MADE_S", 0.1)
    path.touch()
    with pytest.raises(StoreError, match=r"opq\.db: is empty \(0 bytes\)"):
        EmbeddedStore(path)
    assert path.stat().st_size == 0
    path.unlink()
    EmbeddedStore(path).close()


def test_a_file_another_process_makes_is_awaited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_store, "BEING_MADE_S", 60.0)
    path.touch()
    made = threading.Timer(0.2, lambda: sqlite3.connect(path).execute("PRAGMA journal_mode=WAL"))
    made.start()
    EmbeddedStore(path).close()
    made.join()
    assert path.stat().st_size, "the other's file is the store"


def test_a_missing_store_beside_accounts_is_reported(path: Path) -> None:
    with opened_people(None, path.parent) as people:  # an invitation before the first start shows no loss
        make_ticket(people, "first_admin", 60, role="admin")
    store = EmbeddedStore(path)
    store.people.add_account("a@example.org", "A", "admin", "x")
    store.close()
    path.unlink()
    with pytest.raises(StoreError, match=r"is gone, and accounts\.db beside it shows that there was one"):
        EmbeddedStore(path)
    assert not path.exists()
    path.with_name("accounts.db").unlink()
    EmbeddedStore(path).close()


def test_a_file_removed_in_use_is_not_ok(path: Path) -> None:
    context = CloudContext(lambda: open_store(None, path.parent))
    board = ServiceBoard(store_problem=context.store_problem)
    assert board.health("all").ok
    assert context.store.problem is None
    for happens, text in (
        (lambda: path.rename(path.with_name("moved")), "No such file or directory"),
        (path.touch, "was replaced by another file"),
        (lambda: path.with_name("moved").rename(path), None),
    ):
        happens()
        health = board.health("all")
        assert health.ok is (text is None)
        assert [text in str(part.info) for part in health.subcomponents] == [True] * (text is not None)
    context.close()


@pytest.mark.parametrize("name", ["opq.db", "accounts.db"])
def test_a_log_deleted_in_use_is_a_verdict(path: Path, name: str) -> None:
    """What is written then is in a file without a name, and gone with the last process that has it open."""
    context = CloudContext(lambda: open_store(None, path.parent))
    log = path.with_name(f"{name}-wal")
    with closing(context):
        context.store.people.add_account("a@example.org", "A", "admin", "x")
        reader, board = AnswerReader("1"), ServiceBoard(store_problem=context.store_problem)

        def ill_services() -> list[Reading]:
            found = reader.readings([Answer("all", board.health("all").as_json())], {}, 0.0, 0.0)
            return [each for each in found if each.condition == "service" and each.value]

        assert log.exists() and ill_services() == []
        log.unlink()
        context.store.append_measurements([row("1", 1)])
        [ill] = ill_services()
        assert (ill.name, ill.info) == ("store of all", f"{log}: No such file or directory: {LOST}")


def test_locks_lost_in_use_are_a_verdict(path: Path) -> None:
    """POSIX ends all locks of a process on a file when it closes any descriptor of it."""
    context = CloudContext(lambda: open_store(None, path.parent))
    with closing(context):
        assert context.store.problem is None
        path.open("rb").close()
        assert "its locks are lost, so another program may delete its log" in str(context.store_problem())
