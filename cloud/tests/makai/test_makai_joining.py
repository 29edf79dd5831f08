"""A Box that was not asked and saw the same comes to the event: asked, waited for, in one announcement."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import (
    AskingSection,
    EventServiceSection,
    TriggeringServiceSection,
)
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal


def data_command(makai: Any, box: Any) -> Any:
    found: list[Any] = []

    def came() -> bool:
        command = box.command(timeout_ms=50)
        if command is not None and command.WhichOneof("command") == "data_command":
            found.append(command)
        return bool(found)

    makai.wait_for(came)
    return found[0]


@pytest.mark.parametrize("late", [False, True], ids=["while it is open", "after it was finished"])
def test_a_crossing_box_joins_the_event(makai: Any, tmp_path: Path, late: bool) -> None:
    """It is asked for the same event and waited for."""
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    request_endpoint = brokers.acquisition_config.request_endpoint
    triggering = TriggeringService(
        TriggeringServiceSection(
            measurement_endpoint=brokers.triggering_config.backend_endpoint,
            request_endpoint=request_endpoint,
            batch_ms=20,
            asking=replace(AskingSection(), most_boxes=1),
        ),
        shared,
        Nominal(120.0, 60.0),
    )
    config = EventServiceSection(
        answer_endpoint=brokers.acquisition_config.answer_endpoint,
        request_endpoint=request_endpoint,
        event_endpoint=makai.free_endpoint(),
        event_id_endpoint=makai.free_endpoint(),
        answer_timeout_s=60.0,
    )
    events = EventService(config, shared)
    with ExitStack() as running:
        running.callback(shared.close)
        for service in (brokers.triggering, brokers.acquisition, triggering, events):
            running.enter_context(makai.running(service))
        listener = makai.peer().connect(zmq.SUB, config.event_endpoint)
        makai.wait_for(lambda: events.counters.total("subscriptions"))
        one, four = (makai.box(brokers, box_id) for box_id in ("1", "4"))
        at_ms = time.time_ns() // 1_000_000 - 10_000

        def heard() -> bool:
            for box in (one, four):
                box.pub.send_multipart(box.measurement(timestamp_ms=at_ms - 5000))
            time.sleep(0.02)
            return {"1", "4"} <= {part.name for part in triggering.health()}

        makai.wait_for(heard)
        for box_id in ("1", "4"):
            makai.wait_for(lambda box=box_id: brokers.acquisition.counters.of("boxes_listening", box))

        def cross(box: Any, end_ms: int) -> Any:
            span = {"start_ns": (end_ms - 500) * 10**6, "end_ns": end_ms * 10**6}
            box.pub.send_multipart(box.measurement(80.0, end_ms, **span))
            return data_command(makai, box)

        first = cross(one, at_ms)
        assert shared.store.unfinished_events()[0].boxes_triggered == ("1",)
        if late:
            one.push.send_multipart(one.answer(first))
            makai.wait_for(lambda: not shared.store.unfinished_events())
        second = cross(four, at_ms + 300)
        assert second.identity == first.identity and second.data_command == first.data_command
        (record,) = shared.store.unfinished_events()
        assert (record.boxes_triggered, record.asked_as) == (("1", "4"), {"saw": ("1", "4")})
        if not late:
            one.push.send_multipart(one.answer(first))
            makai.wait_for(lambda: events.counters.of("waveforms_stored", "1"))
            assert shared.store.unfinished_events(), "it waits for the other one"
        four.push.send_multipart(four.answer(second))
        makai.wait_for(lambda: not shared.store.unfinished_events())
        assert sorted(shared.store.event_record(record.event_id).boxes_received) == ["1", "4"]
        assert not events.counters.total("answers_not_asked_for")
        assert triggering.counters.of("triggers_joined", "4") == 1
        announced = [listener.recv_multipart()[1] for _ in range(1 + late)]
        assert set(announced) == {str(record.event_id).encode()}
