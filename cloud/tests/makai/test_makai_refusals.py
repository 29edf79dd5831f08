"""One Box harms no other: what cannot be true is refused and acknowledged, and what raises pauses one Box."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import demo
import numpy as np
import pytest
from fastapi.testclient import TestClient
from judged_triggers import batch
from numpy.typing import NDArray
from open_view import open_services

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.judging.trigger_plugins import TriggerPlugin
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.mauka.running.calls.event_analysis import analyse_event
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import BoxRecord, open_store
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.view.app import create_app
from opq_plugins.host.failure_guard import MANY_BOXES
from opq_plugins.sdk.modules import TriggerModule
from opq_proto.decision import Decision, Nominal
from opq_proto.kit import log
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.invariants import AHEAD
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import Event, Measurement, Metric, TimeSource, Trigger, Waveform
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

DAY_NS = 86_400 * 10**9


class Served:
    """Brokers and the triggering service on sockets, a Box that does its worst, and two honest ones."""

    def __init__(self, makai: Any, brokers: Any, service: TriggeringService) -> None:
        self.makai, self.service, self.counters = makai, service, service.counters
        self.worst, self.honest, self.other = (
            makai.holding_box(brokers, box_id) for box_id in ("1", "4", "10")
        )
        self.boxes = self.worst, self.honest, self.other

    def send_raw(self, message: WireMeasurement) -> None:
        """Sends what no gateway makes as Box 1, under its next number, held until acknowledged."""
        box = self.worst
        box.sequence += 1
        message.box_id, message.sequence, message.oldest_sequence = 1, box.sequence, 1
        box._held[box.sequence] = [b"0001", message.SerializeToString()]
        box.plain.pub.send_multipart(box._held[box.sequence])

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        def served() -> Any:
            for box in self.boxes:
                box.serve()
            return condition()

        return self.makai.wait_for(served, 120.0)

    def health(self) -> dict[str, Any]:
        return {part.name: part for part in self.service.health()}


@pytest.fixture
def served(makai: Any, tmp_path: Path) -> Iterator[Served]:
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
        ack_interval_s=0.2,
    )
    service = TriggeringService(config, shared, Nominal(120.0, 60.0))
    running = Served(makai, brokers, service)
    client = makai.client(brokers)
    try:
        with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
            for box in running.boxes:
                makai.wait_for(lambda box=box: makai.arrives(box.plain, client))
                makai.wait_for(lambda box=box: brokers.acquisition.counters.of("boxes_listening", box.box_id))
            makai.wait_for(lambda: service.counters.total("received"))
            yield running
    finally:
        shared.close()


def test_an_impossible_rms_stops_no_trigger(served: Served) -> None:
    """Its Measurements open the circuit of no trigger: the dip of another Box is decided on."""
    for box in (served.honest, served.other):
        box.send()
    served.wait_for(lambda: served.honest.upto == served.other.upto == 1)
    for _ in range(6):
        served.worst.send(-1e38)
    served.wait_for(lambda: served.worst.upto == 6)
    served.honest.send(least=60.0)
    served.wait_for(lambda: served.counters.of("decisions", "rms") >= 1)
    assert served.counters.total("plugin_crashes") == 0
    assert served.counters.of("refused", "1 rms") >= 6
    values = served.health()["values of Box 1"]
    assert not values.ok and "times rms not within 0 to 1e+08" in values.info
    assert "values of Box 4" not in served.health()


def test_a_refused_row_is_acknowledged_and_not_stored(served: Served) -> None:
    """A disturbance that ends before it begins is 62 bytes; its Box sends it once and goes on."""
    now_ns = time.time_ns()
    for box in (served.honest, served.other):
        box.send()
    served.wait_for(lambda: served.honest.upto == served.other.upto == 1)
    reversed_dip = WireMeasurement(timestamp_ms=now_ns // 10**6, start_ns=now_ns, end_ns=now_ns - 10**9)
    reversed_dip.disturbance.closed = True
    setattr(reversed_dip.disturbance, "class", "dip")
    served.send_raw(reversed_dip)
    far = WireMeasurement(timestamp_ms=now_ns // 10**6, start_ns=now_ns, end_ns=now_ns + 3 * DAY_NS)
    served.send_raw(far)
    served.worst.send()
    served.wait_for(lambda: served.worst.upto == 3 and not served.worst._held)
    assert served.counters.of("refused", "1 time") and served.counters.of("refused", "1 time_ahead")
    store = served.service._shared.store
    assert store.intervals.disturbances(None, 0, 2**62) == [] and store.sequences("1", 0, 9) == [3]


def test_a_clock_that_is_behind_acknowledges_nothing() -> None:
    """Where all Boxes are ahead, the cloud's own clock is wrong, and what it refuses is sent again."""
    now_ms = [10**12]
    boxes = BoxRegister(Nominal(120.0, 60.0), lambda: 1000.0, lambda: now_ms[0])
    boxes.note_refused("3", AHEAD, 5)
    assert not boxes.confirms_clock()
    for box_id in ("4", "5"):
        row = Measurement(box_id, now_ms[0], {"rms": Metric(120.0, 120.0, 120.0)})
        boxes.note_columns(*batches_of([row], boxes.nominal))
    assert boxes.confirms_clock()


def test_a_clock_ahead_hides_no_silence() -> None:
    """A Box that is 14 hours ahead does not make the others count as heard, or as silent."""
    now_ms = 10**12
    boxes = BoxRegister(Nominal(120.0, 60.0), lambda: 1000.0, lambda: now_ms)
    for box_id, ahead_ms in (("3", 14 * 3_600_000), ("4", 0), ("5", -2000), ("6", -3_600_000)):
        row = Measurement(box_id, now_ms + ahead_ms, {"rms": Metric(120.0, 120.0, 120.0)})
        boxes.note_columns(*batches_of([row], boxes.nominal))
    assert boxes.slowest_ns("3456", 60.0) == (now_ms - 2000) * 10**6
    assert boxes.slowest_ns("3", 60.0) == (now_ms + 14 * 3_600_000) * 10**6
    states = {part.name: part.info for part in boxes.health()}
    assert states["3"] == "ahead by 50400 s, by its clock" and states["4"] is None


def shifted_hours(served: Served, hours: int) -> None:
    """The worst Box measures on with a clock that was set."""
    for _ in range(3):
        served.worst.send(end_ns=time.time_ns() + hours * 3600 * 10**9)


def wave(box_id: str, counts: NDArray[Any], now_ns: int) -> Waveform:
    """Two seconds that end now; what is shorter is repeated."""
    samples = np.resize(counts, 24_000).astype(np.int16)
    return Waveform(box_id, now_ns - 2 * 10**9, 1000, TimeSource.GPS, 12_000_000, 0.0068, 0, samples)


def test_stuck_boxes_and_set_clocks_stop_nothing(served: Served) -> None:
    """Dips of another Box are decided on at each step, and pages show both; all analyses find its sag."""
    began_ns = time.time_ns() - 20 * 10**9
    served.other.send()
    served.wait_for(lambda: served.other.upto == 1)
    for step, hours in enumerate((0, -5, 5, 0), 1):
        shifted_hours(served, hours)
        served.worst.send(0.0)  # all samples are equal
        served.wait_for(lambda step=step: served.worst.upto == 4 * step)
        decided = served.counters.of("decisions", "rms")
        for second, least in ((1, None), (2, 60.0), (3, None)):
            served.honest.send(least=least, end_ns=began_ns + (4 * step + second) * 10**9)
        served.wait_for(lambda decided=decided: served.counters.of("decisions", "rms") > decided)
    assert served.counters.total("plugin_crashes") == 0
    store, now_ns = served.service._shared.store, time.time_ns()
    sine = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * np.arange(24_000) / 12_000) / 0.0068
    sine[12_000:14_400] *= 0.6
    clipped = np.repeat([32767, -32768], 100)
    waves = wave("1", np.zeros(1), now_ns), wave("10", clipped, now_ns), wave("4", sine, now_ns)
    event_id = store.open_event(
        Trigger("t1", now_ns - 2 * 10**9, now_ns, ("1", "4", "10"), "1", "dip"), "dip"
    )
    for each in waves:
        store.put_waveform(event_id, each)
    store.finish_event(event_id)
    event = Event(event_id, now_ns - 2 * 10**9, now_ns, waves)
    found = analyse_event(event, load_analyses([]), lambda _: Nominal(120.0, 60.0), {})
    assert found.failed == {} and "4" in {one.box_id for one in found.findings if one.kind == "sag"}
    demo.put_together(store, event_id, found.findings)
    for box_id in ("1", "4", "10"):
        store.put_box(BoxRecord(box_id, f"Box {box_id}"))
        store.people.change_access(box_id, lambda _, box_id=box_id: BoxAccess(box_id, None, (), "all"))
    pages = TestClient(create_app(open_services(store)))
    incidents = [f"/incidents/{one.incident_id}" for one in store.incidents(limit=20)]
    for path in ("/", "/incidents", *(f"/boxes/{box_id}" for box_id in ("1", "4", "10")), *incidents):
        answer = pages.get(path)
        assert answer.status_code == 200 and "this part cannot be shown" not in answer.text, path


def module(enters: Callable[..., Any] | None, decide: Callable[..., Any]) -> ModuleType:
    made = ModuleType("raising")
    made.begin = lambda config: {}  # type: ignore[attr-defined]
    made.decide = decide  # type: ignore[attr-defined]
    if enters is not None:
        made.enters = enters  # type: ignore[attr-defined]
    return made


def every_row(columns: Measurements, config: Any, state: Any) -> NDArray[np.bool_]:
    return np.ones(len(columns), np.bool_)


def raises_for(bad: set[str], error: type[Exception] = ArithmeticError) -> Callable[..., Any]:
    """A trigger that decides on each row, counts the rows of each Box, and raises for these Boxes."""

    def decide(row: Measurement, nominal: Nominal, config: Any, state: dict[str, int]) -> Any:
        state[row.box_id] = state.get(row.box_id, 0) + 1
        if row.box_id in bad:
            raise error(row.box_id)
        return Decision("rms", float(state[row.box_id]), 0.0, "seen"), state

    return decide


def enters_for(bad: set[str], error: type[Exception]) -> Callable[..., Any]:
    def enters(columns: Measurements, config: Any, state: Any) -> NDArray[np.bool_]:
        if bad & set(columns.ids):
            raise error("in the batch")
        return every_row(columns, config, state)

    return enters


def rows_of(count: int, second: int) -> Measurements:
    usual = Metric(120.0, 120.0, 120.0)
    rows = [Measurement(str(box), 1000 * second, {"rms": usual}) for box in range(1, count + 1)]
    return batches_of(rows, lambda *_: Nominal(120.0, 60.0))[0]


@pytest.mark.parametrize("error", [OverflowError, FileNotFoundError])
@pytest.mark.parametrize("where", ["decide of a batch", "decide of a row", "enters"])
def test_what_raises_pauses_one_box(where: str, error: type[Exception]) -> None:
    """The others are judged in each second, with their memory; the paused Box is named in health."""
    bad = {"3"}
    enters = {"decide of a batch": every_row, "enters": enters_for(bad, error)}.get(where)
    decide = raises_for(set() if where == "enters" else bad, error)
    counters = ServiceCounters()
    trigger = TriggerPlugin("raising", TriggerModule(module(enters, decide), None), counters, log.get())
    for second in range(1, 6):
        found = dict(trigger.judge(rows_of(20, second)))
        assert sorted(found) == [at for at in range(20) if at != 2]
        if where != "enters":  # a mask that is tried on halves may see a row twice
            assert {decision.value for decision in found.values()} == {float(second)}
    assert counters.of("plugin_crashes", "raising") == 2  # paused from the second one on
    assert counters.of("not_judged", "raising") == 5
    health = trigger.health()
    assert not health.ok and "paused for Box 3" in str(health.info) and not trigger.begins


def test_what_raises_for_many_pauses_all() -> None:
    bad = {str(box) for box in range(1, MANY_BOXES + 1)}
    counters = ServiceCounters()
    trigger = TriggerPlugin(
        "raising", TriggerModule(module(every_row, raises_for(bad)), None), counters, log.get()
    )
    for second in range(1, 4):
        trigger.judge(rows_of(20, second))
    assert trigger._guard.paused and dict(trigger.judge(batch(rows_of(20, 9).row(19)))) == {}
