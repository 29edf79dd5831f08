"""Numbers of incidents beside the original's own number service: drawn there, and none is lost."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId
from free_ports import free_endpoint
from original_numbers import OriginalNumbers, OriginalPlugin
from pymongo import MongoClient
from pymongo.database import Database

from opq_cloud.core.backend.waits import PollableEvent
from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.mauka.original import incident_ids
from opq_cloud.mauka.original.incident_ids import IncidentIds
from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.mongo import number_service
from opq_cloud.store.records.part import NUMBERS_BEGIN_S, StorePart
from opq_cloud.store.service_lock import LockDocuments
from opq_proto.errors import ConfigError, OpqError, PortBusyError, StoreError
from opq_proto.messages import Finding

T_MS = 1_764_000_000_000


@pytest.fixture
def db(cleared_uri: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](cleared_uri) as client:
        yield client.get_default_database()


@pytest.fixture
def opened(cleared_uri: str, tmp_path: Path) -> Iterator[Callable[[], CloudStore]]:
    """Opens the store, as one process each."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(open_store(cleared_uri, tmp_path)))


def comes(holds: Callable[[], bool]) -> bool:
    """Whether it holds within four minutes; the machine may be busy."""
    end_s = time.monotonic() + 240
    while not holds() and time.monotonic() < end_s:
        time.sleep(0.02)
    return holds()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of a busy machine comes late."""
    monkeypatch.setattr(number_service, "ANSWER_MS", 60_000)


@contextmanager
def mauka_at(address: str, opened: Callable[[], CloudStore]) -> Iterator[CloudStore]:
    """Runs Mauka's number service; yields the store of that process, once nothing is numbered there before
    the service is known."""
    shared, stop = CloudContext(opened), PollableEvent()
    service = IncidentIds(MaukaSection(incident_id_endpoint=address), shared)
    store, withdrawn = shared.store, threading.Event()
    await_service = store.numbers.await_service

    def withdraw() -> None:
        await_service()
        withdrawn.set()

    store.numbers.await_service = withdraw  # type: ignore[method-assign]
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        assert withdrawn.wait(240)
        yield store
    finally:
        stop.set()
        thread.join()


def put_sag(store: CloudStore, second: int, boxes: str = "1") -> set[int]:
    """Stores a sag at these Boxes; returns the numbers of findings and incidents."""
    start_ns = (T_MS + 1000 * second) * 1_000_000
    found = [Finding("sag", box, start_ns, start_ns + 50_000_000, 0, residual_percent=80.0) for box in boxes]
    known = put_findings(store, 1, found)
    return {number for one in known for number in (one.finding_id, one.incident_id)}


def numbers_are_given(store: CloudStore) -> bool:
    try:
        store.next_finding_id()
    except StoreError:
        return False
    return True


@pytest.mark.usefixtures("patient")
def test_ours_are_numbered_by_the_originals_service(db: Any, opened: Callable[[], CloudStore]) -> None:
    """Its plug-ins draw numbers and store incidents later; another process of ours splits meanwhile."""
    db.incidents.insert_one({"incident_id": 40, "event_id": 1, "box_id": "9", "annotations": []})
    address, chance = free_endpoint(), random.Random(77)
    with closing(OriginalNumbers(db, address)), mauka_at(address, opened) as mauka:
        assert comes(lambda: numbers_are_given(mauka))
        other, plugin = opened(), OriginalPlugin(db, address)
        in_hand, ours = list[int](), set[int]()
        for step in range(30):
            in_hand += [plugin.draw() for _ in range(chance.randrange(4))]
            ours |= put_sag(mauka, 100 * step, "12")
            while in_hand and chance.random() < 0.6:
                plugin.store(in_hand.pop(chance.randrange(len(in_hand))), T_MS + 100_000.0 * step)
        whole = mauka.incidents(limit=1)[0]
        split = IncidentEditor(other).split_incident(whole.incident_id, [whole.findings[0].finding_id])
        for number in in_hand:
            plugin.store(number, T_MS + 9_000_000.0)
        assert plugin.lost == [] and len({*plugin.drawn}) == len(plugin.drawn) > 20
        assert {*plugin.drawn}.isdisjoint(ours | {split}) and min(plugin.drawn) > 40
        assert max(ours | {split, *plugin.drawn}) < 41 + 30 * 5 + 3, "no number of another counter"
        theirs = mauka.incidents_of(plugin.drawn)
        assert {one.box_ids for one in theirs} == {("4",)} and len(theirs) == len(plugin.drawn)
        assert mauka.lost_incidents() == 0 and mauka.numbers_problem is None


@pytest.mark.usefixtures("patient")
def test_nothing_is_numbered_before_the_service_answers(db: Any, opened: Callable[[], CloudStore]) -> None:
    """The service has the address, and does not answer yet."""
    address, may_begin = free_endpoint(), threading.Event()

    class Slow(OriginalNumbers):
        def _run(self) -> None:
            may_begin.wait(240)
            super()._run()

    with closing(Slow(db, address)), mauka_at(address, opened) as mauka:
        for store in (mauka, opened()):
            with pytest.raises(StoreError, match="not numbered yet"):
                put_sag(store, 1)
        assert db.incidents.count_documents({}) == 0
        may_begin.set()
        assert comes(lambda: numbers_are_given(mauka))
        assert put_sag(mauka, 1) and db.incidents.count_documents({}) == 1


def test_ours_replaces_a_service_that_ended(
    db: Any, opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it gave last may still be stored."""
    monkeypatch.setattr(incident_ids, "TAKE_OVER_S", 0.05)
    address = free_endpoint()
    service = OriginalNumbers(db, address)
    plugin = OriginalPlugin(db, address)
    with mauka_at(address, opened) as mauka:
        assert comes(lambda: numbers_are_given(mauka))
        put_sag(mauka, 1)
        last = plugin.draw()
        service.close()
        assert comes(lambda: numbers_are_given(mauka) and mauka.next_finding_id() > last + 500)
        assert max(put_sag(mauka, 200)) > last + 500
        plugin.store(last, T_MS)
        assert plugin.draw() > last + 500 and plugin.lost == []


@pytest.mark.usefixtures("patient")
def test_the_service_of_another_store_is_refused(
    db: Any, opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incident_ids, "ANSWER_S", 0.0)
    address = free_endpoint()
    with closing(OriginalNumbers(db, address)):
        db.incidents.insert_one({"incident_id": 900, "event_id": 1, "box_id": "9"})
        service = IncidentIds(MaukaSection(incident_id_endpoint=address), CloudContext(opened))
        with pytest.raises(PortBusyError, match="gave 1, and this store has 900"):
            service.run(threading.Event())


@pytest.mark.parametrize(
    ("started_s", "alive_s", "asked", "expected"),
    [
        (0, 10, False, None),
        (0, 10, True, 901),
        (100, 10, False, 1_000_901),
        (100, 1000, False, 901),
        (100, None, False, 901),
    ],
    ids=["may draw elsewhere", "draws here", "draws elsewhere", "has ended", "never wrote statistics"],
)
def test_the_first_start_waits_for_the_original(
    db: Any,
    opened: Callable[[], CloudStore],
    started_s: int,
    alive_s: int | None,
    asked: bool,
    expected: int | None,
) -> None:
    """Ours has had the address since `started_s` ago, and the original wrote something `alive_s` ago."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    db.incidents.insert_one({"_id": ObjectId.from_datetime(long_ago), "incident_id": 900, "box_id": "9"})
    if alive_s is not None:
        at = datetime.fromtimestamp(time.time() - alive_s, UTC)
        db.laha_stats.insert_one({"_id": ObjectId.from_datetime(at)})
    store = opened()
    store.numbers.await_service()
    assert store.numbers.number_here(time.time() - started_s, asked) == (expected is not None)
    assert numbers_are_given(store) == (expected is not None)
    if expected is not None:
        assert store.next_finding_id() == expected + 1
        store.numbers.await_service()
        assert store.numbers.number_here(time.time(), False), "a later start knows it"
        assert store.next_finding_id() == expected + 2


def test_a_database_of_ours_needs_no_wait(opened: Callable[[], CloudStore]) -> None:
    store = opened()
    put_sag(store, 1)
    store.numbers.await_service()
    assert store.numbers.number_here(time.time(), False) and store.next_finding_id() == 2


def test_a_splits_number_is_by_the_clock(opened: Callable[[], CloudStore]) -> None:
    """Where a visitor sees a part of the incidents."""
    store = opened()
    assert isinstance(store, StorePart)
    store.people.claim_box("1", "somebody")
    store.now_s = lambda: NUMBERS_BEGIN_S + 5000.0
    assert put_sag(store, 1, "12") == {5000, 5001}
    store.now_s = lambda: NUMBERS_BEGIN_S + 9000.0
    (whole,) = store.incidents()
    assert IncidentEditor(store).split_incident(whole.incident_id, [whole.findings[0].finding_id]) == 9000


def test_a_refused_mauka_stops_no_numbers(opened: Callable[[], CloudStore]) -> None:
    """It opens the store, and ends at the lock of the first; splits go on once both have ended."""
    first, refused, view = opened(), CloudContext(opened), opened()
    lock = LockDocuments(["mauka"], lambda: first.people.documents)
    assert lock.acquire()
    first.numbers.await_service()
    assert first.numbers.number_here(0.0, False)
    IncidentIds(MaukaSection(incident_id_endpoint=free_endpoint()), refused)
    second = LockDocuments(["mauka"], lambda: refused.store.people.documents)
    assert not second.acquire() and lock.renew() is None
    with pytest.raises(StoreError, match="runs already"):
        second.acquire()
    assert numbers_are_given(first) and numbers_are_given(view)


def test_the_last_service_is_used_without_mauka(
    opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after one that was killed while it waited: it does not renew its lock."""
    first, view = opened(), opened()
    lock = LockDocuments(["mauka"], lambda: first.people.documents)
    assert lock.acquire() and first.numbers.number_here(0.0, False)
    first.numbers.await_service()
    assert not numbers_are_given(view)
    monkeypatch.setattr(number_service, "FREE_S", 0.0)
    assert numbers_are_given(view), "killed"
    monkeypatch.setattr(number_service, "FREE_S", 1e9)
    assert lock.renew() is None and not numbers_are_given(view)
    lock.release()
    assert numbers_are_given(view), "ended"


def test_loopback_of_another_machine_is_refused(
    opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch, db: Any
) -> None:
    """View on a second machine would ask whatever has this address there; another address is asked."""
    store, drawn = opened(), list[str]()

    def draw(address: str, count: int) -> list[int]:
        drawn.append(address)
        return list(range(500, 500 + count))

    monkeypatch.setattr(number_service, "draw_numbers", draw)
    for address in ("tcp://127.0.0.1:9777", "tcp://*:9777", "tcp://[::1]:9777", "tcp://10.0.0.5:9777"):
        store.numbers.number_at(address)
        assert numbers_are_given(store), "on this machine"
        db.opq_counters.update_one(
            {"_id": number_service.STATED}, {"$set": {"host": "gw2", "network": "another"}}
        )
        drawn.clear()
        if "10.0.0.5" in address:
            assert numbers_are_given(store) and drawn == [address]
            continue
        with pytest.raises(StoreError, match="of gw2, which only that machine reaches"):
            store.next_finding_id()
        assert not drawn


def test_a_withdrawn_service_is_stated_again(
    opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch, db: Any
) -> None:
    monkeypatch.setattr(incident_ids, "LOST_S", 0.05)
    with mauka_at(free_endpoint(), opened) as mauka:
        assert comes(lambda: numbers_are_given(mauka))
        opened().numbers.await_service()
        assert comes(lambda: db.opq_counters.count_documents({"waits": False}) == 1)


@pytest.mark.parametrize("host", ["192.0.2.1", "numbers.invalid"])
def test_a_silent_service_elsewhere_is_waited_for(
    opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """An address of another machine, where nothing answers: findings wait, and health reports why."""
    monkeypatch.setattr(number_service, "ANSWER_MS", 10)
    monkeypatch.setattr(incident_ids, "TAKE_OVER_S", 0.05)
    stop, ready, failed = threading.Event(), threading.Event(), list[Exception]()
    shared = CloudContext(opened)
    service = IncidentIds(MaukaSection(incident_id_endpoint=f"tcp://{host}:9777"), shared)

    def run() -> None:
        try:
            service.run(stop, ready)
        except OpqError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert comes(ready.is_set)
        (report,) = service.health()
        assert not report.ok and host in str(report.info) and not numbers_are_given(shared.store)
        monkeypatch.setattr(number_service, "draw_numbers", lambda *_: [7])
        assert comes(lambda: service.health()[0].ok) and shared.store.next_finding_id() == 7
    finally:
        stop.set()
        thread.join()
    assert failed == []


def test_a_number_that_fails_is_reported(
    opened: Callable[[], CloudStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    monkeypatch.setattr(number_service, "draw_numbers", lambda *_: [7])
    assert store.numbers.number_at("tcp://192.0.2.1:9777") == 7
    with monkeypatch.context() as broken:
        broken.setattr(number_service, "draw_numbers", raises_silent)
        assert not numbers_are_given(store) and store.numbers_problem == "it is silent"
    assert numbers_are_given(store) and store.numbers_problem is None


def raises_silent(*_: object) -> list[int]:
    raise StoreError("it is silent")


def test_no_address_ends_the_service(opened: Callable[[], CloudStore]) -> None:
    service = IncidentIds(MaukaSection(incident_id_endpoint="tcp://nonsense"), CloudContext(opened))
    with pytest.raises(ConfigError, match="nonsense"):
        service.run(threading.Event())
