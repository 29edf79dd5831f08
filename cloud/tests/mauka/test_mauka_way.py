"""The way of an event in docs/ways.md is the one that an event takes, without a step back."""

import re
from pathlib import Path

from sag_events import put_events
from way_tracer import WayTracer

import opq_cloud
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.broker import EventBridge
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.events import waiting_events
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import open_store

CLOUD = Path(opq_cloud.__file__).parent
PAGE = CLOUD.parents[1] / "docs" / "ways.md"
PART = re.compile(r"## An event through Mauka\n(.*?)\n## ", re.DOTALL)
STAY = re.compile(r"^\d+\. `cloud/opq_cloud/([\w/]+\.py)` `(?:\w+\.)?(\w+)`", re.MULTILINE)


def test_an_event_passes_each_file_once(bus, running, wire, free_endpoint, until, tmp_path, monkeypatch):
    part = PART.search(PAGE.read_text())
    assert part is not None
    stays = STAY.findall(part[1])
    assert 9 <= len(stays) <= 15 and len(set(stays)) == len(stays)
    trace = WayTracer(CLOUD, only=stays)
    monkeypatch.setattr(waiting_events, "ANNOUNCED_NS", 60 * 10**9)  # it is not found in the store meanwhile
    store, endpoint = open_store(None, tmp_path), free_endpoint()
    events = wire.bound_publisher(endpoint)
    runner = AnalysisRunner(bus.settings, lambda: store, load_analyses([("rms_voltage", {})]))
    with trace:
        running.start(runner)
        running.start(EventBridge(MaukaSection(event_endpoint=endpoint, bus_sub_endpoint=bus.sub)))
    wire.joined(events)
    assert until(lambda: not runner.flow.waiting._first_poll)
    trace.clear()
    put_events(store, 1)
    events.send_multipart([b"instance", b"1"])
    assert until(lambda: store.event_record(1).analysed)
    running.end()
    running.threads.clear()
    assert len(store.incidents()) == 1
    assert trace.calls == stays
    store.close()
