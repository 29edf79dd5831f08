"""A store with flipped bits and broken pages: `check` finds them, `repair` saves the rest."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from filled_store import described, fill
from store_cases import NOW_MS, TRIGGER, numbered, stored_rows, wave

from opq_cloud.store.embedded.embedded_accounts import ACCOUNTS_FILE
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.upkeep.checking import check_store, file_problems
from opq_cloud.store.upkeep.repair import repair_store
from opq_cloud.store.upkeep.sqlite_pages import SqlitePages
from opq_proto.errors import OtherFormError, StoreError

BOXES, SECONDS = 20, 300
FLIPS = 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with sealed Measurements and waveforms, closed; tests copy its file."""
    folder = tmp_path_factory.mktemp("whole")
    with closing(EmbeddedStore(folder / "opq.db")) as store:
        fill(store)
        for first in range(1000, 1000 + SECONDS, 50):
            store.append_columns(numbered(first, 50, BOXES))
            store.seal()
        event_id = store.open_event(TRIGGER, "flips")
        for box_id in ("1", "4"):
            counts = np.random.default_rng(int(box_id)).integers(-9000, 9000, 12_000, np.int16)
            store.put_waveform(event_id, wave(box_id, counts=counts))
        store.finish_event(event_id)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    for name in ("opq.db", ACCOUNTS_FILE):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    return tmp_path


def sealed_places(path: Path) -> list[tuple[int, int]]:
    """Where the bytes of sealed Measurements and of waveforms are in the file, each with its piece."""
    pieces = "SELECT packed FROM blocks UNION ALL SELECT data FROM chunks"
    with closing(sqlite3.connect(path)) as file:
        found = [row[0] for row in file.execute(pieces)]
    data, places = path.read_bytes(), []
    for number, piece in enumerate(found):
        for begin in range(0, len(piece), 1000):  # a long one is in several pages
            at = data.find(piece[begin : begin + 1000])
            places += [(at + k, number) for k in range(min(1000, len(piece) - begin)) if at > 0]
    return places


def problems(folder: Path) -> list[str]:
    found = file_problems(folder / "opq.db")
    with closing(EmbeddedStore(folder / "opq.db")) as store:
        return found + check_store(store).problems


def test_a_sound_store_has_no_problem(folder: Path) -> None:
    assert problems(folder) == []


@pytest.mark.parametrize("at_once", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_each_of_forty_flipped_bits_is_found(folder: Path, at_once: bool) -> None:
    path, chance = folder / "opq.db", random.Random(46)
    sound, places = path.read_bytes(), sealed_places(path)
    assert len(places) > 20_000
    flips = [(*chance.choice(places), 1 << chance.randrange(8)) for _ in range(FLIPS)]
    for group in [flips] if at_once else [[flip] for flip in flips]:
        data = bytearray(sound)
        for at, _, bit in group:
            data[at] ^= bit
        path.write_bytes(data)
        found = problems(folder)
        assert len(found) == len({piece for _, piece, _ in group}), (group, found)
        assert all("checksum differs" in line or "is damaged" in line for line in found)


def test_a_repair_saves_all_but_the_flipped_pages(folder: Path, whole: Path) -> None:
    path, chance = folder / "opq.db", random.Random(7)
    data, before = bytearray(path.read_bytes()), holding(whole)
    pages = len(data) // 4096
    with closing(sqlite3.connect(path)) as file:
        (first,) = file.execute("SELECT max(rootpage) FROM sqlite_master").fetchone()
        (least,) = file.execute("SELECT min(length(packed)) FROM blocks WHERE rows = 50").fetchone()
    flipped = chance.sample(range(first + 1, pages + 1), 12)  # the tables are before
    for page in flipped:
        at = (page - 1) * 4096
        data[at : at + 4096] = chance.randbytes(4096)
    path.write_bytes(data)
    assert file_problems(path)
    report = repair_store(folder, folder / "new", "opq.db")
    after = holding(folder / "new")
    assert file_problems(folder / "new" / "opq.db") == []
    lost = len(before) - len(after)
    assert 0 < lost <= 12 * 50 * (4096 // least), "no more than the flipped pages had"
    assert after <= before
    rows = [line.removeprefix("opq.db: ").split()[0] for line in report.problems if "Measurements" in line]
    assert sum(map(int, rows)) == lost, report.problems
    assert any("table blocks" in line for line in report.problems)


def holding(folder: Path) -> set[tuple[str, int, float]]:
    with closing(EmbeddedStore(folder / "opq.db")) as store:
        return {
            (row.box_id, row.timestamp_ms, row.metrics["rms"].average)
            for _, rows in store.all_measurements(lambda line: None)
            for row in rows
        }


def test_a_store_with_broken_header_is_saved(folder: Path) -> None:
    path = folder / "opq.db"
    with closing(EmbeddedStore(path)) as store:
        before = described(store)
    data = bytearray(path.read_bytes())
    data[:40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="not a database"):
        EmbeddedStore(path)
    report = repair_store(folder, folder / "new", "opq.db")
    assert report.problems == []
    with closing(EmbeddedStore(folder / "new" / "opq.db")) as store:
        assert described(store) == before


@pytest.mark.parametrize(("name", "mark"), [("opq.db", b"OPQS"), (ACCOUNTS_FILE, b"OPQA")])
def test_a_store_of_another_form_is_not_repaired(folder: Path, name: str, mark: bytes) -> None:
    """The columns of before 0.2.0 had another order, and rows are filled in by the order of columns."""
    data = bytearray((folder / name).read_bytes())
    data[68:72] = mark
    (folder / name).write_bytes(data)
    with pytest.raises(OtherFormError, match=f"^{name}: .* form of before 0.2.0"):
        repair_store(folder, folder / "new", "opq.db")
    assert list((folder / "new").iterdir()) == []


def test_the_log_is_saved_and_damage_kept(tmp_path: Path) -> None:
    """The log's data are saved too, and the damaged store is not changed."""
    path = tmp_path / "opq.db"
    store = EmbeddedStore(path)
    store.append_columns(numbered(1, 100))
    folder = tmp_path / "killed"
    folder.mkdir()
    for name in ("opq.db", "opq.db-wal"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    store.close()
    kept = [(each.name, each.read_bytes()) for each in sorted(folder.iterdir())]
    repair_store(folder, tmp_path / "new", "opq.db")
    assert [(each.name, each.read_bytes()) for each in sorted(folder.iterdir())] == kept
    with closing(EmbeddedStore(tmp_path / "new" / "opq.db")) as saved:
        found = saved.measurements("2", NOW_MS, NOW_MS + 200_000)
        assert found == [row for row in stored_rows(numbered(1, 100)) if row.box_id == "2"]


@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_pages_are_read_as_sqlite_reads_them(tmp_path: Path, size: int) -> None:
    values = [None, 0, 1, -1, 127, -128, 2**15, -(2**23), 2**31, 2**47, -(2**63), 1.5, "", "ümläut", b""]
    values += [b"x" * length for length in (size - 40, size - 35, size, 3 * size + 7)]
    with closing(sqlite3.connect(tmp_path / "a")) as file, file:
        file.execute(f"PRAGMA page_size = {size}")
        file.execute("CREATE TABLE plain (number INTEGER PRIMARY KEY, value)")
        keys = "value, name TEXT, number INTEGER, PRIMARY KEY (name, number)"
        file.execute(f"CREATE TABLE keyed ({keys}) WITHOUT ROWID")
        for number in range(300):
            value = values[number % len(values)]
            file.execute("INSERT INTO plain VALUES (?, ?)", (number * 10**9 - 10**10, value))
            file.execute("INSERT INTO keyed VALUES (?, ?, ?)", (value, f"n{number % 7}", number))
        plain = set(file.execute("SELECT number, value FROM plain"))
        keyed = set(file.execute("SELECT name, number, value FROM keyed"))
    pages = SqlitePages((tmp_path / "a").read_bytes())
    roots = pages.roots()
    assert {(rowid, found[1]) for rowid, found in pages.rows(roots["plain"])} == plain
    assert {tuple(found) for _, found in pages.rows(roots["keyed"])} == keyed
    assert (pages.lost_pages, pages.lost_rows) == (0, 0)


def test_noise_is_no_table() -> None:
    chance = random.Random(3)
    for length in (0, 1, 99, 100, 4096, 70_000):
        assert SqlitePages(b"SQLite format 3\0" + chance.randbytes(length)).roots() == {}
