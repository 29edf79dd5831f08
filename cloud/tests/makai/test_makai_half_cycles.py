"""Urms(1/2) of a long dip: asked of gateways when it is over, stored with its event, once."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection
from opq_cloud.makai import event_service
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.half_cycle_requests import (
    NO_ANSWER,
    PAUSES_S,
    HalfCycleRequests,
    parse_half_cycle_identity,
)
from opq_cloud.makai.openings.completions import Completions
from opq_cloud.makai.openings.recent_events import RecentEvents
from opq_cloud.store import open_store
from opq_proto.decision import Decision
from opq_proto.messages import TimeSource, Trigger
from opq_proto.wire.frames import HALF_CYCLES_PLUGIN, Response
from opq_proto.wire.half_cycles import (
    HalfCycleRms,
    half_cycles_to_wire,
    read_question,
)

S = 10**9


def dip(box_id: str, start_ns: int, seconds: float, **changes: Any) -> HalfCycleRms:
    t_ns = start_ns + np.arange(round(seconds * 120), dtype=np.int64) * 8_333_000
    volts = np.full(len(t_ns), 72.0, dtype=np.float32)
    return HalfCycleRms(
        box_id, start_ns, start_ns + round(seconds * S), t_ns, volts, volts, 1, 900, **changes
    )


def answer(box: Any, command: Any, found: HalfCycleRms | None, ok: bool = True, detail: str = "") -> None:
    response = Response(box_id=int(box.box_id), seq=command.seq, timestamp_ms=1)
    response.command_to_plugin_response.ok = ok
    if detail:
        response.command_to_plugin_response.detail = detail
    if found is not None:
        response.command_to_plugin_response.half_cycles.CopyFrom(half_cycles_to_wire(found))
    box.push.send_multipart([response.SerializeToString()])


def question(box: Any) -> Any:
    """The next command for half cycles; requests for samples are left out."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        command = box.command(timeout_ms=50)
        if command is None or command.box_id != int(box.box_id):
            continue
        sent = command.send_command_to_plugin
        if command.WhichOneof("command") == "send_command_to_plugin" and (
            sent.plugin_name == HALF_CYCLES_PLUGIN
        ):
            return command
    raise AssertionError(f"Box {box.box_id} was not asked")


def configured(makai: Any, brokers: Any) -> EventServiceSection:
    return EventServiceSection(
        answer_endpoint=brokers.acquisition_config.answer_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        event_endpoint=makai.free_endpoint(),
        event_id_endpoint=makai.free_endpoint(),
    )


def test_answers_and_reasons_of_gateways_are_stored(makai: Any, tmp_path: Path) -> None:
    """A gateway sends its half cycles, or the reason why it has none."""
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    service = EventService(configured(makai, brokers), shared)
    end_ns = time.time_ns() - 10 * S
    span = end_ns - 60 * S, end_ns
    found = dip("1", span[0], 60.0, source=TimeSource.GPS)
    trigger = Trigger("h" * 30, end_ns - 4 * S, end_ns, ("1", "4", "10"), "1", "its end", half_cycles_ns=span)
    with makai.running(brokers.acquisition):
        one, four, ten = (makai.box(brokers, box_id) for box_id in ("1", "4", "10"))
        makai.wait_for(lambda: brokers.acquisition.counters.total("boxes_listening") >= 3)
        event_id = shared.store.open_event(trigger, "long")

        def told() -> dict[str, str]:
            record = shared.store.event_record(event_id)
            return {} if record is None else record.half_cycles

        with makai.running(service):
            asked = question(one)
            assert read_question(asked.send_command_to_plugin.message) == span
            answer(one, asked, found)
            answer(four, question(four), None)  # an original one: yes, and nothing else
            answer(ten, question(ten), None, ok=False, detail="there is no plug-in")
            makai.wait_for(lambda: len(told()) == 3)
    assert told() == {"1": "", "4": "its gateway stores no half cycles", "10": "there is no plug-in"}
    stored = shared.store.half_cycles(event_id)
    assert list(stored) == ["1"] and stored["1"].source is TimeSource.GPS
    assert np.array_equal(stored["1"].least_v, found.least_v)
    assert np.abs(stored["1"].t_ns - found.t_ns).max() < 1000
    assert (service.counters.total("half_cycles_stored"), service.counters.total("half_cycles_refused")) == (
        1,
        2,
    )
    shared.close()


def test_a_quickly_answered_event_is_asked_about_too(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_service, "REFRESH_S", 2.0)  # so that its Box is faster
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    service = EventService(configured(makai, brokers), shared)
    end_ns = time.time_ns() // S * S - 10 * S
    trigger = Trigger(
        "h" * 30, end_ns - S, end_ns, ("1",), "1", "its end", half_cycles_ns=(end_ns - 60 * S, end_ns)
    )
    with makai.running(brokers.acquisition), makai.running(service):
        one, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: brokers.acquisition.counters.total("boxes_listening") >= 1)
        shared.store.open_event(trigger, "long")
        client.ask("1", f"data_{trigger.token}_x", (end_ns - S) // 10**6, end_ns // 10**6)
        while (asked := one.command()).WhichOneof("command") != "data_command":
            pass  # a machine that stood still for 2 s: the question is repeated
        one.push.send_multipart(one.answer(asked))
        assert read_question(question(one).send_command_to_plugin.message) == trigger.half_cycles_ns
    shared.close()


def test_silent_gateway_is_asked_again_and_given_up(tmp_path: Path) -> None:
    """A Box without an answer is asked again, given up, and found after a restart."""
    store = open_store(None, tmp_path / "store")
    span = 1_700_000_000 * S, 1_700_000_070 * S
    trigger = Trigger("h" * 30, span[1] - 4 * S, span[1], ("1", "2"), "1", "its end", half_cycles_ns=span)
    event_id = store.open_event(trigger, "long")
    store.put_half_cycles(event_id, dip("2", span[0], 1.0))
    requests = HalfCycleRequests()
    for _ in range(2):  # it is read four times a second
        requests.note_events(store.events(), 100.0, span[1] - S)
    assert requests.due(103.9) == ([], [])
    at_s = 104.0  # a second until it is over, three until it is measured
    for pause_s in PAUSES_S:
        ask, given_up = requests.due(at_s)
        assert [each.box_id for each in ask] == ["1"] and not given_up
        at_s += pause_s
    ask, given_up = requests.due(at_s)
    assert not ask and [each.box_id for each in given_up] == ["1"]
    store.mark_no_half_cycles(event_id, "1", NO_ANSWER)
    again = HalfCycleRequests()
    again.note_events(store.events(), 0.0, span[1])
    assert not len(again)
    store.close()


def test_only_long_disturbances_are_asked_for() -> None:
    """A long dip or swell, with its margins."""
    for metric, since_ns, wanted in (("rms", 100 * S, True), ("f", 100 * S, False), ("rms", None, False)):
        completions = Completions(RecentEvents(10), S, 2 * S)
        completions.add_span("1", Decision(metric, 1.0, 2.0, "x", (170 * S, 173 * S), since_ns), 0.0, S)
        [(trigger, _)] = completions.due(1.0, lambda boxes: 0)
        assert trigger.half_cycles_ns == ((99 * S, 175 * S) if wanted else None)


def test_identities_have_three_parts() -> None:
    assert parse_half_cycle_identity("half_abc_i") == "abc"
    for text in ("half_abc", "data_abc_i", "half__i", "half_abc_", "half_a_b_c"):
        assert parse_half_cycle_identity(text) is None
