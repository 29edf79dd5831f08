"""`laha_config` followed while a store is open, in both stores; trends of the original."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.results import DeleteResult
from store_cases import SAG, TRIGGER

from opq_cloud.core.service import CloudContext, ExpiryClock, Retention
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import CloudStore
from opq_cloud.store.documents.retention import READ_EVERY_S, LiveTtls, Ttls, ttls_from_document
from opq_cloud.store.driver import Fields
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_cloud.store.mongo import mongo_server
from opq_cloud.store.mongo.mongo_server import DELETED_AT_ONCE, delete_by_id, delete_where
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records.tables import PHENOMENA
from opq_cloud.store.trends.pyramid import LEVELS_MS, MINUTES_KEPT_S
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Measurement, Metric, TimeSource, Trend
from opq_proto.time_units import DAY_MS, HOUR_MS

NOW_S = int(time.time())
HOUR = NOW_S * 1000 // HOUR_MS * HOUR_MS


def row(sequence: int, clock_id: int | None = None) -> Measurement:
    metrics = {"rms": Metric(119.0, 121.0, 120.0)}
    return Measurement("1", NOW_S * 1000 + sequence, metrics, sequence=sequence, clock_id=clock_id)


def expire(store: CloudStore, now_s: int) -> int:
    gone = 0
    while part := store.expire(now_s):
        gone += part
    return gone


def put_phenomenon(store: CloudStore, number: int, expire_at: int) -> None:
    document = {
        "phenomena_id": number,
        "phenomena_type": {"type": "level_step"},
        "affected_opq_boxes": ["1"],
        "start_ts_ms": 0,
        "end_ts_ms": 1,
        "expire_at": expire_at,
    }
    store.driver.write(lambda documents: documents.put(PHENOMENA, [document]))


def test_a_sweep_asks_each_collection_once(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of one collection do not read the others again; what becomes due later still goes."""
    asked: list[int] = []
    of_log = store._expire_log  # type: ignore[attr-defined]

    def expire_log(now_s: int, slice_rows: int) -> int:
        asked.append(now_s)
        return int(of_log(now_s, slice_rows))

    monkeypatch.setattr(store, "_expire_log", expire_log)
    for number in range(1, 6):
        put_phenomenon(store, number, NOW_S - 100)
    gone = [store.expire(NOW_S, 1) for _ in range(6)]
    assert (gone, asked) == ([1, 1, 1, 1, 1, 0], [NOW_S])
    store.append_measurements([row(1)])
    if isinstance(store, EmbeddedStore):
        store.seal()
    assert expire(store, NOW_S + 2 * DAY_MS) == 1
    asked.clear()
    put_phenomenon(store, 7, NOW_S)
    put_phenomenon(store, 8, NOW_S)
    assert [store.expire(NOW_S + later, 1) for later in (0, 60)] == [1, 1]
    assert asked == [NOW_S, NOW_S + 60]  # a long sweep does not leave others due


class StrictCollection:
    """Refuses a statement that deletes more documents than FerretDB on SQLite has parameters for."""

    def __init__(self, count: int) -> None:
        self.ids = [f"7@{number}" for number in range(count)]

    def find(self, where: Fields, projection: Fields) -> "StrictCollection":
        return self

    def limit(self, most: int) -> list[Fields]:
        return [{"_id": each} for each in self.ids[:most]]

    def delete_many(self, where: Fields) -> DeleteResult:
        gone = where["_id"]["$in"]
        assert len(gone) <= 32_766, "too many SQL variables"
        assert gone == self.ids[: len(gone)]
        del self.ids[: len(gone)]
        return DeleteResult({"n": len(gone)}, True)


@pytest.mark.parametrize("count", [0, 1, DELETED_AT_ONCE, DELETED_AT_ONCE + 1, 100_000])
def test_any_number_of_documents_is_deleted(count: int) -> None:
    by_filter, by_number = StrictCollection(count), StrictCollection(count)
    assert delete_where(cast(Any, by_filter), {"box_id": "7"}) == count
    assert delete_by_id(cast(Any, by_number), list(by_number.ids)) == count
    assert by_filter.ids == by_number.ids == []


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_expired_documents_go_by_their_time(
    cleared_uri: str, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """The oldest first, at most so many at once; one that is kept for longer meanwhile stays."""
    with MongoClient[dict[str, Any]](cleared_uri) as client:
        rows = client.get_default_database().trends
        times = [5, 7, 7, 7, 7, 3, 9, NOW_S + 1, 8.5]
        rows.insert_many({"_id": f"{at}", "expire_at": time_s} for at, time_s in enumerate(times))
        asked: list[Fields] = []
        delete, longer = Collection.delete_many, {"$set": {"expire_at": NOW_S + 9}}

        def delete_many(self: Collection[Fields], where: Fields) -> DeleteResult:
            asked.append(where)
            rows.update_one({"_id": "6"}, longer)
            return delete(self, where)

        gone = []
        with monkeypatch.context() as patched:
            patched.setattr(Collection, "delete_many", delete_many)
            while count := mongo_server.expire(rows, NOW_S, limit):
                gone.append(count)
        assert sum(gone) == 7 and max(gone) <= limit
        assert [each["_id"] for each in rows.find().sort("_id")] == ["6", "7"]
        assert any("_id" in where for where in asked) is (limit < 4), "only where one second has more"


def test_another_processs_ttl_holds_for_new_data(
    store: CloudStore, open_again: Callable[[], CloudStore]
) -> None:
    """A TTL that another process sets holds for what is written next."""
    assert store.ttls() == Ttls()
    store.append_measurements([row(1)])
    open_again().put_ttls(replace(Ttls(), measurements=60))
    assert store.ttls().measurements == 60
    store.append_measurements([row(2)])
    if isinstance(store, EmbeddedStore):
        store.seal()  # both lie in one block, of the TTL that holds when it is made
        assert expire(store, NOW_S + 7200) == 2
    else:
        assert expire(store, NOW_S + 7200) == 1


def test_a_trend_ttl_covers_every_level(store: CloudStore) -> None:
    """A TTL of trends takes old rows of every level."""
    old_ms = HOUR - 20 * DAY_MS
    store.put_ttls(replace(Ttls(), trends=7 * 86_400))
    store.put_trends(
        [Trend("1", at_ms, {"rms": (1.0, 3.0, 2.0)}, covered_ms=60_000) for at_ms in (old_ms, HOUR - HOUR_MS)]
    )
    while store.roll_up(HOUR + 2 * DAY_MS):
        pass
    if not isinstance(store, EmbeddedStore):
        return  # by `expire_at`, seconds after it was stored: the same call as for every document
    expire(store, NOW_S)
    for length_ms in LEVELS_MS:
        assert len(store.trend_rows("1", old_ms, HOUR + DAY_MS, length_ms)) == 1


def test_ten_minute_rows_expire_after_400_days(tmp_path: Path) -> None:
    """Rows of ten minutes go after 400 days and hours stay."""
    store = EmbeddedStore(tmp_path / "opq.db")
    store.put_trends([Trend("1", HOUR - HOUR_MS, {"rms": (1.0, 3.0, 2.0)}), Trend("2", HOUR, {})])
    while store.roll_up(HOUR + 2 * DAY_MS):
        pass
    expire(store, NOW_S + 399 * 86_400)
    assert len(store.trend_rows("1", HOUR - HOUR_MS, HOUR, TEN_MINUTES_MS)) == 1
    expire(store, NOW_S + 401 * 86_400)
    assert store.trend_rows("1", HOUR - HOUR_MS, HOUR, TEN_MINUTES_MS) == []
    for length_ms in (HOUR_MS, DAY_MS):
        assert len(store.trend_rows("1", HOUR - HOUR_MS, HOUR, length_ms)) == 1
    store.close()


@pytest.mark.parametrize("bad", [-1, 0, "a day", 1.5, True, 2**40])
def test_an_invalid_ttl_keeps_the_last(bad: object) -> None:
    """A value that is not a TTL leaves the last one."""
    found, wrong = ttls_from_document({"measurements": bad, "events": 60.0}, Ttls(measurements=77))
    assert (found.measurements, found.events) == (77, 60)
    assert wrong == [f"measurements is {bad!r}"]


def test_an_invalid_ttl_is_refused_when_put(store: CloudStore) -> None:
    with pytest.raises(StoreError, match="TTL events is 0; want whole seconds from 1 to 2147483647"):
        store.put_ttls(replace(Ttls(), events=0))


def test_ttls_are_read_again_after_seconds() -> None:
    """TTLs are read again after some seconds and survive a failing store."""
    now = [0.0]
    answers: list[Any] = [{"events": 5}, StoreError("away"), {"events": 7}]

    def read() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    live = LiveTtls(read, Ttls(), lambda: now[0])
    seen = []
    for now[0] in (0.0, READ_EVERY_S - 1, READ_EVERY_S, 2 * READ_EVERY_S):
        seen.append(live.now().events)
    assert seen == [5, 5, 5, 7]


def test_the_original_reads_what_is_put(mongo_uri: str) -> None:
    store = MongoStore(mongo_uri)
    store.put_ttls(Ttls(60, None, 70, 80))
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        (found,) = client.get_default_database().laha_config.find()
    ttls = {"box_samples": 900, "measurements": 60, "trends": 2**31 - 1, "events": 70, "incidents": 80}
    assert found["ttls"].pop("phenomena") > 0, "a plug-in of the original reads it"
    assert found["ttls"] == ttls and all(type(value) is int for value in found["ttls"].values()), "BSON Int32"
    store.close()


def test_the_clock_of_a_measurement_is_kept(store: CloudStore) -> None:
    rows = [row(1, 5), row(2), row(3, 2**63 - 1), row(4, 2**63 - 1)]
    store.append_measurements(rows)
    assert store.measurements("1", 0, 2**50) == rows
    if isinstance(store, EmbeddedStore):
        store.seal()
        assert store.measurements("1", 0, 2**50) == rows
    assert store.latest_measurements()["1"].clock_id == 2**63 - 1


OLD_TRENDS = 200


def test_the_originals_trends_are_rolled_up(mongo_uri: str) -> None:
    """Trends that were in a MongoDB database before are rolled up."""
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        client.get_default_database().trends.insert_many(
            {
                "box_id": box_id,
                "timestamp_ms": HOUR + place * TREND_MS,
                "location": "x",
                "voltage": {"min": 119.0, "max": 121.0, "average": 120.0},
            }
            for box_id in ("1", "2")
            for place in range(1, 31)
        )
    store = MongoStore(mongo_uri)
    while store.roll_up(HOUR + 2 * DAY_MS):
        pass
    for box_id in ("1", "2"):
        (hour,) = store.trend_rows(box_id, HOUR, HOUR + 1, HOUR_MS)
        assert (hour.covered_ms, hour.metrics) == (30 * TREND_MS, {"rms": (119.0, 121.0, 120.0)})
    store.close()


def test_two_years_of_sparse_trends_are_shown(mongo_uri: str) -> None:
    """One minute a month of the original's: each is in every level, and until then it is said."""
    minutes = [HOUR - 730 * DAY_MS + place * 30 * DAY_MS for place in range(1, 25)]
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        three = {"min": 119.0, "max": 121.0, "average": 120.0}
        client.get_default_database().trends.insert_many(
            {"box_id": "1", "timestamp_ms": at_ms + TREND_MS, "voltage": three} for at_ms in minutes
        )
    with closing(MongoStore(mongo_uri)) as store:
        assert store.trends_wait(HOUR)
        while store.roll_up(HOUR):
            continue
        assert not store.trends_wait(HOUR)
        for length_ms in (TREND_MS, *LEVELS_MS[1:]):
            rows = store.trend_rows("1", minutes[0] - DAY_MS, HOUR, length_ms)
            assert [row.start_ms for row in rows] == [at // length_ms * length_ms for at in minutes], (
                length_ms
            )
            assert {row.covered_ms or TREND_MS for row in rows} == {TREND_MS}


def test_late_data_are_added_to_their_hour(tmp_path: Path) -> None:
    """Data later than the retention of minutes are added to their hour."""
    store = EmbeddedStore(tmp_path / "opq.db")
    store.put_trends(
        [Trend("1", HOUR + k * TREND_MS, {"rms": (1.0, 3.0, 2.0)}, covered_ms=60_000) for k in range(9)]
    )
    now_s = NOW_S + MINUTES_KEPT_S + 2 * 86_400
    while store.roll_up(now_s * 1000):
        pass
    expire(store, now_s)
    assert [each.length_ms for each in store.trends("1", HOUR, HOUR + HOUR_MS)] == [HOUR_MS]
    store.put_trends([Trend("1", HOUR + 9 * TREND_MS, {"rms": (0.5, 9.0, 8.0)}, covered_ms=60_000)])
    while store.roll_up(now_s * 1000):
        pass
    expire(store, now_s)
    for rows in (
        store.trends("1", HOUR, HOUR + HOUR_MS),
        *(store.trend_rows("1", HOUR, HOUR + 1, length_ms) for length_ms in LEVELS_MS[1:]),
    ):
        (only,) = rows
        assert only.metrics["rms"][:2] == (0.5, 9.0) and only.covered_ms == 600_000
        assert only.metrics["rms"][2] == pytest.approx(2.6)
    store.close()


def test_old_minutes_that_are_imported_have_every_level(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "opq.db")
    minutes = [
        Trend("1", HOUR + k * TREND_MS, {"rms": (1.0, 3.0, 2.0)}, covered_ms=60_000) for k in range(60)
    ]
    now_ms = (NOW_S + MINUTES_KEPT_S + 86_400) * 1000
    for part in (minutes[:45], minutes[40:]):  # some of them twice
        store.put_trends(part)
        while store.roll_up(now_ms):
            pass
    for length_ms in LEVELS_MS:
        rows = store.trend_rows("1", HOUR, HOUR + HOUR_MS, length_ms)
        assert sum(row.covered_ms or 0 for row in rows) == HOUR_MS
        assert len(rows) == max(1, HOUR_MS // length_ms)
    store.close()


@pytest.mark.parametrize(("days", "minutes"), [(0, 60), (500, 60), (30, 0)])
def test_minutes_are_kept_as_long_as_set(tmp_path: Path, days: int, minutes: int) -> None:
    """Rows of ten minutes too."""
    store = EmbeddedStore(tmp_path / "opq.db")
    store.keep_minutes(days)
    store.put_trends([Trend("1", HOUR + k * TREND_MS, {"rms": (1.0, 3.0, 2.0)}) for k in range(60)])
    while store.roll_up((NOW_S + 86_400) * 1000):
        pass
    expire(store, NOW_S + 450 * 86_400)
    found = store.trends("1", HOUR, HOUR + HOUR_MS)
    assert sum(row.length_ms == TREND_MS for row in found) == minutes
    assert len(store.trend_rows("1", HOUR, HOUR + HOUR_MS, TEN_MINUTES_MS)) == minutes // 10
    assert len(store.trend_rows("1", HOUR, HOUR + HOUR_MS, HOUR_MS)) == 1
    store.close()


@pytest.mark.parametrize("unset_s", [600.0, 315_964_900.0, 946_684_900.0, 1_420_070_500.0])
def test_an_unset_clock_lets_nothing_expire(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch, unset_s: float
) -> None:
    """What was stored in 1970, 1980, 2000 or 2015 expires as if it were stored when the clock was set."""
    with monkeypatch.context() as unset:
        unset.setattr(time, "time", lambda: unset_s)
        event_id = store.open_event(TRIGGER, "x")
        put_findings(store, event_id, [SAG])
    assert expire(store, NOW_S) == 0 and len(store.incidents()) == 1
    assert store.event_record(event_id) is not None
    assert expire(store, NOW_S + 364 * 86_400) == 0
    assert expire(store, NOW_S + 366 * 86_400) == 2 and not store.incidents()


def test_a_doubtful_clock_deletes_after_a_day(tmp_path: Path) -> None:
    monotonic_s = [0.0]
    clock = ExpiryClock(lambda: monotonic_s[0])
    known, free = replace(row(1), source=TimeSource.NTP), replace(row(2), box_id="2")
    far_s = NOW_S + 56 * 365 * 86_400
    with closing(EmbeddedStore(tmp_path / "opq.db")) as store:
        assert clock.expiry_s(far_s, store) == far_s, "there is nothing that could be lost"
        store.append_measurements([known])
        assert clock.expiry_s(NOW_S + 3600, store) == NOW_S + 3600
        assert clock.expiry_s(far_s, store) == NOW_S + 86_400
        store.append_measurements([replace(free, timestamp_ms=far_s * 1000)])
        assert clock.expiry_s(far_s, store) == NOW_S + 86_400
        monotonic_s[0] = 86_399.0
        assert clock.expiry_s(far_s, store) == NOW_S + 86_400
        monotonic_s[0] = 86_400.0
        assert clock.expiry_s(far_s, store) == far_s
        assert clock.expiry_s(NOW_S, store) == NOW_S
        assert clock.expiry_s(far_s, store) == NOW_S + 86_400, "a further setting is doubted again"
    with closing(EmbeddedStore(tmp_path / "empty" / "opq.db")) as store:  # the Measurements have expired
        assert clock.expiry_s(far_s, store) == NOW_S + 86_400
        store.open_event(replace(TRIGGER, start_ns=NOW_S * 10**9, end_ns=(NOW_S + 1) * 10**9), "x")
        assert ExpiryClock().expiry_s(far_s, store) == NOW_S + 1 + 86_400
        assert ExpiryClock().expiry_s(NOW_S + 86_400, store) == NOW_S + 86_400
        store.append_measurements([free])
        assert ExpiryClock().expiry_s(NOW_S, store) == 86_400, "no clock is confirmed"
        store.put_trends([Trend("2", HOUR - DAY_MS - HOUR_MS, {"rms": (1.0, 3.0, 2.0)})])
        assert ExpiryClock().expiry_s(NOW_S, store) == NOW_S, "it was the same a day ago"
        assert ExpiryClock().expiry_s(far_s, store) == 86_400


def test_a_doubt_outlasts_a_restart_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the store restarts it."""
    read: list[ExpiryClock] = []

    def refuse(clock: ExpiryClock, now_s: int, store: CloudStore) -> int:
        read.append(clock)
        raise StoreError("refused")

    monkeypatch.setattr(ExpiryClock, "expiry_s", refuse)
    with closing(CloudContext(lambda: EmbeddedStore(tmp_path / "opq.db"))) as shared:
        retention = Retention(shared)
        for _ in range(2):
            with pytest.raises(StoreError):
                retention.run(threading.Event())
    assert read[0] is read[1]
